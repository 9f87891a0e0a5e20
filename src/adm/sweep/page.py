"""a sweep's scores and samples -> one HTML file that needs none beside it, figures, tables."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, select_autoescape
from torch import Tensor

from adm import files
from adm.data.export import safe_names
from adm.pictures import LEAST, data_uri, grid, png
from adm.sweep.plan import SAMPLES, Point, Sweep, exactly, images_of
from adm.sweep.plots import figure
from adm.sweep.summary import (
    DISTANCE,
    SCALE,
    STEPS,
    Measured,
    Outcome,
    as_json,
    lines,
    markdown,
    summary,
    tables,
    ways,
)

ACROSS, ROWS = 4, 10  # images of a row and scale, and rows
MOST = 128  # pixels of an image's longer side


def write(outcome: Outcome, out: Path) -> list[Path]:
    """report.html, report.md, report.json and a PNG file a figure, in `out`."""
    drawn = {measured.by: figures(outcome, measured) for measured in outcome.measured}
    title = title_of(outcome.sweep)
    written = {name: picture for group in drawn.values() for name, picture in group.items()}
    written["report.json"] = (json.dumps(as_json(outcome), indent=1) + "\n").encode()
    written["report.md"] = markdown(outcome, title).encode()
    written["report.html"] = page(outcome, drawn, out).encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    return [out / name for name in written]


def page(outcome: Outcome, drawn: dict[str, dict[str, bytes]], out: Path) -> str:
    """The report; `out` is the sweep's folder, whose samples it shows."""
    text = resources.files("adm.sweep").joinpath("sweep.html").read_text("utf-8")
    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True
    )
    sweep = outcome.sweep
    return environment.from_string(text).render(
        title=title_of(sweep),
        lead=LEAD,
        facts=_facts(outcome),
        sections=[_section(outcome, m, drawn[m.by]) for m in outcome.measured if drawn[m.by]],
        labelled=sweep.labels is not None,
        mute=_mute(sweep),
        grids=[_grid(sweep, name, points, out) for name, points in ways(sweep).items()],
        tables=tables(outcome),
        notes=outcome.notes,
        settings=json.dumps(outcome.manifest, indent=1),
    )


LEAD = (
    "Classifier guidance trades diversity for fidelity. Here the same noise was turned into images "
    "at every scale, and each set of images was scored against real ones."
)


def figures(outcome: Outcome, measured: Measured) -> dict[str, bytes]:
    """File name -> PNG, one for each number that is swept."""
    found = {}
    swept = {SCALE: outcome.sweep.scales, STEPS: outcome.sweep.steps}
    for along, values in swept.items():
        if measured.drawn and len(values) > 1:
            drawn = lines(outcome, measured, along)
            name = "-".join(safe_names([measured.by]) + ["steps"] * (along == STEPS))
            picture = figure(drawn, along, measured.title(DISTANCE), measured.by)
            found[f"sweep-{name}.png"] = png(picture)
    return found


def shown(sweep: Sweep) -> dict[str, list[int]]:
    """Rows of the sample grids: their names, and the numbers of the images in them."""
    if sweep.labels is None:
        ends = range(ACROSS, min(sweep.count, ACROSS * ROWS) + 1, ACROSS)
        return {f"{end - ACROSS} to {end - 1}": list(range(end - ACROSS, end)) for end in ends}
    used = sorted(set(sweep.labels))
    rows = min(ROWS, len(used))
    chosen = [used[i * len(used) // rows] for i in range(rows)]
    return {
        sweep.model.classes[label]: [i for i, own in enumerate(sweep.labels) if own == label][
            :ACROSS
        ]
        for label in chosen
    }


def title_of(sweep: Sweep) -> str:
    swept = {"scale": sweep.scales, "steps": sweep.steps, "sampler": sweep.samplers}
    names = [name for name, values in swept.items() if len(values) > 1] or ["one point"]
    return f"{sweep.model.recipe.name}: scores by {' and '.join(names)}"


def _section(outcome: Outcome, measured: Measured, drawn: dict[str, bytes]) -> dict[str, Any]:
    said = summary(outcome, measured).items()
    return {
        "by": measured.by,
        "figures": [data_uri(picture) for picture in drawn.values()],
        "summaries": [{"of": way, "sentences": sentences} for way, sentences in said],
    }


def _grid(sweep: Sweep, name: str, points: list[Point], out: Path) -> dict[str, Any]:
    columns = [images_of(out / SAMPLES / point.name) for point in points]
    rows = [
        {
            "name": row,
            "pictures": [tiles(images[numbers]) for images in columns],
        }
        for row, numbers in shown(sweep).items()
    ]
    return {"name": name, "headings": [exactly(point.scale) for point in points], "rows": rows}


def tiles(images: Tensor) -> str:
    """(N, C, H, W) uint8 -> rows of `ACROSS`, as the source of an HTML image."""
    zoom = max(1, LEAST // max(images.shape[2:]))
    return data_uri(png(grid(images, ACROSS, zoom=zoom, most=MOST)))


def _mute(sweep: Sweep) -> str:
    """A word on models that are not told the class."""
    told = sweep.base.use_labels and sweep.model.network.config.classes is not None
    if told or sweep.labels is None:
        return ""
    return (
        "The model is not told the class, only the classifier steers: at scale 0 the rows are not "
        "of their class, and a judge names them as meant by chance."
    )


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    sweep = outcome.sweep
    return [
        ("model", f"{sweep.model.recipe.name}, {sweep.model.trained_steps:,} steps of training"),
        ("classifier", sweep.classifier.recipe.name if sweep.classifier else "none"),
        ("images a point", f"{sweep.count:,}"),
        ("samplers", ", ".join(sweep.samplers)),
        ("steps", ", ".join(map(str, sweep.steps))),
        ("seed", str(sweep.base.seed)),
        ("features", ", ".join(measured.by for measured in outcome.measured if measured.drawn)),
    ]
