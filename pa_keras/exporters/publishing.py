"""Where exports go, and that none appears half written or over another."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportPlace:
    """The names of one version's files in an export folder.

        <out>/<name>/<version>/     the SavedModel, as TF Serving wants it
        <out>/<name>-<version>/     everything else of this version

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
        return self.out / f"{self.name}-{self.version}"

    def expect_new(self, force: bool = False) -> None:
        """Raises before any work is done.

        Raises:
            ValueError: a version below 1, or a name that is no plain folder name.
            FileExistsError: this version is there, and `force` is not set.
        """
        if self.version < 1:
            raise ValueError(f"Expected a version of 1 or more; received {self.version}.")
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(
                f"Expected a name without slashes or a leading dot; received {self.name!r}. Give "
                "another --name."
            )
        there = [path for path in (self.saved_model, self.files) if path.exists()]
        if there and not force:
            raise FileExistsError(
                f"Expected a new version; {there[0]} is there already, and nothing is overwritten. "
                f"Give --version {self._next_version()}, or --force to replace it."
            )

    def _next_version(self) -> int:
        numbers = [int(path.name) for path in self.saved_model.parent.glob("[0-9]*")]
        numbers += [
            int(number)
            for path in self.out.glob(f"{self.name}-*")
            if (number := path.name.removeprefix(f"{self.name}-")).isdecimal()
        ]
        return max(numbers, default=0) + 1


@contextlib.contextmanager
def staging(place: ExportPlace) -> Iterator[ExportPlace]:
    """A hidden place on the same disk to export to; it is gone at the end, whatever happened.

    Args:
        place: where the export shall be published.
    """
    place.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=place.out) as folder:
        staged = ExportPlace(Path(folder), place.name, place.version)
        staged.files.mkdir()
        staged.saved_model.parent.mkdir()
        yield staged


def publish(staged: ExportPlace, place: ExportPlace) -> None:
    """Moves what was staged to its place; a server that watches never sees half a version.

    Args:
        staged: of `staging`.
        place: where it goes; what is there is replaced.
    """
    for source, target in (
        (staged.files, place.files),
        (staged.saved_model, place.saved_model),
    ):
        if target.exists():  # the caller has asked for --force
            target.rename(staged.out / f"replaced-{target.name}")
        if source.exists():
            target.parent.mkdir(exist_ok=True)
            source.rename(target)
