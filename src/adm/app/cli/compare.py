"""adm compare A B ... --out PAGE -> a page of images of the same classes, side by side."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.options import DEFAULT_FEATURES
from adm.app.cli.output import OUT, AsJson, say, show, table
from adm.app.cli.scoring import USUAL_IMAGES, ImageOptions, with_cache
from adm.data.naming import ARCHIVE, at_home
from adm.spec import SettingError
from adm.store.files import new_file, write_text

if TYPE_CHECKING:
    from adm.app.study.comparison import SideBySide
    from adm.data import Source
    from adm.processes import Devices

SHOWN = 3  # classes whose images are shown by default


def compare(
    *images: str,
    out: Annotated[Path, OUT],
    classes: Annotated[
        tuple[str, ...] | None, Parameter(name="--class"), lists.names("sandal,bag")
    ] = None,
    count: int = 24,
    features: str = DEFAULT_FEATURES,
    picture: Path | None = None,
    how: ImageOptions = USUAL_IMAGES,
    as_json: AsJson = False,
) -> None:
    r"""Show images of the same classes from several models, and of real ones, side by side.

    The page has the first images of a class of each set, not selected, and for every class the mean
    distance between two of its images, with a 95% interval: if the images of a model look alike, it
    is smaller than that of real ones. An interrupted command resumes when it is run again.

    Examples:

        adm compare out/plain out/guided fashion-mnist --split test --class sandal,bag \
            --features efficientnet-lite0 --out page.html

        adm compare out/a out/b --features fashion-judge --picture page.png --out page.html

    Parameters
    ----------
    images
        Two or more sets of images with classes: sample folders, or data in any of the forms of
        `adm train --data`. Classes are matched by name. A folder of sample folders, such as
        samples/ of a demo or a sweep, stands for all of them that have the same classes.
    out
        HTML file to write.
    classes
        Classes to show, separated by commas or spaces; the first three by default. The table has
        all classes.
    count
        Images of each class and set to show.
    features
        Features in which distances are measured: inception, efficientnet-lite0, dinov2, a
        classifier's file or module:function; see docs/concepts/features.md.
    picture
        PNG file to draw the same images in.
    """
    places.file(out, "--out", "page.html", "page")
    if picture is not None:
        places.file(picture, "--picture", "page.png", "picture")
    if count < 1:
        raise SettingError("count", "at least 1", count)
    for flag, path in {"--out": out, "--picture": picture, "--work": how.work}.items():
        if path is not None:
            places.outside(path, flag, [at_home(spec) for spec in images])
    from adm.app.study import comparison as library
    from adm.features import open_features
    from adm.scoring import extract

    extracting = how.joined()
    devices = extracting.devices
    sources = _opened(_sets(images), how, devices)
    shared = library.shared_classes(sources)
    shown = library.shared_classes(sources, classes) if classes else shared[:SHOWN]
    network = open_features(features, devices.device)
    with with_cache(extracting, out) as extraction:
        seen = [
            extract(source, network, extraction.part(str(number)))
            for number, source in enumerate(sources)
        ]

        def act() -> None:
            comparison = library.compare(sources, seen, shared)
            write_text(out, library.page(comparison, sources, shown, count))
            if picture is not None:
                with new_file(picture) as file:
                    library.picture(comparison, sources, shown, count).save(file, "PNG")
            show(comparison.to_json, as_json, lambda: _print(comparison))
            say(f"{out}: open it in a browser", as_json)

        devices.once(act)


def _sets(images: tuple[str, ...]) -> list[str]:
    """Return the sets; a folder of sample folders is replaced by those of its commonest classes."""
    from adm.generation.manifest import read_manifest

    sets = list[str]()
    for spec in images:
        inner = sorted(file.parent for file in at_home(spec).glob(f"*/{ARCHIVE}"))
        if not inner or (at_home(spec) / ARCHIVE).is_file():
            sets.append(spec)
            continue
        classes = {each: tuple((read_manifest(each) or {}).get("classes", ())) for each in inner}
        ((common, _),) = Counter(classes.values()).most_common(1)
        sets += [str(each) for each in inner if classes[each] == common]
    if len(sets) < 2:
        raise ValueError(f"give two or more sets of images to compare, got {len(sets)}")
    return sets


def _opened(specs: list[str], how: ImageOptions, devices: "Devices") -> "list[Source]":
    """Open all sets at the size and with the channels of the first, unless they are given."""
    sources: list[Source] = []
    for spec in specs:
        path = at_home(spec)
        is_generated = path.suffix == ".npz" or (path / ARCHIVE).is_file()  # samples have no splits
        options: dict[str, Any] = {"split": "train" if is_generated else how.split, "pad": False}
        if sources:
            options |= {"channels": sources[0].shape[0], "size": sources[0].shape[1:]}
        sources.append(how.source(spec, devices, **options))
    return sources


def _print(comparison: "SideBySide") -> None:
    """Print the distances of every class."""
    from adm.app.study.curve import formatted

    rows = [(each.name, each.distances) for each in comparison.classes]
    rows.append(("mean", comparison.mean()))
    table(
        (
            (name, *(formatted(score, comparison.scores) for score in scores))
            for name, scores in rows
        ),
        ("class", *(f">{name}" for name in comparison.sources)),
        f"mean distance between two images of a class, by {comparison.features}",
        None,
    )
