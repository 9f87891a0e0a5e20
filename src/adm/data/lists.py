"""List of labels -> pairs of file name and label; images of each class."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from adm.data.naming import at_home, read_regular
from adm.shown import printable, shown, shown_path
from adm.spec import out_of_range
from adm.store.parsed import parse_json

LISTS = (".csv", ".tsv", ".json", ".jsonl")
RULES = f"folders, prefix, none, or a list {', '.join(LISTS)} of files with their labels"
MOST_ROWS = 2_000_000
MOST_BYTES = 100_000_000  # of a list; enough for MOST_ROWS images
LONGEST_LABEL = 256  # characters
WHOLE = re.compile(r"-?[0-9]+")

Label = str | int
Pairs = list[tuple[str, Label]]


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


def pairs_of(rule: str) -> Pairs:
    """Read a list of labels: pairs of the name of a file and its label.

    Args:
        rule: the path of the list.

    Raises:
        ValueError: it is not a list, or does not exist.
    """
    path, where = at_home(rule), shown_path(rule)
    suffix = path.suffix.lower()
    if suffix not in LISTS:
        raise out_of_range("labels", RULES, rule)
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        raise ValueError(f"the list of labels {where} does not exist; give the path of one")
    content = read_regular(path, MOST_BYTES)
    if suffix in (".csv", ".tsv"):
        return csv_pairs(content, where, "\t" if suffix == ".tsv" else ",")
    return json_pairs(content, where, lines=suffix == ".jsonl")


def sizes_in(labels: str, classes: Sequence[str]) -> list[int]:
    """Count the images of each class in a list of labels.

    Args:
        labels: path of the list, in any of its forms.
        classes: names of the classes in the order of their numbers. The list has names or numbers.

    Raises:
        ValueError: it is not a list, is empty, or has another class.
    """
    counts = Counter(label for _, label in pairs_of(labels))
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


def json_pairs(content: bytes, where: str, lines: bool = False) -> Pairs:
    """Objects with `file` and `label`: in a list, or one in each line.

    A list may also be that of StyleGAN's dataset.json: {"labels": [[file, label], ...]}.

    Raises:
        ValueError: another form, or invalid labels.
    """
    try:
        if lines:
            rows = [parse_json(line) for line in content.splitlines() if line.strip()]
        else:
            rows = parse_json(content, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as JSON ({error}); correct it") from None
    listed = rows.get("labels") if isinstance(rows, dict) else rows
    pairs: Pairs = []
    for row in listed if isinstance(listed, list) else [listed]:
        match row:
            case {"file": str(file), "label": label} | [str(file), label]:
                pairs.append((file, as_label(label, f"{where}: the label of {shown_path(file)}")))
            case _:
                raise ValueError(
                    f'{where} has {shown(row)}; write {{"file": "1.png", "label": "cat"}} for each '
                    "image"
                )
    return pairs


def csv_pairs(content: bytes, where: str, delimiter: str) -> Pairs:
    """Columns `file` and `label`, as the first row names them.

    Raises:
        ValueError: not UTF-8, a quote that is not closed, more than `MOST_ROWS` lines, rows without
            a file or a label, or no such columns.
    """
    if content.count(b"\n") > MOST_ROWS:
        raise ValueError(f"{where} has more than {MOST_ROWS} lines; split the data")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    # Strictly, so that a quote without end does not join rows.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = (row for row in reader if row)
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
    except csv.Error as error:
        raise ValueError(
            f"{where} cannot be read (line {reader.line_num}: {error}); correct it"
        ) from None
    return list(zip(files, as_numbers(labels), strict=True))


def _columns(row: list[str], where: str) -> tuple[int, int]:
    """Return the columns of files and labels by their headings."""
    heads = [cell.strip().casefold() for cell in row]
    if "file" not in heads or "label" not in heads:
        raise ValueError(
            f"{where} starts with {shown_path(', '.join(row))}; name its columns in the first "
            "row: file,label"
        )
    return heads.index("file"), heads.index("label")
