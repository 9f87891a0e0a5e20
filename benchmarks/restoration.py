"""Every operator by every method on test images: `python benchmarks/restoration.py --out DIR`.

It restores 100 test images of Fashion-MNIST and of emoji with the shipped models, resumes where it
was stopped, and writes docs/results/data/restoration-*.csv, one of them with the distance of each
method from the exact posterior of a Gaussian mixture. Seconds are of one thread, without the
scores.
"""

import argparse
import csv
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import oracle

import adm
from adm.data import open_source
from adm.diffusion import cosine, fractional
from adm.features import open_features
from adm.generation.restored import Problem
from adm.images import to_uint8
from adm.metrics.sliced_wasserstein import sliced_wasserstein
from adm.pictures import Row, png, sheet
from adm.restoration import METHODS, Measurement, Prior, adjoint_of
from adm.samplers import SAMPLERS
from adm.scoring.restored import Restored
from adm.spec import SettingError, parse
from adm.store.files import write_bytes, write_text

SIGMA = 0.05
OPERATORS = {
    "fashion": (
        "inpaint:box=8-8-12-12",
        "inpaint:random=0.8",
        "downsample:factor=4",
        "blur:gaussian=2",
        "motion",
        "phase",
    ),
    "emoji": (
        "inpaint:box=10-10-12-12",
        "inpaint:random=0.8",
        "downsample:factor=4",
        "blur:gaussian=2",
        "grey",
    ),
}
SPECS = {  # method -> its spec and steps
    "mmps": ("mmps", 20),
    "pgdm": ("pgdm:variance=0.5", 50),
    "dps": ("dps:step=0.5", 100),
    "ddnm": ("ddnm", 50),
    "diffpir": ("diffpir", 50),
    "repaint": ("repaint:jump=4,times=3", 30),
    "daps": ("daps", 25),
}
POSTERIOR = (
    *("mmps", "pgdm:variance=0.3", "dps", "ddnm", "diffpir", "daps"),
    "daps:ode=1,variance=0.3",
)
COUNT = 2000  # samples of the posterior of the mixture


def restored(name: str, operator: str, method: str, images: torch.Tensor) -> tuple[dict, Restored]:
    """Restore images; return the scores, calls and seconds."""
    model = adm.load(name)
    spec, steps = SPECS[method]
    problem = Problem.parsed(operator, spec, SIGMA)
    y = model.measure(images, operator, sigma=SIGMA)
    job = model.restore_job(y, problem, steps=steps)
    began = time.process_time()
    samples = job.images(range(job.count))
    seconds = (time.process_time() - began) / job.count
    scored = Restored(job, samples, 1, images, open_features("efficientnet-lite0"))
    return scored.to_json() | {"steps": steps, "seconds": seconds}, scored


def run(name: str, images: torch.Tensor, out: Path) -> dict:
    """Restore by every method what every operator has done; what is there is not done again."""
    results: dict[str, dict] = {}
    for operator in OPERATORS[name]:
        for method in SPECS:
            place = out / name / f"{operator.replace(':', '_')}-{method}.json"
            key = f"{operator} {method}"
            if place.is_file():
                results[key] = json.loads(place.read_text())
                continue
            try:
                results[key], scored = restored(name, operator, method, images)
            except SettingError:  # the method is not for this operator
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(place.with_suffix(".npz"), images=scored.images[:8].numpy())
            write_text(place, json.dumps(results[key], indent=1) + "\n")
            score = results[key]["scores"]["samples"]["PSNR"]["value"]
            print(f"{name} {key}: {score:.2f} dB, {results[key]['seconds']:.2f} s", flush=True)
    return results


