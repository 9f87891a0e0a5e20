"""Random, folder -> Case: a command line with words that are missing, repeated or nasty."""

from pathlib import Path
from random import Random

from abuse.kinds import Case
from abuse.material import CPU, POOL, Material

VALUES = (
    "1",
    "2",
    "8",
    "0.5",
    "all:1",
    "bag",
    "ancestral",
    "cpu",
    "none",
    "test",
    "digits",
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1.5",
    "1,2",
    ",",
    ":",
    "a=b",
    "=",
    "x" * 5000,
    "9" * 30,
    "9" * 5000,
    "٣",
    "\x1b[31mred",
    "\u202egnp",
    "\udcff",
    "a\nb",
    "null",
    "None",
    "{}",
    "[1]",
    "~",
    "~nobody-at-all/x",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "nonexistent/a/b",
    "feats.py",
    "data.npz",
    "cuda:99",
    "hf:",
    "idx:/nowhere",
    "a-{000..999999999}.tar",
    "[",
    "*",
    "weights:look",
    "os:getcwd",
    "--help",
    "--json",
    "--quiet",
    "-o",
)
COMMANDS = (
    ("info", "model.safetensors", "--json"),
    ("recipes", "digits"),
    (
        "sample",
        "model.safetensors",
        "--out",
        "out",
        "--count",
        2,
        "--steps",
        2,
        "--seed",
        1,
        "--sampler",
        "ddim:eta=0.5",
        "--classes",
        "bag:2",
        *CPU,
    ),
    ("train", "one.json", "--data", "data.npz", "--out", "out", "--hold-out", "0.2", *CPU),
    ("train", "digits", "--data", "data.npz", "--out", "out", "--set", "a.b=c", "--dry-run"),
    ("evaluate", "data.npz", "--reference", "data.npz", "--resamples", 10, *POOL, *CPU),
    ("reference", "data.npz", "--out", "made.npz", "--count", 20, *POOL, *CPU),
    ("nearest", "data.npz", "data.npz", "--quantile", "0.1", "--count", 3, *POOL, *CPU),
    ("cluster", "data.npz", "--clusters", "3", "--starts", 1, "--out", "made.csv", *POOL, *CPU),
    ("data", "inspect", "data.npz", "--split", "train"),
    ("data", "pack", "data.npz", "--out", "packed", "--size", "8,8", "--format", "png"),
    ("grid", "model.safetensors", "--steps", "2,4", "--count", 2, "--plot", "grid.png", *CPU),
    ("average", "model.safetensors", "--width", "0.1,0.2", "--out", "averages"),
    (
        *("frontier", "model.safetensors", "--reference", "data.npz", "--vary", "sampler=ddim"),
        *("--vary", "grid=even", "--vary", "steps=2", "--vary", "scale=0", "--count", 8),
        *("--trial-count", 4),
        *("--keep", 1, "--out", "front", *POOL, *CPU),
    ),
    (
        "sweep",
        "model.safetensors",
        "--reference",
        "data.npz",
        "--out",
        "out",
        "--vary",
        "scale=0",
        "--vary",
        "steps=2",
        "--count",
        8,
        *POOL,
        *CPU,
    ),
)
OUTPUTS = (
    "out",
    "made.npz",
    "packed",
    "averages",
    "nearest.png",
    "grid.png",
    "front",
    "cache",
    "made.csv",
    "made.json",
)
FLAGS = sorted({str(word) for command in COMMANDS for word in command if str(word)[:2] == "--"})


def words(random: Random, folder: Path, material: Material) -> Case:
    """A command line: words missing, repeated, swapped, replaced, added."""
    for name in ("model.safetensors", "one.json", "data.npz", "feats.py"):
        material.put(name, folder)
    line = [str(word) for word in random.choice(COMMANDS)]
    for _ in range(random.choice((1, 1, 2))):
        at, how = random.randrange(len(line)), random.random()
        if how < 0.55:
            line[at] = random.choice(VALUES)
        elif how < 0.65:
            del line[at]
        elif how < 0.75:
            line.insert(at, line[at])
        elif how < 0.9:
            line += [random.choice(FLAGS), random.choice(VALUES)]
        else:
            other = random.randrange(len(line))
            line[at], line[other] = line[other], line[at]
        line = line or ["info"]
    named = [line[i + 1] for i, word in enumerate(line[:-1]) if word in ("--out", "-o", "--sheet")]
    return Case(tuple(line), (*OUTPUTS, *named))
