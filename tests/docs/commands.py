"""README.md, `--help` of every verb, docs/*.md -> their commands, run in a shell as a reader would.

    python tests/docs/commands.py --bin /path/to/environment/bin [PAGE ...]

prints each command with its seconds and its result, and exits with 1 if one failed. It runs under
the interpreter of the checkout, and calls the programs of the other environment, outside of the
checkout. Commands of one page share a folder. Those that would take long are shortened by the
options in `SHORTER` and `INSTEAD`; those in `NOT_RUN` are not run.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.world import World

from docs import pages

CLI = pages.ROOT / "src" / "adm" / "cli"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = ("", "sh", "bash", "shell", "console")
INLINE = re.compile(r"`(adm [^`]*)`")
EXAMPLES = re.compile(r"^( *)(?:Examples|For example):\n\n((?:\1 {4}.*\n|\n)+)", re.MULTILINE)
PROMPT = re.compile(r"^\$ ", re.MULTILINE)
COMMENT = re.compile(r"(?:^|\s+)#.*$")
TRAIN = r"-m adm train|^adm train"
LIMIT_S = 600  # of one command

# What is not run, with the reason; patterns as of a shell.
NOT_RUN = {
    "make results*": "it samples and scores for hours",
    "make *": "it is run by .ci/run, and installs into the checkout",
    "pip install *": "it is run by .ci/run, in an environment of its own",
    "git clone *": "it needs the network",
    "adm data emoji *": "it downloads 152 MB",
    "python benchmarks/*": "it measures for minutes, and is in the checkout only",
    "for p in *": "it compares six trainings, by a benchmark of the checkout",
    "python tools/ship.py *": "it replaces the shipped models",
    "torchrun --nnodes 2 *": "it needs two machines",
    "tensorboard *": "it is a server that does not end",
    "*--wandb *": "it needs an account",
    "train: data *": "it is a diagram",
    "sample: noise *": "it is a diagram",
    "x -> GroupNorm*": "it is a formula",
    "adm: model.safetensors is of another network*": "it is a message",
    "Set them as in the checkpoint*": "it is a message",
}
# Text of a command -> what replaces it. Placeholders, and values that would take long.
INSTEAD = (
    (r"torchrun --nproc-per-node 8", "torchrun --standalone --nproc-per-node 2"),
    (r"accelerate launch --num_processes 8", "accelerate launch --cpu --num_processes 2"),
    (r"207:4\b", "207:1"),
    (r"--count 50000\b", "--count 20"),
    (r"--count 5000\b", "--count 20"),
    (r"--shard \d/\d", "--shard 1/1"),
    (r"--features inception(\+download)?\b", "--features stand_in.py:features"),
    (r"64-256-upsampler --memory", "fashion-upsampler --memory"),
    (r"SMALL_IMAGES", "out/small"),
    (r"sample BASE", "sample runs/fashion-14"),
    (r"--step (1000|20000)\b", "--step 20"),
    (r"ddim-25-scale4", "ddim-4-scale2"),
    (r"step-0000500\b", "step-0000004"),
    (r"fashion-mnist(?= .*--features)", "fashion-mnist:fashion-files"),
)
# Commands that contain a pattern -> options that they get, in place of the same options if they
# have them; to --set, the settings that it lacks are added.
SHORTER = (
    (r"^adm demo", "--per-class 2 --scales 0 2 --steps 3"),
    (r"--sampler ancestral", "--steps 10"),
    (f"({TRAIN}) 64x64", "--set unet.channels=32 unet.depth=1 unet.heads.channels_per_head=32"),
    (f"({TRAIN}) 64x64", "--set watch.images=0"),
    (TRAIN, "--steps 4 --set train.batch_size=8 train.warmup_steps=1 watch.images=4"),
    (TRAIN, "--set watch.validation_images=16"),
    (r"train digits .*ema_widths", "--steps 40 --set train.save_every_steps=20"),
    (r"(sample|sweep) \d+x\d+\S*\.pt|upsample \d+", "--steps 2"),
    (r"--upsampler 64_256", "--count 1 --upsampler-steps 2"),
    (r"adm sample runs/photos .*--count 200", "--steps 4 --count 20"),
    (r"adm sample runs/photos ", "--steps 4"),
    (r"adm sample emoji .*--count 1000", "--steps 4 --count 20"),
    (r"adm upsample runs/photos", "--steps 4 --count 8"),
    (r"adm cluster", "--clusters 3 --starts 1"),
    (r"adm sample runs/clusters .*--classes", "--steps 4 --classes cluster-00:2"),
    (r"adm sample runs/clusters .*--count", "--steps 4 --count 6"),
    (r"adm grid", "--count 2"),
    (r"adm frontier", "--samplers ddim --spacings log_snr --steps 2,3 --count 20 --trial-count 2"),
    (r"--budget", "--budget 1min"),
    (r"adm sweep (?!.*truncation)", "--scales 0,2 --count 20 --steps 4"),
    (r"adm sweep .*truncation", "--scales 1,2 --count 20"),
    (r"sweep \d+x\d+\S*\.pt", "--scales 0,1 --count 2 --steps 2"),
    (r"adm evaluate", "--resamples 20"),
    (
        r"adm (evaluate|sweep) .*(VIRTUAL_\S+|imagenet\d+|ref)\.npz",
        "--features stand_in.py:features",
    ),
    (r"adm reference (?!.*--features)", "--features stand_in.py:features"),
)
WRITES = ("--out", "--sheet", "--plot", "--json", "--animate")  # options that name files


class Page(NamedTuple):
    """Commands that a reader enters one after another.

    Attributes:
        name: of the file, or of the verb.
        blocks: commands that belong together; those of another block may write to the same place.
    """

    name: str
    blocks: tuple[tuple[str, ...], ...]

    @property
    def commands(self) -> list[str]:
        return [command for block in self.blocks for command in block]


class Outcome(NamedTuple):
    """What became of a command.

    Attributes:
        command: as it is written.
        seconds: that it took; 0 if it was not run.
        problem: why it did not do what it should; empty if it did.
        skipped: the reason not to run it, or empty.
    """

    command: str
    seconds: float = 0.0
    problem: str = ""
    skipped: str = ""

    def __str__(self) -> str:
        result = f"not run: {self.skipped}" if self.skipped else self.problem or "ok"
        return f"{self.seconds:6.1f} s  {self.command}  [{result}]"


def all_pages() -> list[Page]:
    """The README, the help of every verb, and the pages of docs/ that have commands."""
    readme = Page("README.md", (tuple(shell_commands(pages.ROOT / "README.md")),))
    docs = [
        Page(f"docs/{path.name}", tuple(map(tuple, shell_blocks(path))))
        for path in sorted(pages.DOCS.glob("*.md"))
    ]
    return [readme, *helps(), *(page for page in docs if page.blocks)]


def helps() -> list[Page]:
    """The examples of every verb, in the docstrings of its file; and those of `adm --help`."""
    found = []
    for path in sorted(CLI.glob("*.py")):
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        examples = [line for text in texts for line in examples_of(text)]
        if path.stem == "__init__":
            examples = [line for text in texts for line in INLINE.findall(text) if " -" in line]
        if examples := [line for line in examples if "VERB" not in line]:
            verb = "" if path.stem == "__init__" else f" {path.stem}"
            found.append(Page(f"adm{verb} --help", tuple((line,) for line in examples)))
    return found


def examples_of(text: str) -> list[str]:
    """The commands under "Examples:" in a docstring."""
    blocks = [found[2] for found in EXAMPLES.finditer(f"{text}\n")]
    return [line for block in blocks for line in commands_in(textwrap.dedent(block))]


def shell_blocks(path: Path) -> list[list[str]]:
    """The commands of each shell block of a page."""
    fenced = FENCED.findall(path.read_text(encoding="utf-8"))
    found = (commands_in(block) for language, block in fenced if language in SHELLS)
    return [block for block in found if block]


def shell_commands(path: Path) -> list[str]:
    return [command for block in shell_blocks(path) for command in block]


def commands_in(block: str) -> list[str]:
    """The commands of a block: without comments, and with continued lines joined."""
    joined = re.sub(r"\s*\\\n\s*", " ", PROMPT.sub("", block))
    joined = re.sub(r"\bdo\n(.*\n)+?done", lambda loop: " ".join(loop[0].split()), joined)
    lines = (COMMENT.sub("", line) for line in joined.splitlines())
    return [re.sub(r" {2,}", " ", line.strip()) for line in lines if line.strip()]


def reason_not_to_run(command: str) -> str:
    return next((why for what, why in NOT_RUN.items() if fnmatchcase(command, what)), "")


def shortened(command: str) -> str:
    """The command with placeholders filled, and with fewer steps, images and processes."""
    for pattern, by in INSTEAD:
        command = re.sub(pattern, by, command)
    original = command
    for pattern, options in SHORTER:
        if re.search(pattern, original):
            for option in re.findall(r"--[^-].*?(?=\s--|$)", options):
                command = with_option(command, option)
    return command


def with_option(command: str, option: str) -> str:
    """Set an option, in place of the values that it has; add to the values of --set."""
    name, _, values = option.partition(" ")
    given = re.search(rf"(?<=\s){name}(?!\S)((?:\s(?!-)\S+)*)", command)
    if given is None:
        return f"{command} {option}"
    if name == "--set":  # what the command sets stays
        new = [value for value in values.split() if f" {value.partition('=')[0]}=" not in given[1]]
        values = " ".join([*given[1].split(), *new])
    return f"{command[: given.start()]}{name} {values}{command[given.end() :]}"


def written(command: str) -> list[str]:
    """The files and folders that a command names as its output."""
    found = re.findall(rf"(?<=\s)({'|'.join(WRITES)}) (?!-)(\S+)", command)
    return [name.rstrip("/") for option, name in found if option == "--out" or "." in name]


def play(page: Page, world: World, folder: Path, environment: dict[str, str]) -> Iterator[Outcome]:
    """Run the commands of a page in `folder`."""
    made: dict[str, int] = {}
    folder.mkdir(parents=True)
    for number, block in enumerate(page.blocks):
        for command in block:
            if reason := reason_not_to_run(command):
                yield Outcome(command, skipped=reason)
                continue
            short = shortened(command)
            for name in written(short):
                if made.setdefault(name, number) != number or (folder / name).is_symlink():
                    put_away(folder / name)
                made[name] = number
            world.place(short, folder, set(made))
            yield run(command, short, folder, environment)


def put_away(path: Path) -> None:
    """Rename what an earlier block made, since a block may be an alternative to another."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        path.rename(Path(tempfile.mkdtemp(dir=path.parent, prefix=".earlier-")) / path.name)


