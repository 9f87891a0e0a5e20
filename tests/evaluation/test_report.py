"""scores, classes -> a report that shows every name as it is."""

import io

import pytest
from rich.console import Console

from adm.app.scoring import Report, Score
from adm.app.scoring.scores import ClassScores


def shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    report.show(console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("name", ["[/x]", "dog [husky]", ":dog:", "a\\[b]", "\\"])
def test_names_are_shown_as_they_are(name: str) -> None:
    """None is read as markup, which would end in an error or leave a part of it out."""
    manifest = {
        "generated": {"source": f"{name} samples", "count": 3},
        "reference": {"source": f"{name} data"},
    }
    row = ClassScores(f"{name} class", 30, 40, 1.0, 0.5, 0.25)
    scores = {"frechet": Score(1.5, 1.0, 2.0)}
    text = shown(Report(f"{name} network", scores, manifest, [row], [f"{name} warning"]))
    for where in ("samples (3 images)", "data (number of", "class ", "warning"):
        assert f"{name} {where}" in text
    assert text.count(f"({name} network)") == 2  # of the score, and above the classes
