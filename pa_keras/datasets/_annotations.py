"""Reads annotation files with columns separated by white space; errors name file and line."""

import re
from collections.abc import Mapping
from pathlib import Path

# Patterns of columns. A line that is cut short lacks the end of its image name.
NUMBER = "[0-9]+"
IMAGE_NAME = r".+\.jpe?g"


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 text file with any line ending, without trailing blank lines.

    Raises:
        ValueError: The file is empty or is not UTF-8 text.
    """
    try:
        # Notepad writes a byte order mark and \r\n line endings; Git may write \r\n too.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected a text file in UTF-8; received {path}: {error}. Fetch it again."
        ) from error
    if not text.strip():
        raise ValueError(
            f"Expected a line for each entry of {path}; received an empty file. Fetch it again."
        )
    return text.rstrip().split("\n")


def read_table(path: Path, columns: Mapping[str, str], header: int = 0) -> list[list[str]]:
    """Returns the cells of each line of a table.

    Args:
        path: Path of the file.
        columns: Maps each column name to a case-insensitive regular expression for its cells.
        header: Number of lines before the table; the last of them names the columns.

    Raises:
        ValueError: There are no lines, or the header, the number of columns or a cell is not as
            expected, for example because the file was cut short. The message names file and line.

    Example:
        >>> read_table(Path("classes.txt"), {"class_id": NUMBER, "name": ".+"})  # doctest: +SKIP
        [['1', '001.Black_footed_Albatross'], ['2', '002.Laysan_Albatross']]
    """
    lines = read_lines(path)
    if header and "".join(lines[header - 1 : header]).split() != [*columns]:
        raise ValueError(
            f"Expected the columns {' '.join(columns)} in line {header} of {path}; received "
            f"{''.join(lines[header - 1 : header])!r}. It is another file, or was changed."
        )
    forms = [(name, re.compile(form, re.IGNORECASE)) for name, form in columns.items()]
    rows = [line.split() for line in lines[header:]]
    for number, cells in enumerate(rows, header + 1):
        if len(cells) != len(forms):
            raise ValueError(
                f"Expected {len(forms)} columns, {' '.join(columns)}, in line {number} of {path}; "
                f"received {len(cells)}: {lines[number - 1]!r}. Fetch the file again: it was cut "
                "short, or changed."
            )
        for (name, form), cell in zip(forms, cells, strict=True):
            if not form.fullmatch(cell):
                raise ValueError(
                    f"Expected {name} of the form {form.pattern} in line {number} of {path}; "
                    f"received {cell!r}. Fetch the file again: it was cut short, or changed."
                )
    return rows
