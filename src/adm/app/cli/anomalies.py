"""adm anomalies MODEL IMAGES --out DIR -> edits, maps of the differences, scores, ROC area."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from adm.app.cli import lists, places
from adm.app.cli.edit import NOTHING, Editing
from adm.app.cli.output import OUT, say
from adm.app.cli.sampling import ALONE, DEFAULT, USUAL, Helpers, Output, Settings
from adm.app.cli.scoring import joined
from adm.data.naming import MANIFEST, MAPS
from adm.spec import SettingError
from adm.store.files import write_bytes, write_json
from adm.store.hashes import read_sums, sha256, store_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from adm.data import Source
    from adm.generation.edit import Nearest
    from adm.generation.job import Job

USUAL_EDIT = "invert:strength=0.5"
SCORES = "anomalies.json"  # beside the maps in the sample folder of the edits
SHOWN = 10  # images in the picture
TILE = 84  # least pixels of an image there
MOST_SMOOTH = 100


def anomalies(
    model: str,
    images: str,
    /,
    *,
    out: Annotated[Path, OUT],
    anomalous: Annotated[tuple[str, ...] | None, lists.names("bag,coat")] = None,
    smooth: float = 0.0,
    editing: Editing = NOTHING,
    settings: Settings = DEFAULT,
    helpers: Helpers = ALONE,
    output: Output = USUAL,
) -> None:
    """Show where images differ from the nearest versions that a model generates.

    Each image is edited by a model of healthy images, as by `adm edit`, which writes the folder:
    by default it is encoded up to half of the noise, and sampled again. Its nearest version is the
    one of --classes and --samples with the least mean difference, which is the score of the image.
    anomalies.json has all scores, and anomalies.png the images, their nearest versions and maps of
    the differences, from the highest score to the lowest. Given the anomalous classes, it also
    reports how well the score detects them.

    Examples:

        adm anomalies runs/healthy scans/ --edit noise:strength=0.4 --samples 4 --out noised

        adm anomalies runs/no-bag data/test.npz --classes all --anomalous bag --out bags

    Parameters
    ----------
    model
        A diffusion model of healthy images: a path (a file or a run folder) or a shipped name.
    images
        Images to examine: any data that `adm edit` takes.
    out
        Sample folder to write, of the edits.
    anomalous
        Anomalous classes of the images, to measure how well the score detects them.
    smooth
        Standard deviation in pixels of a Gaussian that blurs the maps.
    """
    places.folder(out, MANIFEST)
    from adm.generation.folder import holds

    if not 0 <= smooth <= MOST_SMOOTH:
        raise SettingError("smooth", f"from 0 to {MOST_SMOOTH} pixels", smooth)
    devices = joined(helpers.device)
    pipeline = helpers.load(model, devices.device)
    source = editing.open(images, pipeline, devices)
    is_anomalous = None if anomalous is None else positive(source, anomalous)
    job = editing.job(pipeline, source, settings, helpers, USUAL_EDIT)
    if job.generator.input_shape != job.generator.shape:
        raise SettingError("edit", "noise or invert, which edit one image", editing.edit)
    output.write(out, job, f"editing {len(source)} images", devices)

    def act() -> None:
        if holds(out, job):  # and not only a shard of it
            report = examined(out, job, source, smooth, is_anomalous)
            say_area(report)
            say(f"{out / MAPS}: images, their nearest versions and maps of the differences")

    devices.once(act)


def positive(source: "Source", anomalous: Sequence[str]) -> "NDArray[np.bool_]":
    """Return whether each image is of an anomalous class.

    Raises:
        SettingError: the images have no such class, or are all of one kind.
    """
    import numpy as np

    from adm.generation.labels import parse_classes

    try:
        labels = parse_classes(",".join(anomalous), source.classes)
    except SettingError as error:
        raise SettingError("anomalous", "classes of the images", error.got, error.cure) from None
    is_anomalous = np.isin(source.labels.numpy(), labels)
    if is_anomalous.all() or not is_anomalous.any():
        cure = "give images of both kinds, such as more of them"
        raise SettingError("anomalous", "classes of some images, and not of all", anomalous, cure)
    return is_anomalous


def examined(
    out: Path, job: "Job", source: "Source", smooth: float, is_anomalous: "NDArray[np.bool_] | None"
) -> dict[str, Any]:
    """Score the images by their edits in a sample folder; add scores and maps to it."""
    from adm.generation.edit import nearest
    from adm.generation.folder import images_of
    from adm.metrics.accuracy import roc_area
    from adm.pictures import png

    pixels, labels = source.batch(range(len(source)))
    near, per_image = nearest(pixels, images_of(out, job), smooth), job.count // len(pixels)
    changed = [None if job.labels is None else job.labels[i] for i in range(per_image)]
    names = [None if label is None else job.generator.classes[label] for label in changed]
    rows = [
        {
            "image": source.path(index) or index,
            "class": source.classes[label],
            "score": score,
            "nearest": place,
            "nearest_class": names[place],
        }
        for index, (label, score, place) in enumerate(
            zip(labels.tolist(), near.score.tolist(), near.place.tolist(), strict=True)
        )
    ]
    report: dict[str, Any] = {"edit": job.manifest()["edit"], "smooth": smooth, "images": rows}
    if is_anomalous is not None:
        area = roc_area(near.score.numpy(), is_anomalous)
        report["area"] = {
            **area.to_json(),
            "anomalous": int(is_anomalous.sum()),
            "of": len(is_anomalous),
        }
    write_json(out / SCORES, report)
    classes = [source.classes[label] for label in labels]
    write_bytes(out / MAPS, png(picture(pixels, near, classes)))
    sums = {name: sha256(out / name) for name in (SCORES, MAPS)}
    store_sums(out, (read_sums(out) or {}) | sums)
    return report


def picture(images: "Tensor", near: "Nearest", classes: Sequence[str]) -> "Image":
    """Draw images from the highest score to the lowest, their nearest versions and the maps."""
    import torch

    from adm.pictures import Row, sheet

    order = near.score.argsort(descending=True, stable=True)
    shown = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().long()]
    whole = max(1e-6, float(near.map[shown].max()))
    maps = (near.map[shown] / whole * 255).round().byte()[:, None]
    headings = [(f"{classes[i]} {near.score[i]:.3f}", 1) for i in shown.tolist()]
    named = {"image": images[shown], "nearest": near.version[shown], "difference": maps}
    rows = [Row(name, list(each)) for name, each in named.items()]
    return sheet("From the highest score to the lowest", headings, rows, TILE)


def say_area(report: dict[str, Any]) -> None:
    """Print how well the scores detect anomalies; without labels, the highest scores."""
    if area := report.get("area"):
        print(
            f"area under the ROC curve {area['value']:.3f} (95% interval {area['low']:.3f} to "
            f"{area['high']:.3f}), {area['anomalous']} anomalous of {area['of']} images"
        )
        return
    for row in sorted(report["images"], key=lambda row: -row["score"])[:SHOWN]:
        print(f"{row['score']:.4f}  {row['image']}")
