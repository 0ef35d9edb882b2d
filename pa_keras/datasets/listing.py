"""Lists the images of a folder, and for every other file the reason why it is left out."""

import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from pa_keras.datasets.image_formats import DECODED, HEAD_BYTES, image_format
from pa_keras.datasets.images import natural_key

logger = logging.getLogger(__name__)

# A file with one of these suffixes counts as an image whatever its content. If it cannot be
# decoded, the check of the images reports it, so that no file is left out silently.
_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif")

# Folders in which storage and operating systems keep thumbnails, deleted files and snapshots.
_SYSTEM_FOLDERS = {
    *("@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot"),
    *("$recycle.bin", "__macosx", "lost+found", "network trash folder"),
    *("system volume information", "temporary items"),
}
_COPY = re.compile(
    r"(~|\.(bak|old|orig|tmp|part|partial|crdownload|download)|_original)$", re.IGNORECASE
)

# Reasons, as `warn_of_left_out` reports them.
OUTSIDE = "in no class folder"
_COPIES = "copies or unfinished downloads, by their names"
_HIDDEN = "hidden"
_LINKS = "links to folders inside a class folder, which are not followed"
_NO_IMAGE = "not images, by their contents"
_SYSTEM = "folders of thumbnails, deleted files or snapshots"


class LeftOut(NamedTuple):
    """A file or a folder that is not used, and why."""

    path: str
    reason: str


class Listing(NamedTuple):
    """Content of one folder; each list is in natural order."""

    folders: list[Path]
    images: list[str]
    left_out: list[LeftOut]


def list_folder(folder: Path) -> Listing:
    """Lists one folder, without the content of its subfolders.

    Hidden entries and the folders of storage systems are left out. A file is an image if it has
    the suffix of an image, or if its first bytes are those of a format that can be decoded.

    Args:
        folder: The folder to list.

    Raises:
        OSError: The folder, or a file in it, cannot be read.
    """
    listing = Listing([], [], [])
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: natural_key(entry.name))
    for entry in ordered:
        is_folder = entry.is_dir()
        reason = _reason(entry, is_folder)
        if reason:
            listing.left_out.append(LeftOut(entry.path, reason))
        elif is_folder:
            listing.folders.append(Path(entry.path))
        else:
            listing.images.append(entry.path)
    return listing


def images_below(folder: Path) -> Listing:
    """Lists the images of a folder and of all folders below it; `folders` is empty.

    Raises:
        OSError: A folder or a file cannot be read.
    """
    folders, images, left_out = list_folder(folder)
    for below in folders:
        # A link might lead back to a folder above it.
        if below.is_symlink():
            left_out.append(LeftOut(str(below), _LINKS))
            continue
        _, more_images, more_left_out = images_below(below)
        images += more_images
        left_out += more_left_out
    return Listing([], images, left_out)


def is_system_folder(name: str) -> bool:
    """Whether storage or operating systems keep their own files in folders of that name."""
    return name.casefold() in _SYSTEM_FOLDERS


def warn_of_left_out(root: Path, left_out: list[LeftOut]) -> None:
    """Logs how many files and folders below `root` are not used, by reason, with examples."""
    if not left_out:
        return
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(os.path.relpath(path, root))
    lines = [f"  {len(paths)} {reason}: {some(paths)}." for reason, paths in by_reason.items()]
    logger.warning(
        "In %s, %d files and folders are left out:\n%s", root, len(left_out), "\n".join(lines)
    )


def some(names: list[str]) -> str:
    """Formats the first five names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _reason(entry: os.DirEntry, is_folder: bool) -> str | None:
    """Returns why an entry is left out, or None if it is an image or a folder to list."""
    if entry.name.startswith("."):
        return _HIDDEN
    if is_folder:
        return _SYSTEM if is_system_folder(entry.name) else None
    if entry.name.lower().endswith(_SUFFIXES):
        return None
    if not entry.is_file():
        return _NO_IMAGE
    with open(entry.path, "rb") as file:
        found = image_format(file.read(HEAD_BYTES))
    if found is None:
        return _NO_IMAGE
    if found not in DECODED:
        return (
            f"in the format {found}, which cannot be decoded (to convert them, with ImageMagick: "
            "mogrify -format jpg FILES)"
        )
    return _COPIES if _COPY.search(entry.name) else None
