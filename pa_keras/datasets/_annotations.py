"""Annotation files: lines of words between white space, and checks that say what is wrong where."""

import re
from collections.abc import Mapping
from pathlib import Path

# Forms of a column. Of a line that is cut short, the end of its image's name is what is missing.
NUMBER = "[0-9]+"
IMAGE_NAME = r".+\.jpe?g"


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, whatever their ends; blank ones at its end are left out.

    Raises:
        ValueError: there is no line, or it is no such text.
    """
    try:
        # Notepad marks UTF-8 by a first character, and ends lines by \r\n, as Git may do as well.
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
    """The cells of each line of a table.

    Args:
        path: of the file.
        columns: name -> regular expression for all of its cells, in any case.
        header: number of lines before the table, the last of which names the columns.

    Raises:
        ValueError: no lines, another header, another number of columns, or a cell of another
            form, such as where the file was cut short. The message names file and line.

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
