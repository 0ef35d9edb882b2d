"""Publishing exports: each version appears complete, and is replaced in one step."""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pa_keras.exporters.serving_files import expect_name

# The folder in a SavedModel for the other files of its version. Servers ignore unknown files in
# `assets.extra`.
_FILES_WITHIN = Path("assets.extra", "files")
# The contents of this file identify our staging folders; the exporting process holds its lock.
_MARK = "staging.txt"
_MARK_TEXT = (
    "pa_keras.export writes here. If it is killed, the next export into the folder above deletes "
    "this folder.\n"
)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ExportPlace:
    """The names of one version's files in an export folder.

        <out>/<name>/<version>/         the SavedModel, as TF Serving expects it
        <out>/<name>.files/<version>/   everything else of this version

    If there is a SavedModel, the second is a link to the folder `assets.extra/files` of the first,
    so that one rename replaces both. Names have no dots, so that no two names share a folder.

    Args:
        out: Export folder.
        name: Name of the model.
        version: Version, 1 or more.
    """

    out: Path
    name: str
    version: int

    @property
    def saved_model(self) -> Path:
        """The folder of the SavedModel."""
        return self.out / self.name / str(self.version)

    @property
    def files(self) -> Path:
        """The folder of everything else, or the link to it."""
        return self.out / f"{self.name}.files" / str(self.version)

    @property
    def files_link(self) -> Path:
        """The target of `files` if it is a link."""
        return Path("..", self.name, str(self.version)) / _FILES_WITHIN

    @property
    def is_linked(self) -> bool:
        """Whether `files` is the link into the SavedModel, which may be missing."""
        return self.files.is_symlink() and self.files.readlink() == self.files_link

    def expect_new(self, force: bool = False) -> None:
        """Checks, before any work is done, that this version can be written.

        Args:
            force: Whether the version may exist already. Default False.

        Raises:
            ValueError: If the version is below 1, or the name does not fit into a server's URLs.
            NotADirectoryError: If there is a file in the place of a folder.
            FileExistsError: If this version exists and `force` is not set.
        """
        if self.version < 1:
            raise ValueError(f"Expected a version of 1 or more; received {self.version}.")
        expect_name(self.name)
        for folder in (self.out, self.saved_model.parent, self.files.parent):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(
                    f"Expected a folder to export to; {folder} is a file. Give another --out."
                )
        # A link alone is not a version: its SavedModel was deleted.
        places = (self.saved_model,) if self.is_linked else (self.saved_model, self.files)
        there = [path for path in places if os.path.lexists(path)]
        if there and not force:
            raise FileExistsError(
                f"Expected a new version; {there[0]} exists already, and nothing is overwritten. "
                f"Give --version {self._next_version()}, or --force to replace it."
            )

    def _next_version(self) -> int:
        folders = (self.saved_model.parent, self.files.parent)
        names = [path.name for folder in folders for path in folder.glob("*")]
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1


@contextlib.contextmanager
def staging(place: ExportPlace) -> Iterator[ExportPlace]:
    """Yields a hidden place on the same disk to export to, which is always deleted at the end.

    It first deletes what killed exports left in such places.

    Args:
        place: Place where the export will be published.

    Raises:
        OSError: If the disk is full. Nothing of the export is left.
    """
    with _told_of_a_full_disk(place.out):
        place.out.mkdir(parents=True, exist_ok=True)
        _delete_leftovers(place.out)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=place.out))
        try:
            with _marked(folder):
                staged = ExportPlace(folder / "new", place.name, place.version)
                staged.files.mkdir(parents=True)
                staged.saved_model.parent.mkdir()
                yield staged
        finally:
            _delete(folder)


