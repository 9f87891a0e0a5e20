"""List of labels, .csv, .tsv or .json -> pairs of file name and label; images of each class."""

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from adm.data.naming import at_home, read_regular
from adm.shown import printable, shown, shown_path
from adm.spec import SettingError
from adm.store.parsed import parse_json

LISTS = (".csv", ".tsv", ".json")
RULES = f"folders, prefix, none, or a list {', '.join(LISTS)} of files with their labels"
MOST_ROWS = 2_000_000
MOST_BYTES = 100_000_000  # of a list; enough for MOST_ROWS images
LONGEST_ROW = 1 << 16  # characters of a row, with all its columns
LONGEST_LABEL = 256  # characters
WHOLE = re.compile(r"-?[0-9]+")

Label = str | int
Inside = Callable[[str], bytes | None]  # name of a file in the data -> content, None if absent


def reader_of(folder: Path) -> Inside:
    """Return a function that reads a file in a folder by its name."""

    def inside(name: str) -> bytes | None:
        file = folder / name
        # Unlike Path.is_file, this returns False for a name that is too long.
        return read_regular(file, MOST_BYTES) if os.path.isfile(file) else None

    return inside


def as_label(value: Any, where: str) -> Label:
    """The value, or a ValueError that starts with `where` if it is not a name or an integer."""
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


def pairs_of(rule: str, place: str, inside: Inside) -> list[tuple[str, Label]]:
    """Read a list of labels: pairs of the name of a file and its label.

    Args:
        rule: the path of the list, or its name in the data.
        place: of the images, for messages.
        inside: reads a file in the data.

    Raises:
        ValueError: it is not a list, or does not exist.
    """
    path = at_home(rule)
    suffix = path.suffix.lower()
    if suffix not in LISTS:
        raise SettingError("labels", RULES, rule)
    where = shown_path(rule)
    content = reader_of(Path())(str(path))
    content = inside(rule) if content is None else content
    if content is None:
        raise ValueError(
            f"the list of labels {where} does not exist, nor in {place}; give the path of one"
        )
    if suffix == ".json":
        pairs = json_pairs(content, where)
        if pairs is None:
            raise ValueError(f"{where} has no labels; give another list")
        return pairs
    return csv_pairs(content, where, "\t" if suffix == ".tsv" else ",")


def sizes_in(labels: str, classes: Sequence[str]) -> list[int]:
    """Count the images of each class in a list of labels.

    Args:
        labels: path of the list, in any of its forms.
        classes: names of the classes in the order of their numbers. The list has names or numbers.

    Raises:
        ValueError: it is not a list, is empty, or has another class.
    """
    counts = Counter(label for _, label in pairs_of(labels, "this folder", lambda name: None))
    sizes = [0] * len(classes)
    known: dict[Label, int] = {name: number for number, name in enumerate(classes)}
    for label, size in counts.items():
        number = label if isinstance(label, int) else known.get(label, -1)
        if not 0 <= number < len(classes):
            raise ValueError(
                f"{shown_path(labels)} has the class {shown(label)}, which is not one of the "
                "model's; give the list that it was trained with"
            )
        sizes[number] += size
    if not counts:
        raise ValueError(f"{shown_path(labels)} is empty; give a list with images of every class")
    return sizes


def json_pairs(content: bytes, where: str) -> list[tuple[str, Label]] | None:
    """{file: label}, [[file, label], ...], or either under "labels"; None for StyleGAN's null.

    Raises:
        ValueError: another form, or invalid labels.
    """
    try:
        parsed = parse_json(content, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as JSON ({error}); correct it") from None
    if isinstance(parsed, dict) and isinstance(parsed.get("labels", ""), list | dict | None):
        parsed = parsed["labels"]
    if parsed is None:
        return None
    rows = list(parsed.items()) if isinstance(parsed, dict) else parsed
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
    """Columns `file` and `label`, as the first row names them.

    Raises:
        ValueError: not UTF-8, a quote that is not closed, more than `MOST_ROWS` lines, rows over
            `LONGEST_ROW` or without a file or a label, or no such columns.
    """
    if content.count(b"\n") > MOST_ROWS:
        raise ValueError(f"{where} has more than {MOST_ROWS} lines; split the data")
    rows = _rows(content, delimiter, where)
    file, label = _columns(next(rows, []), where)
    files, labels, known = [], [], dict[str, Label]()
    for row in rows:
        if len(row) <= max(file, label):
            raise ValueError(
                f"{where}: {shown(row)} has no file or no label; write file,label in each row"
            )
        name = row[label].strip()
        if name not in known:
            known[name] = as_label(name, f"{where}: a label")
        files.append(row[file].strip())
        labels.append(known[name])  # one string for each class in memory
    return list(zip(files, as_numbers(labels), strict=True))


def _rows(content: bytes, delimiter: str, where: str) -> Iterator[list[str]]:
    """The rows that are not empty; strictly, so that a quote without end does not join others."""
    length = 0

    def lines() -> Iterator[str]:
        nonlocal length
        stream = io.BytesIO(content.removeprefix(codecs.BOM_UTF8))
        for raw in stream:
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                byte = stream.tell() - len(raw) + error.start
                raise ValueError(f"{where} is not UTF-8 at byte {byte}; save it as UTF-8") from None
            length += len(line)
            if length > LONGEST_ROW:
                number = reader.line_num + 1
                raise ValueError(
                    f"{where} cannot be read (line {number}: over {LONGEST_ROW} characters); "
                    "correct it"
                )
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            length = 0
            if row:
                yield row
    except csv.Error as error:
        raise ValueError(
            f"{where} cannot be read (line {reader.line_num}: {error}); correct it"
        ) from None


def _columns(row: list[str], where: str) -> tuple[int, int]:
    """Return the columns of files and labels by their headings."""
    heads = [cell.strip().casefold() for cell in row]
    if "file" not in heads or "label" not in heads:
        raise ValueError(
            f"{where} starts with {shown_path(', '.join(row))}; name its columns in the first "
            "row: file,label"
        )
    return heads.index("file"), heads.index("label")
