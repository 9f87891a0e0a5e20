"""Name -> Verb: a command that writes, its inputs, and its files when undisturbed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from abuse.bench import Bench, Whole
from abuse.judge import Fault, differing, files_of
from abuse.material import CPU, POOL


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Attributes:
        inputs: names of the material.
        words: its arguments.
        outputs: what it writes.
        timed: patterns of files that contain durations, so that two runs differ.
    """

    inputs: tuple[str, ...]
    words: tuple[object, ...]
    outputs: tuple[str, ...]
    timed: tuple[str, ...] = ()


def _verb(inputs: str, words: str, outputs: str, timed: str = "") -> Verb:
    parts = (tuple(each.split()) for each in (inputs, f"{words} {' '.join(CPU)}", outputs, timed))
    return Verb(*parts)


SETS = "data.npz other.npz feats.py"
GUIDED = "model.safetensors guide.safetensors"
GUIDE = "model.safetensors --classifier guide.safetensors"
BY_TWO = "--batch-size 2"
FEATURES = " ".join(POOL)
VERBS: Mapping[str, Verb] = {
    "sample": _verb(
        GUIDED, f"sample {GUIDE} --scale 1 --count 6 --steps 4 --animate --out out", "out"
    ),
    "cascade": _verb(
        "model.safetensors larger.safetensors",
        "sample model.safetensors --upsampler larger.safetensors --count 6 --steps 2 "
        "--upsampler-steps 2 --out out",
        "out",
    ),
    "upsample": _verb(
        "upsampler.safetensors data.npz",
        "sample upsampler.safetensors --condition data.npz --shrink --count 6 --steps 4 --out out",
        "out",
    ),
    "restore": _verb(
        "model.safetensors data.npz feats.py",
        "restore model.safetensors --truth data.npz --count 3 --samples 2 --operator "
        f"inpaint:random=0.5 --method ddnm --steps 4 {FEATURES} --out out",
        "out",
    ),
    "train": _verb(
        "recipe.json data.npz", "train recipe.json --data data.npz --out out --hold-out 0.2", "out"
    ),
    "convert": Verb(
        ("model.safetensors",),
        ("convert", "model.safetensors", "--out", "out.safetensors"),
        ("out.safetensors",),
    ),
    "data pack": Verb(
        ("pictures",),
        ("data", "pack", "pictures", "--out", "out", "--shard-size", 4, "--size", 8),
        ("out",),
    ),
    "reference": _verb(SETS, f"reference data.npz --out out.npz {FEATURES} {BY_TWO}", "out.npz"),
    "evaluate": _verb(
        SETS,
        "evaluate other.npz --reference data.npz --resamples 50 "
        f"--out out.json {FEATURES} {BY_TWO}",
        "out.json",
    ),
    "sweep": _verb(
        f"{SETS} {GUIDED}",
        f"sweep {GUIDE} --vary scale=0,1 --vary steps=2 --reference data.npz --count 8 "
        f"--out out {FEATURES}",
        "out",
    ),
    "frontier": _verb(
        f"{SETS} {GUIDED}",
        f"frontier {GUIDE} --reference data.npz --vary sampler=ddim --vary steps=2,3 --vary "
        f"grid=even --vary scale=1 --count 8 --trial-count 4 --out out {FEATURES}",
        "out model.frontier.json",
        "out/trials/*.time.json out/frontier* out/report.* model.frontier.json",
    ),
    "nearest": _verb(
        SETS, f"nearest other.npz data.npz --out out.png {FEATURES} {BY_TWO}", "out.png"
    ),
    "cluster": _verb(
        SETS,
        f"cluster data.npz --clusters 3 --out l.csv --page p.html {FEATURES}",
        "l.csv l.json p.html",
    ),
    "compare": _verb(
        SETS, f"compare data.npz data.npz --out out.html --count 4 {FEATURES} {BY_TWO}", "out.html"
    ),
    "doctor": _verb(
        f"{GUIDED} data.npz", f"doctor {GUIDE} --data data.npz --count 8 --out out.html", "out.html"
    ),
    "likelihood": _verb(
        "model.safetensors data.npz",
        "likelihood model.safetensors data.npz --bound variational:drawn=3 --bound ode:steps=3 "
        f"--labels none --out out {BY_TWO}",
        "out",
    ),
    "demo": _verb("", "demo --per-class 2 --scales 0,2 --out out", "out"),
}


def prepare(bench: Bench, folder: Path, verb: Verb) -> None:
    """Put the inputs of a verb into a folder."""
    for name in verb.inputs:
        bench.material.put(name, folder)


def undisturbed(bench: Bench) -> dict[str, Whole]:
    """Run every verb once, undisturbed.

    Raises:
        RuntimeError: one of them fails.
    """
    whole = {}
    for name, verb in VERBS.items():
        folder = bench.folder(f"whole {name}")
        prepare(bench, folder, verb)
        before = on_disk(folder)
        outcome = bench.start(folder, ("-q", *verb.words)).wait()
        if outcome.status:
            raise RuntimeError(f"adm {name} fails undisturbed: {outcome.err}")
        written = on_disk(folder) - before
        whole[name] = Whole(files_of(folder), outcome.seconds, written)
        bench.done(folder)
    return whole


def compared(bench: Bench, name: str, folder: Path) -> list[Fault]:
    """Return how the folder of a verb differs from that of an undisturbed run."""
    return differing(bench.whole[name].files, files_of(folder), VERBS[name].timed)


def on_disk(folder: Path, block: int = 4096) -> int:
    """Return the bytes that the files and folders below a folder take on a disk."""
    sizes = [path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()]
    folders = sum(1 for path in folder.rglob("*") if path.is_dir())
    return sum(-(-size // block) * block for size in sizes) + folders * block
