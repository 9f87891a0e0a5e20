"""Text -> the output on a terminal, a pipe and a full disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from answers import Adm


def adm_process(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adm", *words]
    options = {"stderr": subprocess.PIPE, "text": True, "timeout": 60, "check": False} | options
    return subprocess.run(command, **options)


def test_names_in_a_table_and_in_a_document_are_escaped(adm: Adm, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    tiny.model(model, tiny.diffusion(), classes=("\x1b[2Jcat", "[red]dog", "\x7f\x9b\u202ebird"))
    table = adm("info", model)
    assert r"\x1b[2Jcat, [red]dog, \x7f\x9b\u202ebird" in table.out
    document = adm("info", model, "--json")
    assert all(line.isprintable() for line in document.out.splitlines())
    assert json.loads(document.out)["classes"] == ["\x1b[2Jcat", "[red]dog", "\x7f\x9b\u202ebird"]


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
