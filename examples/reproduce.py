"""Row of the paper's tables -> 50,000 samples, their scores, and whether they agree.

    python examples/reproduce.py                                        # lists the rows
    python examples/reproduce.py imagenet64 out/imagenet64
    python examples/reproduce.py imagenet256-guided out/imagenet256 8   # GPUs

The released weights must be in the folder, or be fetched (docs/howto/released.md). Samples and
features that an interrupted call has finished are not made again.
"""

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adm.metrics import METRICS, Score, title
from adm.scoring import load_report

COUNT = 50_000  # images of a published score
# What other seeds, kernels and resizers change: as a fraction, and of precision and recall by
# itself. The released evaluator and its ports differ by 0.04%, 0.07% and 0.0006.
RELATIVE, ABSOLUTE = 0.01, 0.005
SHARES = ("precision", "recall")
DROPOUT = "ADM (dropout)"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a published table.

    Attributes:
        title: of the row.
        source: the table.
        model, upsampler: public names.
        reference: public name of the reference batch.
        settings: changes to the model's settings of sampling.
        published: key of a score -> its value as it was printed.
    """

    title: str
    source: str
    model: str
    reference: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, str]
    upsampler: str | None = None


IN_25: dict[str, Any] = {"sampler": "ddim", "grid": "strided:steps=25"}


def imagenet(size: int, name: str, scores: str, base: int | None = None, **settings: Any) -> Row:
    """Return a row of Table 5, or of Table 6 if the images of `base` pixels a side are enlarged."""
    return Row(
        title=f"{name}, ImageNet {size}x{size}",
        source="Table 5" if base is None else "Table 6",
        model=f"openai/{base or size}x{base or size}-diffusion",
        upsampler=None if base is None else f"openai/{base}-{size}-upsampler",
        reference=f"openai/imagenet{size}-reference",
        settings=settings,
        published=scores_of(scores),
    )


def lsun(name: str, file: str, scores: str) -> Row:
    what = file.removesuffix("-nodropout")
    reference = f"openai/lsun-{what}-reference"
    title, model = f"{name}, LSUN {what}", f"openai/lsun-{file}"
    return Row(
        title=title, source="Table 5", model=model, reference=reference, published=scores_of(scores)
    )


def scores_of(printed: str) -> dict[str, str]:
    """FID, sFID, precision, recall and, of some rows, Inception Score, as they were printed."""
    keys = ("frechet", "spatial_frechet", *SHARES, "inception_score")
    return dict(zip(keys, printed.split(), strict=False))


# The scale of an enlarged guided base is that of the README, as the table states none. Second-hand:
# the scales of 25 steps, from users of the released models, and all Inception Scores
# but that of ADM-G, ADM-U at 256x256, from papers that score the released samples.
# fmt: off
ROWS: dict[str, Row] = {
    "imagenet64": imagenet(64, DROPOUT, "2.07 4.29 0.74 0.63", scale=0.0),
    "imagenet128": imagenet(128, "ADM", "5.91 5.09 0.70 0.65", scale=0.0),
    "imagenet128-guided-25":
        imagenet(128, "ADM-G, 25 steps", "5.98 7.04 0.78 0.51", scale=1.25, **IN_25),
    "imagenet128-guided": imagenet(128, "ADM-G", "2.97 5.09 0.78 0.59", scale=0.5),
    "imagenet256": imagenet(256, "ADM", "10.94 6.02 0.69 0.63 100.98", scale=0.0),
    "imagenet256-guided-25":
        imagenet(256, "ADM-G, 25 steps", "5.44 5.32 0.81 0.49", scale=2.5, **IN_25),
    "imagenet256-guided": imagenet(256, "ADM-G", "4.59 5.25 0.82 0.52 186.70", scale=1.0),
    "imagenet512": imagenet(512, "ADM", "23.24 10.19 0.73 0.60 58.06", scale=0.0),
    "imagenet512-guided-25":
        imagenet(512, "ADM-G, 25 steps", "8.41 9.67 0.83 0.47", scale=9.0, **IN_25),
    "imagenet512-guided": imagenet(512, "ADM-G", "7.72 6.57 0.87 0.42 172.71", scale=4.0),
    "imagenet256-upsampled": imagenet(256, "ADM-U", "7.49 5.13 0.72 0.63 127.49", 64, scale=0.0),
    "imagenet256-guided-upsampled":
        imagenet(256, "ADM-G, ADM-U", "3.94 6.14 0.83 0.53 215.84", 64, scale=1.0),
    "imagenet512-upsampled": imagenet(512, "ADM-U", "9.96 5.62 0.75 0.64 121.78", 128, scale=0.0),
    "lsun-bedroom": lsun(DROPOUT, "bedroom", "1.90 5.59 0.66 0.51"),
    "lsun-horse": lsun(DROPOUT, "horse", "2.57 6.81 0.71 0.55"),
    "lsun-horse-nodropout": lsun("ADM", "horse-nodropout", "2.95 5.94 0.69 0.55"),
    "lsun-cat": lsun(DROPOUT, "cat", "5.57 6.69 0.63 0.52"),
}
# fmt: on


def verdict(key: str, printed: str, ours: Score) -> str:
    """Return whether a published value, as it was rounded, is in our interval or near it."""
    value, decimals = float(printed), len(printed.partition(".")[2])
    near = ABSOLUTE if key in SHARES else RELATIVE * abs(value)
    near += 0.5 * 10.0**-decimals
    low, high = (ours.value if math.isnan(end) else end for end in (ours.low, ours.high))
    if low - near <= value <= high + near:
        return "agrees"
    return "better" if (ours.value > value) != METRICS[key].lower_is_better else "worse"


def commands(row: Row, out: Path) -> list[list[str]]:
    """Return the commands that sample the images of a row and score them, without `adm`."""
    sample = ["sample", row.model, "--count", str(COUNT), "--out", str(out / "samples")]
    if row.upsampler is not None:
        sample += ["--upsampler", row.upsampler]
    sample += [word for key, each in row.settings.items() for word in (f"--{key}", str(each))]
    score = ["evaluate", str(out / "samples"), "--reference", row.reference]
    score += ["--features", "inception"]
    return [sample, [*score, "--work", str(out / "features"), "--out", str(out / "report.json")]]


def reproduce(row: Row, out: Path, processes: int = 1) -> None:
    """Sample and score a row, with one process for each GPU; print the published scores beside."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--nproc-per-node", str(processes), "-m"]
    for words in commands(row, out):
        subprocess.run([*start, "adm", *words], check=True)
    report = load_report(out / "report.json")
    print(f"{row.title}, {row.source}")
    for key, printed in row.published.items():
        if (ours := report.scores.get(key)) is not None:
            name = title(key, report.features)
            print(f"{name}: {ours.text()}, published {printed}: {verdict(key, printed, ours)}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, row in ROWS.items():
            print(f"{name:30}{row.title:42}FID {row.published['frechet']:8}{row.source}")
    else:
        name, out, *processes = sys.argv[1:]
        reproduce(ROWS[name], Path(out), *map(int, processes))
