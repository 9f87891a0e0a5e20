"""scores, classes -> a report that shows every name as it is."""

import pytest

from adm.app.cli.evaluate import print_report
from adm.app.scoring import Report, Score
from adm.app.scoring.report import ClassScores


@pytest.mark.parametrize("name", ["[/x]", "dog [husky]", ":dog:", "a\\[b]", "\\"])
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """None is read as markup, which would end in an error or leave a part of it out."""
    manifest = {
        "generated": {"source": f"{name} samples", "count": 3},
        "reference": {"source": f"{name} data"},
    }
    row = ClassScores(f"{name} class", 30, 40, 1.0, 0.5, 0.25)
    scores = {"frechet": Score(1.5, 1.0, 2.0)}
    print_report(Report(f"{name} network", scores, manifest, [row], [f"{name} warning"]))
    text = capsys.readouterr().out
    for where in ("samples (3 images)", "data (number of", "class ", "warning"):
        assert f"{name} {where}" in text
    assert text.count(f"({name} network)") == 2  # of the score, and above the classes
