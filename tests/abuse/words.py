"""Random, folder -> Case: a command line with words that are missing, repeated or nasty."""

import os
from functools import cache
from pathlib import Path
from random import Random

from abuse.kinds import Case
from abuse.material import CPU, Material
from abuse.verbs import VERBS

from adm.app.cli import command_line

VALUES = (
    *("1", "2", "8", "0.5", "all:1", "bag", "ancestral", "cpu", "none", "test", "digits", ""),
    *(" ", "-", "--", "-1", "0", "nan", "inf", "-inf", "1e999", "1.5", "1,2", ",", ":", "a=b"),
    *("=", "x" * 5000, "9" * 30, "9" * 5000, "1_000", "0x10", "٣", "²", "\x1b[31mred", "\u202egnp"),
    *("\udcff", "a\nb", "a\rb", "a\0b", "\ud800", "null", "None", "{}", "[1]", "~", "[", "*"),
    *("~nobody-at-all/x", "/dev/null", "/dev/zero", "/dev/full", "missing/a/b"),
    *("loop", "loop/x", "fifo", "full", "dangling", "feats.py", "feats.py/x", "data.npz"),
    *("x" * 255, "犬" * 90, "deep/" * 900 + "x", "new\n.png", "cuda:99", "hf:", "idx:/nowhere"),
    *("a-{000..999999999}.tar", "weights:look", "os:getcwd", "--help", "--json", "--quiet", "-o"),
    *("ddim:", "ddim:eta", "ddim:eta=", "ddim:eta=nan", "ddim:eta=2", "ddim:x=1", "unipc:order=9"),
    *("karras:steps=1,end=1e9", "even:steps=0", "levels:levels=9-3", "levels:levels=1-1e30", ":="),
    *("classifier:scale=inf", "free:scale=1.5,interval=9-2", "classifier:scale=1,scale=2", ",,"),
    *("weak:scale=1", "none:scale=1", "__class__:x=1", "ddim:" + "eta=1," * 2000, "scale=0|1|"),
    *("scale=", "=1,2", "scale=1,1", "steps=2,1.5", "sampler=ddim,os", "x=1", "guide=free"),
)
SLOW = ("demo", "train", "cascade")
COMMANDS = (
    *(verb.words for name, verb in VERBS.items() if name not in SLOW),
    ("info", "model.safetensors", "--json"),
    ("recipes", "digits"),
    ("help", "sampler"),
    (
        *("sample", "model.safetensors", "--out", "out", "--count", 2, "--classes", "bag:2"),
        *("--grid", "karras:steps=2", "--guide", "free:scale=1.5,interval=2-9", *CPU),
    ),
    ("train", "one.json", "--data", "data.npz", "--out", "out", "--hold-out", "0.2", *CPU),
    ("train", "digits", "--data", "data.npz", "--out", "out", "--set", "a.b=c", "--dry-run"),
    ("data", "inspect", "data.npz", "--split", "train"),
    ("grid", "model.safetensors", "--steps", "2,4", "--count", 2, *CPU),
)
OUTPUTS = (
    *(name for verb in VERBS.values() for name in verb.outputs),
    *("nearest.png", "cache", "model.grids.json"),
)
WRITTEN = ("--out", "-o", "--plot", "--page", "--picture", "--work")
INPUTS = {"one.json", *(name for verb in VERBS.values() for name in verb.inputs)}


@cache
def options(verb: str) -> tuple[str, ...]:
    """Return the options of a verb, by their long names."""
    app = command_line([verb])._meta_parent[verb]
    if app.default_command is None:  # it has verbs of its own
        return ()
    names = (name for each in app.assemble_argument_collection() for name in each.names)
    return tuple(name for name in names if name.startswith("--"))


def line(random: Random) -> list[str]:
    """Return a command line: words missing, repeated, swapped, replaced, added."""
    words = [str(word) for word in random.choice(COMMANDS)]
    others = options(words[0]) or ("--labels", "--size")
    for _ in range(random.choice((1, 1, 2))):
        at, how = random.randrange(len(words)), random.random()
        if how < 0.4:
            words[at] = random.choice(VALUES)
        elif how < 0.5:
            del words[at]
        elif how < 0.6:
            words.insert(at, words[at])
        elif how < 0.9:
            option, value = random.choice(others), random.choice(VALUES)
            words += [f"{option}={value}"] if random.random() < 0.3 else [option, value]
        else:
            other = random.randrange(len(words))
            words[at], words[other] = words[other], words[at]
    return words or ["info"]


def strange(folder: Path) -> None:
    """Put a folder, links and a pipe where a file may be expected."""
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("feats.py/x")
    os.mkfifo(folder / "fifo")


def words(random: Random, folder: Path, material: Material) -> Case:
    """A command line in a folder with its inputs, and with paths that are no files."""
    for name in sorted(INPUTS):
        material.put(name, folder)
    strange(folder)
    arguments = line(random)
    named = [arguments[i + 1] for i, word in enumerate(arguments[:-1]) if word in WRITTEN]
    named += [
        word.partition("=")[2] for word in arguments if word.startswith(WRITTEN) and "=" in word
    ]
    return Case(tuple(word.replace("\0", "") for word in arguments), (*OUTPUTS, *named))
