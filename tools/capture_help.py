"""VERBS -> docs/command-line.md, which shows the help of every verb as it is printed.

python tools/capture_help.py
"""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

from adm.app.cli import VERBS, main

PAGE = Path(__file__).parent.parent / "docs" / "command-line.md"
TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
OF_DATA = ("inspect", "pack")
COMMANDS = (
    "adm",
    *(f"adm {verb}" for verb in VERBS),
    *(f"adm data {command}" for command in OF_DATA),
)
OPENING = """# The command line

The output of `--help`, written by `python tools/capture_help.py` and compared by
[a test](../tests/docs/test_command_line.py). `python -m adm` is the same as `adm`.

An error that the user can correct prints one line that names the cure, and exits with status 2;
several obstacles print a line each. `ADM_TRACEBACK=1` shows the traceback. Ctrl-C, SIGTERM and
SIGHUP remove temporary files, exit with status 130, 143 and 129, and say whether the same command
resumes. A reader of the output that ends early, such as `head`, stops nothing.

An option with several values takes them separated by commas or spaces: `--scales 0,1,2`,
`--scales 0 1 2`. It takes all words up to the next option, so models, samples and data come first.
With `--json`, standard output is one JSON document, and everything else goes to standard error.
`--quiet` leaves results and errors only.
"""


def help_of(arguments: Sequence[str]) -> str:
    """Return what `adm ... --help` prints on a terminal of 100 columns without colours."""
    printed = io.StringIO()
    with patch.dict(os.environ, TERMINAL), redirect_stdout(printed), suppress(SystemExit):
        main([*arguments, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def page() -> str:
    """Return the page as Markdown."""
    sections = [
        f"## {command}\n\n```text\n$ {command} --help\n{help_of(command.split()[1:])}\n```\n"
        for command in COMMANDS
    ]
    return "\n".join([OPENING, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
