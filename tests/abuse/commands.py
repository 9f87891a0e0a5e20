"""Command, folder, event -> the command's process, which is killed, fails or waits at that event.

An event is what a process is about to do to a file below the folder: open it to write, rename,
remove or create it, or wait until its content is on the disk. Which one is chosen, not when.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tiny

from adm.spec import to_json

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link")
FEATURES = "--features feats.py:pool --device cpu"
POOL = """import torch


def pool(images):
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)
"""
GUIDED = "model.safetensors --classifier guide.safetensors"
COMMANDS = {
    "sample": f"sample {GUIDED} --scale 1 --count 6 --steps 3 --device cpu --out out",
    "train": "train recipe.json --data data.npz --hold-out 0.2 --device cpu --out out",
    "evaluate": f"evaluate other.npz --reference data.npz --resamples 20 {FEATURES} --out out.json",
    "sweep": f"sweep {GUIDED} --vary scale=0,1 --vary steps=2 --reference data.npz --count 8 "
    f"{FEATURES} --out out",
}
OTHERS = {
    "info": "info model.safetensors",
    "recipes": "recipes digits",
    "convert": "convert model.safetensors --out converted.safetensors",
    "reference": f"reference data.npz {FEATURES} --out made.npz",
    "nearest": f"nearest other.npz data.npz {FEATURES} --out nearest.png",
    "doctor": f"doctor {GUIDED} --data data.npz --count 8 --device cpu",
    "likelihood": "likelihood model.safetensors data.npz --labels none --device cpu "
    "--bound variational:drawn=3 --out bits",
    "restore": "restore model.safetensors --truth data.npz --count 2 --operator "
    f"inpaint:random=0.5 --method ddnm --steps 3 {FEATURES} --out restored",
    "upsample": "sample upsampler.safetensors --condition data.npz --shrink --count 2 --steps 2 "
    "--device cpu --out upsampled",
}
# One server imports the program; each command is a fork of it.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "matplotlib.backends.backend_agg", "adm.app.study", "adm.runs.run"]
)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> None:
    raise OSError(28, "No space left on device")


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        events: how many it came to.
    """

    status: int
    err: str
    events: int


class Command:
    """A command that runs.

    Args:
        words: its arguments.
        at: the event before which `act` is called; None for never.
        act: in its process.
    """

    def __init__(
        self,
        folder: Path,
        words: str,
        at: int | None = None,
        act: Callable[[], None] = kill,
    ) -> None:
        self.log = folder.parent / f"{folder.name}-{len(list(folder.parent.iterdir()))}"
        self.process = CONTEXT.Process(target=_run, args=(folder, words, at, act, self.log))
        self.process.start()

    def ended(self) -> Ended:
        """Wait until it has ended."""
        self.process.join()
        events = self.log.with_suffix(".events")
        status = self.process.exitcode
        assert status is not None
        return Ended(
            status,
            self.log.with_suffix(".err").read_text("utf-8"),
            events.stat().st_size if events.exists() else 0,
        )


def _run(folder: Path, words: str, at: int | None, act: Callable[[], None], log: Path) -> None:
    from adm.app.cli import main
    from adm.app.study import timing

    timing.clock = lambda: 0.0  # a sweep writes how long an image takes
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for stream, name in ((sys.stdout, ".out"), (sys.stderr, ".err")):
        os.dup2(os.open(log.with_suffix(name), os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.dont_write_bytecode = True  # of the features, beside them
    os.environ |= {"XDG_CACHE_HOME": str(log.with_suffix(".cache")), "OMP_NUM_THREADS": "1"}
    os.chdir(folder)
    _watch(folder, at, act, log.with_suffix(".events"))
    main(["-q", *words.split()])


def _watch(folder: Path, at: int | None, act: Callable[[], None], log: Path) -> None:
    """Count the events below a folder in this process, a byte each; act before the event `at`."""
    count, handle = 0, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def happens(path: object) -> None:
        nonlocal count
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        if not isinstance(path, str | bytes | Path):
            return
        if not os.path.join(os.getcwd(), os.fsdecode(path)).startswith(f"{folder}/"):
            return
        count += 1
        os.write(handle, b".")
        if count - 1 == at:
            act()

    def hook(event: str, args: tuple[object, ...]) -> None:
        flags = args[2] if event == "open" else 0
        if event in CHANGES or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
            happens(args[0])

    sync = os.fsync

    def fsync(handle: int) -> None:
        happens(handle)
        sync(handle)

    os.fsync = fsync
    sys.addaudithook(hook)


class Wait:
    """Says that a command has come to its event, and waits there until it may go on."""

    def __init__(self) -> None:
        self.arrived: Event = CONTEXT.Event()
        self.may_go_on: Event = CONTEXT.Event()

    def __call__(self) -> None:
        self.arrived.set()
        self.may_go_on.wait()


def material(folder: Path) -> Path:
    """Write small models, a recipe, sets of images and features."""
    folder.mkdir(parents=True)
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    tiny.model(folder / "upsampler.safetensors", tiny.upsampler())
    watch = ("watch.images=0", "watch.every_steps=2", "watch.validation_images=6")
    recipe = tiny.diffusion("train.save_every_steps=2", *watch)
    (folder / "recipe.json").write_text(json.dumps(to_json(recipe)))
    (folder / "feats.py").write_text(POOL)
    images, labels = tiny.stripes().batch(range(30))
    pixels = images.permute(0, 2, 3, 1).numpy()
    entries = {"arr_1": labels.numpy(), "classes": np.array(tiny.CLASSES)}
    np.savez(folder / "data.npz", arr_0=pixels, **entries)
    np.savez(folder / "other.npz", arr_0=255 - pixels, arr_1=labels.numpy())
    return folder


def fresh(whole: Path, name: str) -> Path:
    """Return a copy of the material; all have the same name, which some results contain."""
    return Path(shutil.copytree(whole, whole.parent.parent / name / whole.name))


def files_of(folder: Path) -> dict[str, str]:
    """Return the hash of each file below a folder, hidden ones included."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(IsADirectoryError):
            hashes[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes
