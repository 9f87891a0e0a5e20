"""CSV file with columns file and label -> the label of each file; images of each class."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Sequence

from adm.data.naming import at_home, plain, read_regular
from adm.shown import printable, shown, shown_path
from adm.spec import out_of_range

SUFFIX = ".csv"
RULES = f"folders, prefix, none, or a list {SUFFIX} of files with their labels"
MOST_ROWS = 2_000_000
MOST_BYTES = 100_000_000  # of a list; enough for MOST_ROWS images
LONGEST_LABEL = 256  # characters
WHOLE = re.compile(r"-?[0-9]+")

Label = str | int


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


def as_numbers(texts: Sequence[str]) -> Sequence[Label]:
    """Convert labels to integers if all of them are."""
    return list(map(int, texts)) if all(map(WHOLE.fullmatch, texts)) else texts


def read_list(rule: str) -> dict[str, Label]:
    """Read a list: the label of each file, by its plain name.

    Args:
        rule: the path of the list.

    Raises:
        ValueError: it is not a list, does not exist, is empty, or gives a file two labels.
    """
    path, where = at_home(rule), shown_path(rule)
    if path.suffix.lower() != SUFFIX:
        raise out_of_range("labels", RULES, rule)
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        raise ValueError(f"the list of labels {where} does not exist; give the path of one")
    pairs = parse_list(read_regular(path, MOST_BYTES), where)
    if not pairs:
        raise ValueError(f"{where} is empty; give a label for each image")
    labels = dict[str, Label]()
    for file, label in pairs:
        name = plain(file)  # also of `./cat/1.png`, or Windows' `cat\\1.png`
        if labels.setdefault(name, label) != label:
            raise ValueError(
                f"{where} gives {shown_path(name)} the labels {labels[name]} and {label}; keep one"
            )
    return labels


def parse_list(content: bytes, where: str) -> list[tuple[str, Label]]:
    """Return each file and its label, of the columns that the first row calls `file` and `label`.

    Args:
        where: location of the list, for messages.

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
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = (row for row in reader if row)
        file, label = _columns(next(rows, []), where)
        files, labels, known = list[str](), list[str](), dict[str, str]()
        for row in rows:
            if len(row) <= max(file, label):
                raise ValueError(
                    f"{where}: {shown(row)} has no file or no label; write file,label in each row"
                )
            name = row[label].strip()
            if name not in known:
                known[name] = as_name(name, f"{where}: a label")
            files.append(row[file].strip())
            labels.append(known[name])  # one string for each class in memory
    except csv.Error as error:
        raise ValueError(
            f"{where} cannot be read (line {reader.line_num}: {error}); correct it"
        ) from None
    return list(zip(files, as_numbers(labels), strict=True))


def sizes_in(labels: str, classes: Sequence[str]) -> list[int]:
    """Count the images of each class in a list of labels.

    Args:
        labels: path of the list.
        classes: names of the classes in the order of their numbers. The list has names or numbers.

    Raises:
        ValueError: it is not a list, is empty, or has another class.
    """
    counts = Counter(read_list(labels).values())
    known: dict[Label, int] = {name: number for number, name in enumerate(classes)}
    sizes = [0] * len(classes)
    for label, size in counts.items():
        number = label if isinstance(label, int) else known.get(label, -1)
        if not 0 <= number < len(classes):
            raise ValueError(
                f"{shown_path(labels)} has the class {shown(label)}, which is not one of the "
                "model's; give the list that it was trained with"
            )
        sizes[number] += size
    return sizes


def _columns(row: list[str], where: str) -> tuple[int, int]:
    """Return the columns of files and labels by their headings."""
    heads = [cell.strip().casefold() for cell in row]
    if "file" not in heads or "label" not in heads:
        raise ValueError(
            f"{where} starts with {shown_path(', '.join(row))}; name its columns in the first "
            "row: file,label"
        )
    return heads.index("file"), heads.index("label")
