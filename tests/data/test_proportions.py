"""List of labels, classes -> number of images of each class, or a one-line error."""

import re
from pathlib import Path

import pytest

from adm.data.lists import sizes_in

CLASSES = ("sneaker", "bag", "boot")


def test_names_are_counted_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,label\n0,boot\n1,sneaker\n2,boot\n")
    assert sizes_in(str(path), CLASSES) == [1, 0, 2]


def test_numbers_are_those_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,2\nb.png,0\nc.png,2\n")
    assert sizes_in(str(path), CLASSES) == [1, 0, 2]
    assert sizes_in(str(path), ("2", "1", "0")) == [1, 0, 2]  # the number 2, not the name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\n0,shirt\n", "has the class 'shirt', which is not one of the model's"),
        ("file,label\n0,3\n", "has the class 3, which is not one of the model's"),
        ("file,label\n0,-1\n", "has the class -1, which is not one of the model's"),
        ("file,label\n", "is empty; give a label"),
        ("file\n0\n", "labels.csv"),
    ],
)
def test_lists_of_other_classes_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        sizes_in(str(path), CLASSES)


@pytest.mark.parametrize("name", ["none.csv", "folders", "labels.txt"])
def test_a_path_that_is_no_list_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"does not exist|labels must be"):
        sizes_in(name, CLASSES)
