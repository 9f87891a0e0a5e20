"""SweepResult, sample folders -> a self-contained HTML page, Markdown, JSON and PNG figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from adm.app.study.curve import Line
from adm.app.study.plan import SAMPLES, Point, spoken
from adm.app.study.plots import figure
from adm.app.study.run import JUDGE_ACCURACY, NetworkScores, SweepResult
from adm.app.study.summary import (
    DISTANCE,
    SCALE,
    STEPS,
    as_json,
    feature_names,
    figure_notes,
    lines,
    markdown,
    plottable,
    summary,
    table_notes,
    tables,
    ways,
)
from adm.app.study.template import PACKAGE, rendered
from adm.app.study.truncations import AnySweep
from adm.data.export import safe_names
from adm.generation.folder import images_of
from adm.pictures import LEAST, data_uri, grid, png
from adm.shown import exactly
from adm.store import files

ACROSS, ROWS = 4, 10  # images per row and scale; most rows
MOST = 128  # most pixels of the longer side of an image


def write(result: SweepResult, out: Path) -> list[Path]:
    """Write report.html, report.md, report.json and a PNG file per figure into `out`."""
    drawn = {each.network: figures(result.sweep, each) for each in result.networks}
    title = title_of(result.sweep)
    written = {name: picture for group in drawn.values() for name, picture in group.items()}
    written["report.json"] = (json.dumps(as_json(result), indent=1) + "\n").encode()
    written["report.md"] = markdown(result, title).encode()
    written["report.html"] = page(result, drawn, out).encode()
    for name, content in written.items():
        files.write_bytes(out / name, content)
    return [out / name for name in written]


def page(result: SweepResult, drawn: dict[str, dict[str, bytes]], out: Path) -> str:
    """Render the HTML page.

    Args:
        drawn: network -> file name -> PNG, from `figures`.
        out: the sweep folder, whose samples the page shows.
    """
    sweep, grids = result.sweep, columns(result.sweep)
    return rendered(
        PACKAGE,
        "sweep.html",
        title=title_of(sweep),
        lead=LEADS.get(sweep.axis, LEAD) if len(sweep.scales) > 1 else "",
        same=SAME,
        facts=_facts(result),
        sections=[
            _section(sweep, each, drawn[each.network])
            for each in result.networks
            if drawn[each.network]
        ],
        figure_notes=figure_notes([c for each in result.networks for c in curves(sweep, each)]),
        labelled=bool(meant(sweep)),
        unlabelled_note=_unlabelled_note(result),
        grids=[
            sample_grid(
                name,
                {_heading(sweep, point): out / SAMPLES / point.name for point in points},
                shown(sweep),
            )
            for name, points in grids.items()
        ],
        tables=tables(result),
        notes=table_notes(result),
        settings=json.dumps(result.manifest, indent=1),
    )


LEAD = "Guidance trades diversity for fidelity."
LEADS = {
    "scale": "Classifier guidance trades diversity for fidelity.",
    "free_scale": "Classifier-free guidance trades diversity for fidelity.",
    "truncation": "Truncation of the noise trades diversity for fidelity.",
}
SAME = "The images of every point were sampled from the same noise and scored against real images."


def curves(sweep: AnySweep, network: NetworkScores) -> list[tuple[str, list[Line]]]:
    """Return (`SCALE` or `STEPS`, lines) of each figure: one over each of them that is swept."""
    swept = {SCALE: sweep.scales, STEPS: sweep.steps}
    alongs = [along for along, values in swept.items() if plottable(network) and len(values) > 1]
    return [(along, lines(sweep, network, along)) for along in alongs]


def figures(sweep: AnySweep, network: NetworkScores) -> dict[str, bytes]:
    """Draw a figure over the scale and one over the steps, if swept: PNG bytes by file name."""
    found = {}
    for along, drawn in curves(sweep, network):
        name = "-".join(safe_names([network.network]) + ["steps"] * (along == STEPS))
        what = spoken(sweep.axis) if along == SCALE and sweep.axis != "scale" else along
        picture = figure(drawn, what, network.short_title(DISTANCE), network.network)
        found[f"sweep-{name}.png"] = png(picture)
    return found


def columns(sweep: AnySweep) -> dict[str, list[Point]]:
    """Return the points of each sample grid by its name, as `ways`; one grid for one scale."""
    return ways(sweep) if len(sweep.scales) > 1 else {"": sweep.points}


def shown(sweep: AnySweep) -> dict[str, list[int]]:
    """Return the image indices of each row of the sample grids; with classes, a row is a class."""
    return rows_of(meant(sweep), sweep.classes, sweep.count)


def rows_of(labels: Sequence[int], classes: Sequence[str], count: int) -> dict[str, list[int]]:
    """Return the image indices of each row of a sample grid; with labels, a row is a class."""
    if not labels:
        ends = range(ACROSS, min(count, ACROSS * ROWS) + 1, ACROSS)
        return {f"{end - ACROSS} to {end - 1}": list(range(end - ACROSS, end)) for end in ends}
    used = sorted(set(labels))
    rows = min(ROWS, len(used))
    chosen = [used[i * len(used) // rows] for i in range(rows)]
    return {
        classes[label]: [i for i, own in enumerate(labels) if own == label][:ACROSS]
        for label in chosen
    }


def meant(sweep: AnySweep) -> list[int]:
    """Return the labels of the images; none if no point has images of a class."""
    return (sweep.labels or []) if sweep.told or sweep.by_classifier else []


def title_of(sweep: AnySweep) -> str:
    """Return the title of the page: the model, and the settings that are swept."""
    swept = {spoken(sweep.axis): sweep.scales, "steps": sweep.steps, "sampler": sweep.samplers}
    names = [name for name, values in swept.items() if len(values) > 1]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{sweep.model.name}: scores" + (f" by {listed}" if names else "")


def _section(sweep: AnySweep, network: NetworkScores, drawn: dict[str, bytes]) -> dict[str, Any]:
    said = summary(sweep, network).items()
    return {
        "network": network.network,
        "figures": [data_uri(picture) for picture in drawn.values()],
        "summaries": [{"of": way, "sentences": sentences} for way, sentences in said],
    }


def sample_grid(
    name: str, columns: Mapping[str, Path], rows: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Return what the template shows as a grid of samples.

    Args:
        columns: heading -> sample folder.
        rows: name -> indices of images.
    """
    images = [images_of(folder) for folder in columns.values()]
    across = max(map(len, rows.values()))
    drawn = [
        {"name": row, "pictures": [tiles(each[chosen], across) for each in images]}
        for row, chosen in rows.items()
    ]
    return {
        "name": name,
        "headings": list(columns),
        "rows": drawn,
        "images": across * len(columns),
    }


def _heading(sweep: AnySweep, point: Point) -> str:
    """Return the heading of a column: its scale, or what else is swept if there is one scale."""
    told = [point.sampler] if len(sweep.samplers) > 1 else []
    told += [f"{point.steps} steps"] if len(sweep.steps) > 1 else []
    if len(sweep.scales) > 1 or not told:
        return point.at
    return ", ".join(told)


def tiles(images: Tensor, across: int) -> str:
    """Return images (N, C, H, W) uint8 in rows of `across`, as the source of an HTML image."""
    zoom = max(1, LEAST // max(images.shape[2:]))
    return data_uri(png(grid(images, across, zoom=zoom, most=MOST)))


def _unlabelled_note(result: SweepResult) -> str:
    """Return a note for models that take no labels; an empty string for others."""
    sweep = result.sweep
    if sweep.told or not meant(sweep) or sweep.axis != "scale" or 0 not in sweep.scales:
        return ""
    judged = " and the judge's accuracy is chance" if judges(result) else ""
    return (
        "The model takes no labels, and only the classifier guides it: samples of scale 0 "
        f"have no class, so the rows do not apply to them{judged}."
    )


def judges(result: SweepResult) -> list[str]:
    """Return the name of the judge, if there is one."""
    return [each.network for each in result.networks if JUDGE_ACCURACY in each.keys]


def _facts(result: SweepResult) -> list[tuple[str, str]]:
    sweep = result.sweep
    return [
        ("model", f"{sweep.model.name}, {sweep.model.trained_steps:,} steps of training"),
        ("classifier", sweep.classifier.name if sweep.classifier else "none"),
        ("images per point", f"{sweep.count:,}"),
        ("samplers", ", ".join(sweep.samplers)),
        ("steps", ", ".join(map(str, sweep.steps))),
        *([] if sweep.weak is None else [("weak model", sweep.weak.name)]),
        (f"{spoken(sweep.axis)}s", ", ".join(map(exactly, sweep.scales))),
        ("seed", str(sweep.base.seed)),
        ("features", ", ".join(feature_names(result))),
        *[("judge", name) for name in judges(result)],
    ]
