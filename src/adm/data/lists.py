"""List of labels, .csv, .tsv or .json -> pairs of file name and label."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

from adm.data.naming import is_image
from adm.shown import printable, shown, shown_path
from adm.store.parsed import parse_json

LISTS = (".csv", ".tsv", ".json")
# Headings, the most likely first, regardless of case and with _ for spaces and hyphens.
FILE_COLUMNS = (
    *("file", "filename", "file_name", "path", "filepath", "file_path"),
    *("image", "image_name", "image_path", "image_file", "image_id", "img", "picture", "id"),
)
LABEL_COLUMNS = ("label", "class", "category", "class_name", "label_name", "class_id")

MOST_BYTES = 1 << 28  # of a list; enough for the labels of several million images
LONGEST_ROW = 1 << 16  # characters of a row, with all its columns
LONGEST_LABEL = 256  # characters
WHOLE = re.compile(r"-?[0-9]+")

Label = str | int


def as_label(value: Any, where: str) -> Label:
    """The value, or a ValueError that starts with `where` if it is no name and no integer."""
    if isinstance(value, str) and value:
        return as_name(value, where)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{where} is {shown(value)}, expected a name or an integer; correct it")


def as_name(text: str, where: str) -> str:
    """The text, or a ValueError that starts with `where` if it cannot be the name of a class."""
    if not 0 < len(text) <= LONGEST_LABEL:
        raise ValueError(
            f"{where} is {shown(text)} of {len(text)} characters, expected 1 to {LONGEST_LABEL}; "
            "give a shorter name"
        )
    if printable(text) != text:
        raise ValueError(
            f"{where} is {shown(text)}, which has control characters or is not valid Unicode; "
            "rename it"
        )
    return text


def as_numbers(labels: Iterable[Label]) -> list[Label]:
    """Convert labels to integers if all of them are."""
    texts = list(labels)
    if all(isinstance(text, int) or WHOLE.fullmatch(text) for text in texts):
        return [int(text) for text in texts]
    return texts


def json_pairs(content: bytes, where: str) -> list[tuple[str, Label]] | None:
    """{file: label}, [[file, label], ...], or either under "labels"; None for StyleGAN's null.

    Raises:
        ValueError: another form, or invalid labels.
    """
    try:
        found = parse_json(content, _once)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as JSON ({error}); mend it") from None
    if isinstance(found, dict) and isinstance(found.get("labels", ""), list | dict | None):
        found = found["labels"]
    if found is None:
        return None
    rows = list(found.items()) if isinstance(found, dict) else found
    if not isinstance(rows, list) or any(
        not isinstance(row, list | tuple) or len(row) != 2 or not isinstance(row[0], str)
        for row in rows
    ):
        raise ValueError(
            f'{where} must be {{"file": "label"}} or [["file", "label"], ...]; convert it'
        )
    return [
        (file, as_label(label, f"{where}: the label of {shown_path(file)}")) for file, label in rows
    ]


def csv_pairs(content: bytes, where: str, delimiter: str) -> list[tuple[str, Label]]:
    """Rows file,label; or with a first row of headings, the columns that these name.

    Raises:
        ValueError: not UTF-8, a quote that is not closed, rows over `LONGEST_ROW` or without a file
            or a label, or ambiguous headings.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} cannot be read ({error}); save it as UTF-8") from None
    try:
        rows = list(_rows(text, delimiter))
    except ValueError as error:
        raise ValueError(f"{where} cannot be read ({error}); correct it") from None
    columns = _columns(rows[0], where) if rows else None
    body = rows if columns is None else rows[1:]
    file, label = columns or (0, 1)
    few = next((row for row in body if len(row) <= max(file, label)), None)
    if few is not None:
        raise ValueError(
            f"{where}: {shown(few)} has no file or no label; write file,label in each row"
        )
    labels = as_numbers(as_label(row[label].strip(), f"{where}: a label") for row in body)
    return [(row[file].strip(), each) for row, each in zip(body, labels, strict=True)]


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows that are not empty; strictly, so that a quote without end does not join others."""
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        for line in io.StringIO(text):
            length += len(line)
            if length > LONGEST_ROW:
                raise ValueError(f"line {reader.line_num + 1}: over {LONGEST_ROW} characters")
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            length = 0
            if row:
                yield row
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None


def _columns(row: list[str], where: str) -> tuple[int, int] | None:
    """The columns of files and labels by their headings; None if the row has no headings."""
    if any(is_image(cell.strip().rpartition("/")[2]) for cell in row):
        return None  # a class may be called `image`
    heads = [cell.strip().casefold().replace(" ", "_").replace("-", "_") for cell in row]
    file = next((heads.index(head) for head in FILE_COLUMNS if head in heads), None)
    label = next((heads.index(head) for head in LABEL_COLUMNS if head in heads), None)
    if file is not None and label is not None:
        return file, label
    if file is None and label is None:
        return None
    others = [i for i, head in enumerate(heads) if head not in (*FILE_COLUMNS, *LABEL_COLUMNS)]
    if len(heads) != 2 or not others:
        what, name = ("the files", "file") if file is None else ("the labels", "label")
        raise ValueError(
            f"{where}: the headings {shown_path(', '.join(row))} do not say which column has "
            f"{what}; call that one {name}"
        )
    return others[0] if file is None else file, others[0] if label is None else label


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with unique keys; by default, json keeps the last of several values."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            values = f"{shown(found[key])} and {shown(value)}"
            raise ValueError(f"{shown_path(key)} has the values {values}; keep one")
        found[key] = value
    return found
