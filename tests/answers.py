"""Arguments -> the exit status and output of the command line."""

from typing import NamedTuple

import pytest

from adm.app.cli import main


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    def refusal(self) -> str:
        """The one line of the error message."""
        assert self.status == 2
        assert self.err.startswith("adm: ")
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err + self.out
        return self.err


class Adm:
    """The command line, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> Answer:
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        captured = self.capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    def done(self, *words: object) -> Answer:
        """The answer of a command that must succeed."""
        answer = self(*words)
        assert answer.status == 0, answer.err
        return answer


@pytest.fixture
def adm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Adm:
    monkeypatch.delenv("ADM_TRACEBACK", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return Adm(capsys)
