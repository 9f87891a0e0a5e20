"""adm studio: what it refuses before it starts to serve."""

import sys
from pathlib import Path

import pytest
from studio.conftest import Studio

from adm.app.cli import main
from adm.extras import installing


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line with which a command ends."""
    with pytest.raises(SystemExit) as end:
        main(["studio", *words])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_it_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "adm.app.studio.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused(capsys).endswith(f"is not installed; {installing('studio')}")


def test_it_refuses_what_it_cannot_serve(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--data takes a model and its data" in refused(
        capsys, "fashion", "--data", "fashion-mnist"
    )
    assert "--data names 'a', which is not offered" in refused(capsys, "fashion", "--data", "a=b")
    assert "no model 'fashio'; " in refused(capsys, "fashio")
    assert "holds no checkpoint" in refused(capsys, str(tmp_path))
    taken = refused(capsys, "fashion", "--port", str(studio.port))
    assert "--port cannot be" in taken
    assert "--port 0 takes a free one" in taken
    assert "--host must be" in refused(capsys, "fashion", "--host", "nowhere.invalid")
