"""Where exports go: each version appears complete, and is replaced in one step."""

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

# Where a SavedModel holds the other files of its version: no server reads what it does not know in
# `assets.extra`.
_FILES_WITHIN = Path("assets.extra", "files")
# A staging folder is proved to be ours by the contents of this file; who exports holds its lock.
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

        <out>/<name>/<version>/         the SavedModel, as TF Serving wants it
        <out>/<name>.files/<version>/   everything else of this version

    Beside a SavedModel, the second is a link to the folder `assets.extra/files` of the first, so
    that one rename replaces both. A name has no dot, so that no two names share a folder.

    Args:
        out: the export folder.
        name: the model's name.
        version: its version, 1 or more.
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
        """Where `files` leads to if it is a link."""
        return Path("..", self.name, str(self.version)) / _FILES_WITHIN

    @property
    def is_linked(self) -> bool:
        """Whether `files` is the link into the SavedModel, which may be missing."""
        return self.files.is_symlink() and self.files.readlink() == self.files_link

    def expect_new(self, force: bool = False) -> None:
        """Raises before any work is done.

        Raises:
            ValueError: a version below 1, or a name that does not fit a server's URLs.
            NotADirectoryError: there is a file where a folder should be.
            FileExistsError: this version is there, and `force` is not set.
        """
        if self.version < 1:
            raise ValueError(f"Expected a version of 1 or more; received {self.version}.")
        expect_name(self.name)
        for folder in (self.out, self.saved_model.parent, self.files.parent):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(
                    f"Expected a folder to export to; {folder} is a file. Give another --out."
                )
        # The link alone is no version: the SavedModel that it led to was deleted.
        places = (self.saved_model,) if self.is_linked else (self.saved_model, self.files)
        there = [path for path in places if os.path.lexists(path)]
        if there and not force:
            raise FileExistsError(
                f"Expected a new version; {there[0]} is there already, and nothing is overwritten. "
                f"Give --version {self._next_version()}, or --force to replace it."
            )

    def _next_version(self) -> int:
        folders = (self.saved_model.parent, self.files.parent)
        names = [path.name for folder in folders for path in folder.glob("*")]
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1


@contextlib.contextmanager
def staging(place: ExportPlace) -> Iterator[ExportPlace]:
    """A hidden place on the same disk to export to; it is gone at the end, whatever happened.

    What a killed export left in such a place is deleted first.

    Args:
        place: where the export shall be published.

    Raises:
        OSError: the disk is full; nothing of the export is left.
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
    """Moves what was staged to its place; nobody who watches sees half a version.

    One version with a SavedModel replaces another by one rename, and so does one without another
    without. If only one of the two has a SavedModel, or the old one is of an earlier release, the
    version is missing for an instant. Should a move fail, everything is put back as it was.

    Args:
        staged: of `staging`.
        place: where it goes.
        force: whether this version may be replaced, all of it.

    Raises:
        FileExistsError: another export has published this version meanwhile.
    """
    place.expect_new(force)
    if staged.saved_model.exists():
        _link_files(staged)
    try:
        _replace(staged, place)
    except BaseException:  # Ctrl-C too
        _put_back(staged.out.parent)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swaps two paths on one disk in a single step, where the kernel and the file system can.

    Returns:
        Whether they were swapped.

    Raises:
        OSError: they can, but one of the paths is not there or may not be moved.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # another system than Linux, or an old C library
        return False
    if not rename(_AT_FDCWD, bytes(one), _AT_FDCWD, bytes(other), _RENAME_EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _link_files(staged: ExportPlace) -> None:
    """Moves the other files of a version into its SavedModel, and a link to where they were."""
    link = staged.out / "link"
    try:
        link.symlink_to(staged.files_link)
    except OSError:
        return  # a file system without links: the files stay a folder of their own
    within = staged.saved_model / _FILES_WITHIN
    within.parent.mkdir(exist_ok=True)
    staged.files.rename(within)
    link.rename(staged.files)


def _replace(staged: ExportPlace, place: ExportPlace) -> None:
    """Moves what is staged to its place, and what is there to the staging folder."""
    for folder in (place.saved_model.parent, place.files.parent):
        folder.mkdir(exist_ok=True)
    if staged.is_linked and place.is_linked:
        staged.files.unlink()  # the one that is there leads to the new model as well
        moves = [(staged.saved_model, place.saved_model)]
    else:
        moves = [(staged.files, place.files), (staged.saved_model, place.saved_model)]
    new = [(source, target) for source, target in moves if os.path.lexists(source)]
    old = [target for _, target in moves if os.path.lexists(target)]
    if len(old) == 1 and [target for _, target in new] == old and exchange(*new[0]):
        return
    # The model goes first and comes last: it never stands beside the files of another.
    for target in reversed(old):
        target.rename(_aside(staged.out.parent, place, target))
    for source, target in new:
        source.rename(target)


def _aside(folder: Path, place: ExportPlace, target: Path) -> Path:
    """Where a staging folder keeps what is replaced."""
    aside = folder / "old" / target.relative_to(place.out)
    aside.parent.mkdir(parents=True, exist_ok=True)
    return aside


def _put_back(folder: Path) -> None:
    """Undoes a publication that did not come to its end; what was replaced is in its place again.

    Args:
        folder: the staging folder, in the export folder.
    """
    waiting = [path.relative_to(folder / "new") for path in (folder / "new").glob("*/*")]
    if not waiting:
        return  # all that was staged is in its place
    for old in (folder / "old").glob("*/*"):
        target = folder.parent / old.relative_to(folder / "old")
        if os.path.lexists(target):  # the new one came
            target.rename(folder / "new" / target.relative_to(folder.parent))
        old.rename(target)
    for path in waiting:
        # A link that came without the model that it leads to.
        place = ExportPlace(folder.parent, path.parts[0], int(path.name))
        if place.is_linked and not place.files.exists():
            place.files.unlink()


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[None]:
    """Marks a staging folder as ours and as in use, by a file and its lock."""
    hidden = folder / f"{_MARK}.new"
    with hidden.open("w", encoding="utf-8") as mark:
        # Under its name it is locked already: nobody takes the folder for a killed export's.
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.write(_MARK_TEXT)
        mark.flush()
        hidden.rename(folder / _MARK)
        yield


def _delete_leftovers(out: Path) -> None:
    """Deletes the staging folders of killed exports, once what they had moved away is back.

    Ours is a folder with the mark of `_marked`, contents and all; one whose mark is locked is in
    use. Everything else is left alone.
    """
    for mark in out.glob(f".export-*/{_MARK}"):
        with contextlib.suppress(OSError, UnicodeDecodeError), mark.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.read() == _MARK_TEXT:
                _put_back(mark.parent)
                _delete(mark.parent)


def _delete(folder: Path) -> None:
    """Deletes a staging folder, its mark last: killed meanwhile, it still bears it."""
    for name in ("new", "old"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / f"{_MARK}.new", folder / _MARK):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something that is not ours came in
        folder.rmdir()


@contextlib.contextmanager
def _told_of_a_full_disk(out: Path) -> Iterator[None]:
    """Turns the errors of a full disk, TensorFlow's too, into one that says what to do."""
    try:
        yield
    except Exception as error:
        # TensorFlow's error has no number, and another type for each of these.
        number = error.errno if isinstance(error, OSError) else None
        texts = [os.strerror(each) for each in _FULL if each == number]
        texts += [text for text in map(os.strerror, _FULL) if text in str(error)]
        if not texts:
            raise
        raise OSError(
            f"Expected to write an export to {out}; {texts[0]}. Nothing of it was left, and what "
            f"was there before is kept. Free some space there and in {tempfile.gettempdir()}, "
            "where the converters write, then export again."
        ) from error