def publish(staged: ExportPlace, place: ExportPlace, force: bool = False) -> None:
    """Moves a staged export to its place, so that no reader sees an incomplete version.

    One rename replaces an old version if both versions, or neither, have a SavedModel. If only one
    of them has, or the old one is from an earlier release, the version is missing for an instant.
    If a move fails, everything is put back.

    Args:
        staged: Place from `staging`.
        place: Final place.
        force: Whether to replace this version if it exists. Default False.

    Raises:
        FileExistsError: If another export has published this version meanwhile.
    """
    place.expect_new(force)
    if staged.saved_model.exists():
        _link_files(staged)
    try:
        _replace(staged, place)
    except BaseException:  # also at Ctrl-C
        _put_back(staged.out.parent)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swaps two paths on one disk in one step, if the kernel and the file system support it.

    Returns:
        Whether they were swapped.

    Raises:
        OSError: If it is supported, but a path does not exist or may not be moved.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # not Linux, or an old C library
        return False
    if not rename(_AT_FDCWD, bytes(one), _AT_FDCWD, bytes(other), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _link_files(staged: ExportPlace) -> None:
    """Moves the other files of a version into its SavedModel, and leaves a link in their place."""
    link = staged.out / "link"
    try:
        link.symlink_to(staged.files_link)
    except OSError:
        return  # a file system without links: the files stay in a separate folder
    within = staged.saved_model / _FILES_WITHIN
    within.parent.mkdir(exist_ok=True)
    staged.files.rename(within)
    link.rename(staged.files)


def _replace(staged: ExportPlace, place: ExportPlace) -> None:
    """Moves the staged files to their place, and the old ones to the staging folder."""
    for folder in (place.saved_model.parent, place.files.parent):
        folder.mkdir(exist_ok=True)
    if staged.is_linked and place.is_linked:
        staged.files.unlink()  # the existing link leads to the new model as well
        moves = [(staged.saved_model, place.saved_model)]
    else:
        moves = [(staged.files, place.files), (staged.saved_model, place.saved_model)]
    new = [(source, target) for source, target in moves if os.path.lexists(source)]
    old = [target for _, target in moves if os.path.lexists(target)]
    if len(old) == 1 and [target for _, target in new] == old and exchange(*new[0]):
        return
    # The model leaves first and arrives last, so that it is never beside the files of another.
    for target in reversed(old):
        target.rename(_aside(staged.out.parent, place, target))
    for source, target in new:
        source.rename(target)


def _aside(folder: Path, place: ExportPlace, target: Path) -> Path:
    """Returns the place in the staging folder for what is replaced."""
    aside = folder / "old" / target.relative_to(place.out)
    aside.parent.mkdir(parents=True, exist_ok=True)
    return aside


def _put_back(folder: Path) -> None:
    """Undoes an incomplete publication: puts everything that was replaced back into its place.

    Args:
        folder: Staging folder in the export folder.
    """
    waiting = [path.relative_to(folder / "new") for path in (folder / "new").glob("*/*")]
    if not waiting:
        return  # everything staged is in its place
    for old in (folder / "old").glob("*/*"):
        target = folder.parent / old.relative_to(folder / "old")
        if os.path.lexists(target):  # the new one had arrived
            target.rename(folder / "new" / target.relative_to(folder.parent))
        old.rename(target)
    for path in waiting:
        # A link that arrived without its model.
        place = ExportPlace(folder.parent, path.parts[0], int(path.name))
        if place.is_linked and not place.files.exists():
            place.files.unlink()


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Marks a staging folder as ours and as in use, by a file and its lock."""
    hidden = folder / f"{_MARK}.new"
    with hidden.open("w", encoding="utf-8") as mark:
        # Locked before it has its name, so that no process mistakes the folder for a killed
        # export's.
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.write(_MARK_TEXT)
        mark.flush()
        hidden.rename(folder / _MARK)
        yield


def _delete_leftovers(out: Path) -> None:
    """Deletes the staging folders of killed exports, after putting back what they had moved away.

    Our folders have the mark of `_marked` with its exact contents. If the mark is locked, the
    folder is in use. Everything else is left alone.
    """
    for mark in out.glob(f".export-*/{_MARK}"):
        with contextlib.suppress(OSError, UnicodeDecodeError), mark.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.read() == _MARK_TEXT:
                _put_back(mark.parent)
                _delete(mark.parent)


def _delete(folder: Path) -> None:
    """Deletes a staging folder, its mark last, so that an interrupted deletion stays marked."""
    for name in ("new", "old"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / f"{_MARK}.new", folder / _MARK):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds something that is not ours
        folder.rmdir()


@contextlib.contextmanager
def _told_of_a_full_disk(out: Path) -> Iterator[None]:
    """Turns errors of a full disk, including TensorFlow's, into one that says what to do."""
    try:
        yield
    except Exception as error:
        # TensorFlow's errors have no number, and a different type for each of these.
        number = error.errno if isinstance(error, OSError) else None
        texts = [os.strerror(each) for each in _FULL if each == number]
        texts += [text for text in map(os.strerror, _FULL) if text in str(error)]
        if not texts:
            raise
        raise OSError(
            f"Expected to write an export to {out}; {texts[0]}. Nothing of it is left, and what "
            f"was there before is kept. Free some space there and in {tempfile.gettempdir()}, "
            "where the converters write, then export again."
        ) from error
