"""Data, a checkpoint and parts on the disk and in a store -> docs/howto/stores.md, its table.

python benchmarks/stores.py --docs docs

The store is a server of S3 (moto) in a process of its own on the same machine, so that no network
is measured, but the work of client and server is. Each number is the best of several rounds, taken
in turn. Figures are stored in docs/results/data/stores.json; --page only writes the table from them
again.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results_page import between

from adm.app.processor import processor
from adm.data import open_source, streamed
from adm.data.pack import Packing, pack
from adm.data.registry import find
from adm.data.source import Source, processors
from adm.store.files import fsync, user_cache
from adm.store.hashes import seal
from adm.store.parts import Parts
from adm.store.remote import Mirror
from adm.training.batches import batch_at

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import s3  # the server that the tests use

STORED, PAGE = "results/data/stores.json", "howto/stores.md"
MADE = "python benchmarks/stores.py --docs docs"
BATCH = 128
SHARDS = 10


def main() -> None:
    """Measure, store the figures, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--images", type=int, default=20_000, help="of 64x64, in ten shards")
    parser.add_argument("--ranged", type=int, default=1_000, help="images read by ranges alone")
    parser.add_argument("--megabytes", type=int, default=200, help="of a checkpoint")
    parser.add_argument("--parts", type=int, default=32, help="of 64 images of 64x64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="only write the table again")
    chosen = parser.parse_args()
    file = chosen.docs / STORED
    if not chosen.page:
        file.write_text(json.dumps(measured(chosen), indent=1) + "\n")
    page = chosen.docs / PAGE
    page.write_text(written(page.read_text(), json.loads(file.read_text())))


def written(page: str, figures: dict[str, Any]) -> str:
    """Return the page with the table of the figures."""
    return between(page, "stores", table(figures), MADE)


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, s3.serving() as variables:
        place = Path(name)
        os.environ |= {**variables, "XDG_CACHE_HOME": f"{name}/cache"}
        s3.make_bucket("bench")
        packages = ["torch", "fsspec", "s3fs", "moto"]
        return {
            "machine": f"{processors()} threads, {processor()}",
            "versions": ["Python " + platform.python_version()]
            + [f"{each} {version(each)}" for each in packages],
            "images": data(place, chosen),
            "checkpoint": checkpoint(place, chosen),
            "parts": parts(place, chosen),
        }


def data(place: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Images/s of the stream of training images."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (chosen.images, 8, 8, 3), dtype=np.uint8)
    np.savez(place / "data.npz", coarse.repeat(8, 1).repeat(8, 2), np.arange(chosen.images) % 10)
    packing = Packing(shard_size=chosen.images // SHARDS)
    pack(find(str(place / "data.npz")), place / "shards", packing)
    mirror = Mirror.at("s3://bench/shards")
    shutil.copytree(place / "shards", mirror.local)
    mirror.push()
    best = dict[str, float]()
    often, mixed, cached = streamed.OFTEN, streamed.MIXED_BYTES, streamed.CACHED_BYTES
    shard = (place / "shards" / "train-000000.tar").stat().st_size
    for _ in range(chosen.rounds):
        local = open_source(str(place / "shards"))
        better(best, "disk", rate(local, chosen.images))
        streamed.OFTEN = 1 << 30
        better(best, "ranges", rate(open_source("s3://bench/shards"), chosen.ranged))
        streamed.OFTEN = often
        for name in ("first pass", "second pass"):
            better(best, name, rate(open_source("s3://bench/shards"), chosen.images))
        shutil.rmtree(user_cache("shards"))
        streamed.MIXED_BYTES, streamed.CACHED_BYTES = 2 * shard, 4 * shard
        better(best, "windows", rate(open_source("s3://bench/shards"), chosen.images))
        streamed.MIXED_BYTES, streamed.CACHED_BYTES = mixed, cached
        shutil.rmtree(user_cache("shards"))
    return best


def rate(source: Source, count: int) -> float:
    """Return the images/s of one pass, with its labels and random numbers."""
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        batch_at(source, 0, start, min(BATCH, count - start))
    return count / (time.perf_counter() - began)


def checkpoint(place: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds to write, put and fetch a checkpoint of three files."""
    best = dict[str, float]()
    content = np.random.default_rng(0).bytes(chosen.megabytes * 1_000_000 // 3)
    for turn in range(chosen.rounds):
        mirror = Mirror.at(f"s3://bench/run-{turn}")
        folder = mirror.local / "checkpoints" / "step-0000001"
        folder.mkdir(parents=True)

        def write(folder: Path = folder) -> None:
            for name in ("model", "raw", "optimizer"):
                (folder / f"{name}.safetensors").write_bytes(content)
                fsync(folder / f"{name}.safetensors")
            seal(folder)

        better(best, "disk", seconds(write), least=True)
        better(best, "put", seconds(mirror.push), least=True)
        shutil.rmtree(mirror.root)
        better(best, "fetched", seconds(Mirror.at(mirror.address).pull), least=True)
        shutil.rmtree(mirror.root)
    return best | {"megabytes": chosen.megabytes}


def parts(place: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Seconds to write and to read the parts of a sampling."""
    best = dict[str, float]()
    images = np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64), dtype=np.uint8)
    spans = [range(64 * each, 64 * each + 64) for each in range(chosen.parts)]
    for turn in range(chosen.rounds):
        mirror = Mirror.at(f"s3://bench/out-{turn}")
        folders = {
            "disk": place / f".out-{turn}.parts",
            "store": mirror.root / f".out-{turn}.parts",
        }
        for name, folder in folders.items():
            stored = Parts(folder, "job")

            def write(stored: Parts = stored) -> None:
                for span in spans:
                    stored.write(span, images=images)

            def read(stored: Parts = stored) -> None:
                assert all(stored.read(span) is not None for span in stored.spans())

            better(best, f"{name}, written", seconds(write), least=True)
            if name == "store":
                shutil.rmtree(folder)
            better(best, f"{name}, read", seconds(read), least=True)
    return best | {"count": chosen.parts}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def better(best: dict[str, float], name: str, now: float, least: bool = False) -> None:
    """Update the best figure of a name."""
    best[name] = (min if least else max)(best.get(name, now), now)


def table(figures: dict[str, Any]) -> str:
    """Return the table of the page."""
    images, saved, part = figures["images"], figures["checkpoint"], figures["parts"]
    rows = [
        ("a training stream of 64x64 PNG, images/s", f"{images['disk']:,.0f}", ""),
        ("... every image by its range", "", f"{images['ranges']:,.0f}"),
        ("... first pass, shards fetched meanwhile", "", f"{images['first pass']:,.0f}"),
        ("... second pass", "", f"{images['second pass']:,.0f}"),
        ("... in windows, the cache smaller than the data", "", f"{images['windows']:,.0f}"),
        (f"a checkpoint of {saved['megabytes']} MB, written, s", f"{saved['disk']:.2f}", ""),
        ("... put", "", f"{saved['put']:.2f}"),
        ("... fetched", "", f"{saved['fetched']:.2f}"),
        *(
            (
                f"{part['count']} parts of 64 images, {what}, s",
                *(f"{part[f'{place}, {what}']:.2f}" for place in ("disk", "store")),
            )
            for what in ("written", "read")
        ),
    ]
    lines = [f"| {' | '.join(row)} |" for row in (("", "disk", "store"), ("---",) * 3, *rows)]
    return "\n".join([*lines, "", f"{figures['machine']}; {', '.join(figures['versions'])}."])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