def run(command: str, short: str, folder: Path, environment: dict[str, str]) -> Outcome:
    started = time.monotonic()
    try:
        done = subprocess.run(
            ["bash", "-euc", short],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        problem = "" if done.returncode == 0 else f"exit status {done.returncode}: {done.stdout}"
    except subprocess.TimeoutExpired:
        problem = f"it did not end in {LIMIT_S} s"
    seconds = time.monotonic() - started
    absent = [name for name in written(short) if not (folder / name).exists()]
    if not problem and absent:
        problem = f"it did not write {', '.join(absent)}"
    return Outcome(command, seconds, f"{problem}\n  as {short}" if problem else "")


def environment_of(programs: Path, threads: int | None = None) -> dict[str, str]:
    """The environment of a reader whose shell finds these programs first."""
    kept = {name: value for name, value in os.environ.items() if name != "ADM_TRACEBACK"}
    kept["PATH"] = os.pathsep.join([str(programs), kept["PATH"]])
    return kept | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})


def main() -> int:
    reader = argparse.ArgumentParser()
    reader.add_argument("--bin", type=Path, required=True, help="programs of the environment")
    reader.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="pages at a time")
    reader.add_argument("pages", nargs="*", help="such as README.md or 'adm sample --help'")
    asked = reader.parse_args()
    chosen = [page for page in all_pages() if not asked.pages or page.name in asked.pages]
    environment = environment_of(asked.bin.absolute(), 1 if asked.jobs > 1 else None)
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name, None)
    where = [asked.bin.absolute() / "python", "-c", "import adm; print(adm.__path__[0])"]
    print("adm is", subprocess.check_output(where, cwd="/", env=environment, text=True), flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(asked.jobs) as pool:
        world = World(Path(scratch, "store"))

        def played(page: Page) -> int:
            folder, failed = Path(scratch, re.sub(r"\W+", "-", page.name)), 0
            for outcome in play(page, world, folder, environment):
                print(f"{page.name:22} {outcome}\n", end="", flush=True)
                failed += bool(outcome.problem)
            return failed

        failed = sum(pool.map(played, chosen))
    print(f"{failed} commands failed; {time.monotonic() - started:.0f} s in all")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
