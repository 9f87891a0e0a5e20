"""Features -> tables of seconds and memory, of this package's scores and of other packages'.

    OMP_NUM_THREADS=2 python benchmarks/metrics.py

An image has 2,048 features that resemble Inception's: they are not negative, and few directions
have most of the variance. Each implementation runs in a process of its own. Its memory is the peak
of the process above its memory with the features loaded. Implementations take turns, `--rounds`
times, and the table has medians. "Block-wise NumPy" is the released evaluator's algorithm with its
rounding to float16, written from its description; its products are in float32, because NumPy has no
fast products in float16.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from resident import peak_bytes, resident_bytes

from adm.runs.processor import processor

DIM, NEIGHBOURS, ROWS = 2048, 3, 10_000
MIB = 2**20


def features(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Return (count, DIM) float32 features."""
    spectrum = np.random.default_rng(0).permutation(np.arange(1, DIM + 1) ** -0.5)
    mixing = np.random.default_rng(1).standard_normal((64, DIM), dtype=np.float32)
    random = np.random.default_rng(seed)
    values = np.empty((count, DIM), np.float32)
    for start in range(0, count, 1000):
        rows = values[start : start + 1000]
        rows[:] = random.standard_normal(rows.shape, dtype=np.float32) * spectrum
        rows += random.standard_normal((len(rows), 64), dtype=np.float32) @ mixing / 8 + shift
        np.maximum(rows, 0, out=rows)
    return values


def half_distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return squared distances in float16, or in float32 if the block overflows."""
    for kind in (np.float16, np.float32):
        a, b = rows.astype(kind), columns.astype(kind)
        with np.errstate(over="ignore", invalid="ignore"):
            of_a = np.square(a).sum(axis=1, dtype=np.float32).astype(kind)
            of_b = np.square(b).sum(axis=1, dtype=np.float32).astype(kind)
            product = (a.astype(np.float32) @ b.astype(np.float32).T).astype(kind)
            distances = np.maximum(of_a[:, None] - 2 * product + of_b, kind(0))
        if np.isfinite(distances).all():
            break
    return distances


def block_wise_radii(points: np.ndarray) -> np.ndarray:
    radii = np.empty(len(points), np.float32)
    for start in range(0, len(points), ROWS):
        rows = points[start : start + ROWS]
        distances = np.empty((len(rows), len(points)), np.float32)
        for column in range(0, len(points), ROWS):
            columns = points[column : column + ROWS]
            distances[:, column : column + ROWS] = half_distances(rows, columns)
        nearest = np.partition(distances, NEIGHBOURS, axis=1)  # itself comes first
        radii[start : start + ROWS] = nearest[:, NEIGHBOURS]
    return radii


def block_wise(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    of_real, of_fake = block_wise_radii(real), block_wise_radii(fake)
    in_real, in_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for start in range(0, len(fake), ROWS):
        for column in range(0, len(real), ROWS):
            rows, columns = slice(start, start + ROWS), slice(column, column + ROWS)
            distances = half_distances(fake[rows], real[columns])
            in_real[rows] |= (distances <= of_real[columns]).any(axis=1)
            in_fake[columns] |= (distances <= of_fake[rows, None]).any(axis=0)
    return float(in_real.mean()), float(in_fake.mean())


def ours(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    from adm.metrics import precision_recall

    return precision_recall(real, fake, NEIGHBOURS)


def ours_all_four(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    from adm.metrics.manifold import membership

    inside = membership(real, fake)
    return float(inside.fake_in_real.mean()), float(inside.real_in_fake.mean())


def prdc(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    from prdc import compute_prdc

    scores = compute_prdc(real, fake, NEIGHBOURS)
    return scores["precision"], scores["recall"]


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
    "ours": ours,
    "ours, with density and coverage": ours_all_four,
    "block-wise NumPy": block_wise,
    "prdc": prdc,
}
FIRST_TABLE = (
    f"| precision and recall, {{count:,}} against {{count:,}}, {DIM:,} features "
    "| seconds | times ours | CPU seconds | times ours | above the features (MiB) "
    "| precision | recall |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|"
)
SECOND_TABLE = (
    "| statistics of N images in one pass | seconds | above one batch (MiB) |\n|---|--:|--:|"
)


def run_way(name: str, count: int) -> dict[str, float]:
    real, fake = features(count, 2), features(count, 3, 0.02)
    WAYS[name](real[:64], fake[:64])  # imports, and the first call of a library
    before, started, busy = resident_bytes(), time.perf_counter(), time.process_time()
    precision, recall = WAYS[name](real, fake)
    return {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - busy,
        "mib": (peak_bytes() - before) / MIB,
        "precision": float(precision),
        "recall": float(recall),
    }


def run_pass(count: int, batch: int = 500) -> dict[str, float]:
    """Measure moments of batches that are merged one after another, as from an extractor."""
    from adm.metrics import Moments, statistics

    rows = features(batch, 0)
    before, total, spent = resident_bytes(), Moments.empty(DIM), 0.0
    for start in range(0, count, batch):
        rows += np.float32(1e-3)  # another batch
        started = time.perf_counter()
        total += Moments.of(rows[: count - start])
        spent += time.perf_counter() - started
    statistics(total)
    return {"seconds": spent, "mib": (peak_bytes() - before) / MIB}


def apart(*arguments: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", *arguments]
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split(b"\n")[-2]
    )


def first_table(count: int, rounds: int, names: list[str]) -> str:
    taken = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            taken[name].append(apart(name, str(count)))
    middle = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in taken.items()
    }
    lines = [FIRST_TABLE.format(count=count)]
    for name, of in middle.items():
        slower = {
            key: statistics.median(
                theirs[key] / mine[key]
                for theirs, mine in zip(taken[name], taken["ours"], strict=True)
            )
            for key in ("seconds", "cpu")
        }
        lines.append(
            f"| {name} | {of['seconds']:.1f} | {slower['seconds']:.2f} | {of['cpu']:.1f} "
            f"| {slower['cpu']:.2f} | {of['mib']:.0f} "
            f"| {of['precision']:.4f} | {of['recall']:.4f} |"
        )
    return "\n".join(lines)


def second_table(counts: list[int]) -> str:
    lines = [SECOND_TABLE]
    for count in counts:
        of = apart("pass", str(count))
        lines.append(f"| N = {count:,} | {of['seconds']:.1f} | {of['mib']:.0f} |")
    return "\n".join(lines)


def where() -> str:
    """Return the machine and the versions of the packages, in one line."""
    names = ("numpy", "scipy", "scikit-learn", "prdc", "torch")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"{processor()}, {cores} cores, load {load:.1f} at the end, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, "
        f"Python {platform.python_version()}, {', '.join(versions)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--passes", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, count = args.one[0], int(args.one[1])
        print(json.dumps(run_pass(count) if name == "pass" else run_way(name, count)))
        return
    names = ["ours", *(name for name in args.ways if name != "ours")]
    print(f"{first_table(args.count, args.rounds, names)}\n\n{second_table(args.passes)}\n")
    print(where())


if __name__ == "__main__":
    main()