def posterior() -> list[list[str]]:
    """Return the rows of the table of distances from the exact posterior."""
    data, process, sigma = oracle.four_modes(), cosine(1000), 0.1
    matrix = torch.tensor([[0.5, 0.5, 0, 0], [0, 0.2, 0.6, 0.2]], dtype=torch.float64)
    y = torch.tensor([0.3, -0.1], dtype=torch.float64)
    exact = data.posterior(matrix, y, sigma)
    truth = exact.sample(COUNT, oracle.seeded(0)).numpy()
    floor = sliced_wasserstein(truth, exact.sample(COUNT, oracle.seeded(1)).numpy()).value
    rows = [["the posterior itself", "", "", f"{floor:.4f}"]]
    forward = lambda x: x.flatten(1) @ matrix.T  # noqa: E731
    measurement = Measurement(forward, y.expand(COUNT, -1), sigma, adjoint_of(forward, (1, 2, 2)))
    for spec in POSTERIOR:
        method, steps = parse(METHODS, spec, "method"), 100
        start = fractional.default_start(process)
        end = fractional.default_end(process, start, steps)
        schedule = process.visiting(fractional.karras(process, end, start, steps))
        sampler = parse(SAMPLERS, method.sampler or "ddim", "sampler")
        shape = (COUNT, 1, 2, 2)

        def noise(level: int, draw: int = 0, shape: tuple = shape) -> torch.Tensor:
            return oracle.normal(shape, 1000 + 997 * level + draw)

        with torch.set_grad_enabled(method.differentiates):
            prior = Prior(data.denoise(schedule), schedule)
            states = method.sample(prior, measurement, oracle.normal(shape, 1), noise, sampler)
            samples = oracle.last(states).flatten(1)
        spread = float(exact.covariance.diag().sum().sqrt())
        mean = float((samples.mean(dim=0) - exact.mean).norm()) / spread
        error = float((torch.cov(samples.T) - exact.covariance).norm() / exact.covariance.norm())
        distance = sliced_wasserstein(truth, samples.numpy()).value
        rows.append([spec, f"{mean:.2f}", f"{error:.2f}", f"{distance:.3f}"])
    return rows


def table(headings: list[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    return text.getvalue()


def tables(name: str, results: dict) -> str:
    """Return PSNR and feature distance of every operator by every method."""
    feature = "feature distance (efficientnet-lite0)"
    headings = ["operator", "baseline", *(spec for spec, _ in SPECS.values())]
    rows = []
    for operator in OPERATORS[name]:
        row = [operator]
        entries = [results.get(f"{operator} {method}") for method in SPECS]
        any_ = next(each for each in entries if each)
        row.append(cell(any_["scores"].get("baseline"), feature))
        row += [cell(each and each["scores"]["samples"], feature) for each in entries]
        rows.append(row)
    costs = ["seconds an image, calls", ""]
    for method in SPECS:
        each = next(result for key, result in results.items() if key.endswith(f" {method}"))
        costs.append(f"{each['seconds']:.2f}, {each['calls']['network']:,}")
    return table(headings, [*rows, costs])


def cell(scores: dict | None, feature: str) -> str:
    if not scores:
        return ""
    psnr = scores["PSNR"]
    text = f"{psnr['value']:.1f} ± {(psnr['high'] - psnr['low']) / 2:.1f}"
    return f"{text}, {scores[feature]['value']:.2f}"


def picture(name: str, images: torch.Tensor, out: Path) -> bytes:
    """Draw what was measured and what each method made of it, of one image an operator."""
    model, rows = adm.load(name), []
    for number, operator in enumerate(OPERATORS[name]):
        y = model.measure(images, operator, sigma=SIGMA)[number]
        shown = to_uint8(y[None])[0] if y.ndim == 3 else torch.zeros_like(images[0])
        row = [images[number], shown]
        for method in SPECS:
            place = out / name / f"{operator.replace(':', '_')}-{method}.npz"
            blank = torch.full_like(images[0], 255)
            image = torch.from_numpy(np.load(place)["images"][number]) if place.is_file() else blank
            row.append(image)
        rows.append(Row(operator.partition(":")[0], row))
    headings = [("truth", 1), ("measured", 1), *((method, 1) for method in SPECS)]
    return png(sheet("", headings, rows, least=84))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/restoration"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--emoji", default="emoji", help="data of emoji, as `adm data` writes it")
    parser.add_argument("--only", nargs="*", default=[*OPERATORS, "posterior"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = options.docs / "results" / "data"
    if "posterior" in options.only:
        headings = ["method", "mean", "covariance", "sliced Wasserstein"]
        write_text(data / "restoration-posterior.csv", table(headings, posterior()))
    for name in OPERATORS.keys() & {*options.only}:
        model = adm.load(name)
        channels, high, wide = model.shape
        spec = options.emoji if name == "emoji" else "fashion-mnist"
        source = open_source(spec, split="test", size=(high, wide), channels=channels)
        # Evenly spaced: images of a folder are sorted by class.
        images = source.batch([i * len(source) // options.count for i in range(options.count)])[0]
        results = run(name, images, options.out)
        write_text(data / f"restoration-{name}.csv", tables(name, results))
        drawn = picture(name, images, options.out)
        write_bytes(options.docs / "images" / f"restored-{name}.png", drawn)


if __name__ == "__main__":
    main()
