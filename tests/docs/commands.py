"""Some pages, `--help` of every verb -> their quick commands, run in a shell as a reader would.

    python tests/docs/commands.py --bin /path/to/environment/bin

prints each command with its seconds, and exits with 1 if one failed. The programs are those of the
other environment, outside of the checkout.
"""

import argparse
import inspect
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from adm.app.cli import VERBS
from docs import pages

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLAYED = ("index", "howto/sample", "howto/train", "howto/likelihood", "howto/doctor")
SHELLS = ("", "sh", "bash")
EXAMPLES = re.compile(r"^( *)(?:Examples|For example):\n\n((?:\1 {4}.*\n|\n)+)", re.MULTILINE)
TOOL = "python tools/"  # of the checkout
COMMAND = re.compile(rf"^(?:adm |torchrun |{TOOL})")
# Not run: these need several devices, files that are not here, an idle machine, or minutes.
NOT_RUN = re.compile(
    r"torchrun|tools/emoji|\.pt |openai/|hf:|imagenet|adm demo|VERB|SMALL_IMAGES"
    r"|BASE|doctor (?!fashion)"
)
# Commands that contain a pattern -> options that they get, instead of the same options.
SHORTER = (
    (r"adm train", "--steps 4 --set train.batch_size=8 train.warmup_steps=1 watch.images=4"),
    (r"adm train", "--set watch.validation_images=16"),
    (r"--count [0-9]{3,}", "--count 20"),
    (r"adm sample (fashion |runs/photos)|adm sample .*--condition", "--steps 4"),
    (r"adm sample .*--condition", "--count 4"),
    (r"adm evaluate", "--resamples 20"),
    (r"adm sweep", "--count 20"),
    (r"adm sweep fashion --reference", "--vary scale=0,2"),
    (r"adm restore fashion --truth", "--steps 4"),
    (r"adm likelihood", "--count 4"),
    (r"adm doctor", "--count 8"),
)


def commands_of(page: Path) -> list[str]:
    """Return the commands in the shell blocks of a page."""
    fenced = FENCED.findall(page.read_text("utf-8"))
    return [line for language, block in fenced if language in SHELLS for line in lines_of(block)]


def examples_of(verb: str) -> list[str]:
    """Return the commands in the help of a verb, and in that of its own verbs."""
    text = inspect.getsource(import_module(f"adm.app.cli.{verb}"))
    blocks = [match[2] for match in EXAMPLES.finditer(text)]
    return [line for block in blocks for line in lines_of(textwrap.dedent(block))]


def lines_of(block: str) -> list[str]:
    """Return the commands of a block: without comments, and with continued lines joined."""
    joined = re.sub(r"\s*\\+\n\s*", " ", block)
    lines = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if COMMAND.match(line)]


def shortened(command: str) -> str:
    """Return a command with fewer steps and images."""
    original = command
    for pattern, options in SHORTER:
        if not re.search(pattern, original):
            continue
        for option in re.findall(r"--[^-].*?(?=\s--|$)", options):
            name = option.partition(" ")[0]
            if name != "--set":  # whose settings add up
                command = re.sub(rf" {name} [^-\s]\S*(?=\s|$)", "", command)
            command += f" {option}"
    return command


def stories() -> dict[str, list[str]]:
    """Return the commands to run by page, each of which has its own folder."""
    helped = [line for verb in VERBS for line in examples_of(verb)]
    shipped = [line for line in helped if re.match(r"adm (sample fashion|info|recipes|help)", line)]
    by_page = {name: commands_of(pages.DOCS / f"{name}.md") for name in PLAYED}
    by_page["--help"] = [line for line in shipped if " runs/" not in line]
    return {name: [line for line in lines if can_run(line)] for name, lines in by_page.items()}


def can_run(command: str) -> bool:
    return not NOT_RUN.search(command)


def play(command: str, folder: Path, programs: Path) -> bool:
    """Run a command; print its time, and its output if it fails."""
    short, started = shortened(command), time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", short.replace(TOOL, f"python {pages.ROOT}/tools/")],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(f"{time.monotonic() - started:6.1f} s  {short}", flush=True)
    if done.returncode:
        print(f"exit status {done.returncode}: {done.stdout}{done.stderr}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True, help="programs of the environment")
    programs, failed = parser.parse_args().bin.absolute(), 0
    for name, commands in stories().items():
        with tempfile.TemporaryDirectory() as folder:
            print(name)
            failed += sum(not play(command, Path(folder), programs) for command in commands)
    print(f"{failed} commands failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
