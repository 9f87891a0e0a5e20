"""examples/reproduce.py: rows of released files, verdicts on scores that others have published."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, Parameter

from adm.app.cli.options import converted
from adm.metrics import Score
from adm.recipes.released import PUBLIC, REFERENCES, RELEASED

# Samples of ADM-G, ADM-U at 256x256: scored by the released evaluator, and by a public port.
KEYS = ("inception_score", "frechet", "spatial_frechet", "precision", "recall")
SCORES = ((215.84, 3.94256, 6.14043, 0.8265, 0.5309), (215.98, 3.94103, 6.14049, 0.8255, 0.5285))


@pytest.fixture(scope="module")
def example() -> Any:
    file = Path(__file__).parents[2] / "examples/reproduce.py"
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, file.stem, module)  # for its dataclass
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("scores", SCORES)
def test_both_evaluators_of_the_published_pair_agree_with_the_row(
    example: Any, scores: tuple[float, ...]
) -> None:
    published = example.ROWS["imagenet256-guided-upsampled"].published
    for key, value in zip(KEYS, scores, strict=True):
        assert example.verdict(key, published[key], Score(value)) == "agrees"


@pytest.mark.parametrize(
    ("key", "printed", "ours", "verdict"),
    [
        ("frechet", "3.94", Score(4.05), "worse"),
        ("frechet", "3.94", Score(3.80), "better"),
        ("frechet", "3.94", Score(4.2, 3.9, 4.5), "agrees"),
        ("frechet", "3.94", Score(4.2, 4.1, 4.5), "worse"),
        ("inception_score", "215.84", Score(220.0), "better"),
        ("recall", "0.53", Score(0.55), "better"),
    ],
)
def test_a_score_that_is_off_says_in_which_direction(
    example: Any, key: str, printed: str, ours: Score, verdict: str
) -> None:
    assert example.verdict(key, printed, ours) == verdict


def test_every_row_names_released_files(example: Any) -> None:
    for row in example.ROWS.values():
        assert row.model in PUBLIC
        assert row.upsampler is None or row.upsampler in PUBLIC
        assert row.reference in REFERENCES
        known = RELEASED[PUBLIC[row.model]]
        assert row.settings.get("scale", 0) == 0 or known.classifier is not None
        size = RELEASED[PUBLIC[row.upsampler]].size if row.upsampler else known.size
        assert str(size) in row.title or "LSUN" in row.title


def test_the_commands_are_understood(example: Any, tmp_path: Path) -> None:
    app = App(default_parameter=Parameter(converter=converted))
    for verb in ("sample", "evaluate"):
        app.command(f"adm.app.cli.{verb}:{verb}", name=verb)
    for row in example.ROWS.values():
        for words in example.commands(row, tmp_path):
            app.parse_args(words, exit_on_error=False)
