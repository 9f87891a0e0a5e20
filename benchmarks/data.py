"""Stored images -> table of images per second, of `Source.batch` and of Pillow alone.

python benchmarks/data.py

The JPEG files are written to a temporary folder. "Pillow" is a loop over the same files in the same
number of threads, without sources, labels or batches: decoding only, and decoding with the same
resizing and cropping. Each number is the best of several rounds, taken in turn. The percentages
compare processor time per image, which other programs on the machine affect less.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, features

from adm.data import Source, open_source, shuffle
from adm.data.pack import Packing, pack
from adm.data.pixels import cover
from adm.data.registry import find
from adm.data.source import processors
from adm.runs.processor import processor

BATCH = 128
SIZE = (500, 375)  # width, height: the median photograph of ImageNet
Round = Callable[[], "Speed"]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=400, help="JPEG files to make")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(machine())
    print("\n| images | reader | images/s | ms | of Pillow, decoding | of Pillow, resizing too |")
    print("|---|---|---|---|---|---|")
    grey(chosen.rounds)
    with tempfile.TemporaryDirectory() as place:
        photographs(Path(place), chosen.files)
        files = sorted(Path(place).rglob("*.jpg"))
        for side in (64, 256):
            source = open_source(place, size=(side, side))
            table(f"JPEG 500x375 to {side}x{side}", source, files, side, chosen.rounds)
        with tempfile.TemporaryDirectory() as shards:
            packing = Packing((256, 256), format="jpeg")
            pack(find(place), Path(shards), packing)
            at_size = extracted(Path(shards), Path(shards, "files"))
            source = open_source(shards, size=(256, 256))
            table("packed JPEG 256x256", source, at_size, None, chosen.rounds)


def machine() -> str:
    return (
        f"{processors()} threads, {processor()}; Python {platform.python_version()}, torch "
        f"{torch.__version__}, Pillow {PIL.__version__} (libjpeg-turbo "
        f"{features.version('libjpeg_turbo')})"
    )


@dataclass(frozen=True)
class Speed:
    per_second: float  # images, by the clock on the wall
    milliseconds: float  # of processor time an image, over all threads

    def better(self, other: "Speed") -> "Speed":
        return Speed(
            max(self.per_second, other.per_second), min(self.milliseconds, other.milliseconds)
        )


def timed(count: int, work: Callable[[], None]) -> Speed:
    """Return the speed of `work`, which reads `count` images."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    processor = time.process_time() - processor
    return Speed(count / (time.perf_counter() - wall), 1e3 * processor / count)


def grey(rounds: int) -> None:
    """Measure 28x28 images in memory."""
    with tempfile.TemporaryDirectory() as place:
        try:
            source = open_source("fashion-mnist")
        except ValueError:
            images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), dtype=np.uint8)
            np.savez(Path(place, "noise.npz"), images=images)
            source = open_source(f"{place}/noise.npz")
    speed = timed(200 * BATCH, lambda: batches(source, 200))
    for _ in range(rounds):
        speed = speed.better(timed(200 * BATCH, lambda: batches(source, 200)))
    rate = f"{speed.per_second:,.0f} | {speed.milliseconds:.3f}"
    print(f"| {source.name}, 28x28 | `Source.batch` | {rate} | | |")


def batches(source: Source, count: int, uniforms: list[list[float]] | None = None) -> None:
    """Read shuffled batches, with random crops if `uniforms` are given."""
    for step in range(count):
        source.batch(shuffle(0, len(source), step * BATCH, BATCH), uniforms)


def photographs(place: Path, count: int) -> None:
    """Write smooth images with some noise, at the JPEG quality of photographs on the web."""
    width, height = SIZE
    for index in range(count):
        generator = np.random.default_rng(index)
        coarse = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC))
        grain = generator.normal(0, 8, (height, width, 1))
        picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        folder = place / f"class{index % 10}"
        folder.mkdir(exist_ok=True)
        picture.save(folder / f"{index}.jpg", quality=90)


def extracted(shards: Path, out: Path) -> list[Path]:
    """Write the images of shards to files, for Pillow."""
    out.mkdir()
    source = find(str(shards))
    assert source.files is not None
    paths = [out / f"{index}.jpg" for index in range(len(source))]
    for row, path in enumerate(paths):
        with source.files.open(row) as stream:
            path.write_bytes(stream.read())
    return paths


def table(what: str, source: Source, files: list[Path], side: int | None, rounds: int) -> None:
    """Return the rows of one kind of data; Pillow resizes to `side`, or not at all if None."""
    steps = max(1, len(files) // BATCH)
    middle = [[0.5, 0.5, 0.5]] * BATCH
    measured: dict[str, Round] = {
        "Pillow, decoding": lambda: timed(len(files), lambda: pillow(files, None)),
        "Pillow, resizing too": lambda: timed(len(files), lambda: pillow(files, side)),
        "`Source.batch`": lambda: timed(steps * BATCH, lambda: batches(source, steps)),
        "`Source.batch`, random crop": lambda: timed(
            steps * BATCH, lambda: batches(source, steps, middle)
        ),
    }
    if side is None:
        del measured["Pillow, resizing too"]
    best: dict[str, Speed] = {name: round_() for name, round_ in measured.items()}
    for _ in range(rounds):
        for name, round_ in measured.items():
            best[name] = best[name].better(round_())
    decoding = best["Pillow, decoding"].milliseconds
    resizing = best.get("Pillow, resizing too", best["Pillow, decoding"]).milliseconds
    for name, speed in best.items():
        spent = speed.milliseconds
        print(
            f"| {what} | {name} | {speed.per_second:,.0f} | {spent:.2f} | {decoding / spent:.0%} | "
            f"{resizing / spent:.0%} |",
            flush=True,
        )


def pillow(paths: list[Path], side: int | None) -> None:
    """Read files with Pillow alone, in as many threads as a source has."""

    def one(path: Path) -> None:
        with Image.open(path) as picture:
            rgb = picture.convert("RGB")
            if side is not None:
                cover(rgb, (side, side))

    with ThreadPoolExecutor(processors()) as pool:
        for _ in pool.map(one, paths):
            pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
