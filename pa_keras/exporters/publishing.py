"""Where exports go, and that none appears half written or over another."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pa_keras.exporters.serving_files import expect_name


@dataclass(frozen=True)
class ExportPlace:
    """The names of one version's files in an export folder.

        <out>/<name>/<version>/         the SavedModel, as TF Serving wants it
        <out>/<name>.files/<version>/   everything else of this version

    A name has no dot, so that no two names share a folder.

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
        """The folder of everything else."""
        return self.out / f"{self.name}.files" / str(self.version)

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
        there = [path for path in (self.saved_model, self.files) if path.exists()]
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

    Args:
        place: where the export shall be published.
    """
    place.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=place.out) as folder:
        staged = ExportPlace(Path(folder), place.name, place.version)
        staged.files.mkdir(parents=True)
        staged.saved_model.parent.mkdir()
        yield staged


def publish(staged: ExportPlace, place: ExportPlace, force: bool = False) -> None:
    """Moves what was staged to its place; a server that watches never sees half a version.

    Should a move fail, everything is put back as it was.

    Args:
        staged: of `staging`.
        place: where it goes.
        force: whether this version may be replaced, all of it.

    Raises:
        FileExistsError: another export has published this version meanwhile.
    """
    place.expect_new(force)
    moves = ((staged.files, place.files), (staged.saved_model, place.saved_model))
    kept = {target: target.with_name(f".replaced-{target.name}") for _, target in moves}
    is_staged = {target: source.exists() for source, target in moves}
    try:
        for source, target in moves:
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                # What a killed export left there is older than what stands here now.
                shutil.rmtree(kept[target], ignore_errors=True)
                target.rename(kept[target])
            if is_staged[target]:
                source.rename(target)
    except BaseException:  # Ctrl-C too
        for source, target in moves:
            if is_staged[target] and not source.exists():
                target.rename(source)
            if kept[target].exists() and not target.exists():
                kept[target].rename(target)
        raise
    for old in kept.values():
        shutil.rmtree(old, ignore_errors=True)
