"""examples/wandb_log.py: each step is uploaded once, however often it is run."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples/wandb_log.py"


class Service(SimpleNamespace):
    """The part of wandb in use: a run that continues after its last step."""

    def __init__(self) -> None:
        super().__init__(inits=[], logged=[], summary={}, Image=lambda picture: "picture")

    def init(self, **options: Any) -> SimpleNamespace:
        self.inits.append(options)
        free = max((step for step, _ in self.logged), default=-1) + 1
        log = lambda values, step: self.logged.append((step, values))  # noqa: E731
        return SimpleNamespace(step=free, log=log, summary=self.summary, finish=lambda: None)


def test_a_run_is_uploaded_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)  # type: ignore[arg-type]
    spec = spec_from_file_location("wandb_log", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    recipe = {"recipe": {"name": "digits"}, "trend": "it still falls"}
    (tmp_path / "run.json").write_text(json.dumps(recipe))
    (tmp_path / "previews").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "previews/step-0000002.png")
    lines = [f'{{"step": {step}, "loss": {1 / step}, "bad": null}}\n' for step in (1, 2, 3)]
    for count in (2, 3):
        (tmp_path / "log.jsonl").write_text("".join(lines[:count]))
        assert example.upload(tmp_path, "adm") == count
    assert [step for step, _ in service.logged] == [1, 2, 3]
    assert service.logged[1][1] == {"loss": 0.5, "preview": "picture"}
    first, second = service.inits
    assert first["id"] == second["id"]
    assert (first["name"], first["resume"]) == (tmp_path.name, "allow")
    assert service.summary == {"trend": "it still falls"}
