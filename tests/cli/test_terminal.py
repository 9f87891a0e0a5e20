"""Text -> the output on a terminal, a pipe, a full disk or an ASCII stream."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from answers import Adm
from rich.console import Console
from rich.progress import Progress

from adm.app.cli import output
from adm.app.cli.terminal import Escaping, Lasting, terminal
from adm.app.notices import notice

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b1m\u202e\r\udce9"
SHOWN = r"\x1b]0;title\x07\x1b[2J\x9b1m\u202e\r\udce9"


def adm_process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adm", *words]
    options = {"stderr": subprocess.PIPE, "text": True, "timeout": 60, "check": False} | options
    return subprocess.run(command, **options)


def test_what_is_printed_acts_on_no_terminal_and_lines_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal():
        print(f"a\t{HOSTILE}\nb")
        print(HOSTILE, file=sys.stderr)
    assert capsys.readouterr() == (f"a\t{SHOWN}\nb\n", f"{SHOWN}\n")
    notice(HOSTILE)  # of the library, without the command line
    assert capsys.readouterr().err == f"{SHOWN}\n"


def test_colours_and_bars_still_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal():
        Console(force_terminal=True, color_system="standard").print("[red]a[/red]")
        below = sys.stderr.rich_proxied_file  # type: ignore[attr-defined]
        with Progress(console=Console(file=below, force_terminal=True)) as bar:
            bar.add_task("work")
            notice(HOSTILE)
    captured = capsys.readouterr()
    assert "\x1b[31ma" in captured.out
    assert "\x1b[" in captured.err
    assert "\\x1b[2K" not in captured.err
    assert "\x1b]0;" not in captured.err + captured.out


def test_names_in_a_table_and_in_a_document_are_escaped(adm: Adm, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    tiny.model(model, tiny.diffusion(), classes=("\x1b[2Jcat", "[red]dog", "\x7f\x9b\u202ebird"))
    table = adm("info", model)
    assert r"\x1b[2Jcat, [red]dog, \x7f\x9b\u202ebird" in table.out
    document = adm("info", model, "--json")
    assert all(line.isprintable() for line in document.out.splitlines())
    assert json.loads(document.out)["classes"] == ["\x1b[2Jcat", "[red]dog", "\x7f\x9b\u202ebird"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_document_is_exact_in_every_encoding(encoding: str) -> None:
    value = {"é日本": [HOSTILE, "\U000e0041", "\x7f"]}
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with terminal():
            output.show(lambda: value, True, lambda: None)
    text = raw.getvalue().decode(encoding)
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(text) == value


def test_an_ascii_stream_is_enough() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = adm_process("--help", stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = adm_process("--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = adm_process("--help", stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        "adm: the disk that holds standard output is full; free space, then run the command again\n"
    )


def test_closed_streams_are_written_to_in_vain(tmp_path: Path) -> None:
    """And no file that is opened takes their place."""
    code = (
        "from adm.app.cli.terminal import open_standard_streams; open_standard_streams(); "
        "file = open('file', 'w'); print('printed', flush=True); import os; os.write(1, b'raw')"
    )
    command = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    assert subprocess.run(command, cwd=tmp_path, timeout=60, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""


class Ended(io.StringIO):
    """A stream whose reader has ended after some characters."""

    left = 3

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise BrokenPipeError
        return super().write(text)


def test_work_goes_on_after_its_reader_has_ended() -> None:
    stream = Lasting(Ended())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", Escaping(stream))
        for _ in range(9):
            print("ab")
    assert isinstance(stream.failure, BrokenPipeError)
    assert stream.stream.getvalue() == "ab\n"  # type: ignore[attr-defined]
