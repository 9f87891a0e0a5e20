"""adm data inspect SPEC -> Report; adm data pack SPEC --out DIR -> WebDataset shards."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from adm.app.cli import VERBS, lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.progress import progress
from adm.shown import count_of
from adm.store.files import new_file, write_text

if TYPE_CHECKING:  # the help needs no torch, nor do the imports of this module
    from torch import Tensor

    from adm.data.inspect import Report

MOST_LISTED = 40  # entries printed of each list; the JSON file has all
BAR = 40  # characters
FEW = 8  # sizes or formats printed

EXAMPLES = """For example:

    adm data example --out photos

    adm data emoji --out emoji

    adm data inspect photos --sheet photos.png

    adm data pack photos --out shards --size 64
"""
data = App(name="data", help=VERBS["data"], help_epilogue=EXAMPLES, help_format="markdown")


@data.command(help_epilogue="")
def inspect(
    spec: str,
    /,
    *,
    split: str = "train",
    labels: str | None = None,
    out: Annotated[Path | None, OUT] = None,
    sheet: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Count classes, image sizes, broken files and duplicates.

    Decodes every image once. Broken files are listed by path; they do not change the exit status.

    Examples:

        adm data inspect photos

        adm data inspect photos.zip --labels photos.csv --out photos.json --sheet photos.png

    Parameters
    ----------
    spec
        Data, in any of the forms of `adm train --data`.
    split
        Split of the data: train or test.
    labels
        Where labels come from: folders (the default), prefix (as in dog_0001.png), none, or a CSV
        or JSON file.
    out
        JSON file to write the whole report to.
    sheet
        PNG file to draw some images of each class to, one row per class.
    as_json
        Print the whole report as one JSON document.
    """
    if out is not None:
        places.file(out, "--out", "report.json")
    if sheet is not None:
        places.file(sheet, "--sheet", "sheet.png")
    from adm.data import inspect as library
    from adm.data.registry import find

    found = find(spec, split=split, labels=labels)
    for path in filter(None, (out, sheet)):
        path.parent.mkdir(parents=True, exist_ok=True)
    with progress(f"reading {found.name}", len(found), "images") as advance:
        report = library.inspect(found, advance)
    show(report.to_json, as_json, lambda: _show(report))
    if out is not None:
        write_text(out, json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
        say(f"{out}: the whole report", as_json)
    if sheet is not None:
        examples = library.examples(found)
        _draw(report, examples, sheet)
        classes = count_of(len(report.classes), "class", "classes")
        say(f"{sheet}: {len(examples)} of {classes}, a row each, in the order above", as_json)


@data.command(help_epilogue="")
def pack(
    spec: str,
    /,
    *,
    out: Annotated[Path, OUT],
    split: str = "train",
    labels: str | None = None,
    size: lists.Size = None,
    channels: int | None = None,
    format: str = "png",
    shard_size: int = 10_000,
    skip_corrupt: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write WebDataset shards.

    Writes train-000000.tar and so on, and classes.json, which `adm train --data FOLDER` and the
    webdataset package read. The same data give the same bytes. An interrupted command resumes when
    it is run again.

    Examples:

        adm data pack photos --out shards --size 64

        adm data pack photos --split test --out shards --size 64

        adm data pack photos.zip --labels prefix --out shards --format original

    Parameters
    ----------
    spec
        Data, in any of the forms of `adm train --data`.
    out
        Folder to write; it may hold the shards of other splits.
    split
        Split of the data: train or test.
    labels
        Where labels come from: folders (the default), prefix (as in dog_0001.png), none, or a CSV
        or JSON file.
    size
        Image size: H,W, HxW or one number. Images are resized and cropped to it; by default they
        keep their size.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files; arrays keep theirs.
    format
        Format of the images: png, jpeg (quality 95), webp (lossless), or original (the files
        unchanged).
    shard_size
        Images per shard.
    skip_corrupt
        Skip images that cannot be decoded.
    """
    places.resumable(out, "shards need")
    from adm.data import pack as library
    from adm.data.registry import find

    packing = library.Packing(lists.height_and_width(size), channels, format, shard_size)
    found = find(spec, split=split, labels=labels)
    with progress(f"packing {found.name}", len(found), "images") as advance:
        done = library.pack(
            found, out, packing, split=split, skip_corrupt=skip_corrupt, advance=advance
        )
    for path in done.skipped[:MOST_LISTED]:
        say(f"skipped, broken: {path}")
    if len(done.skipped) > MOST_LISTED:
        say(f"and {len(done.skipped) - MOST_LISTED} more")
    before = f", {done.kept} of them from an earlier run" if done.kept else ""
    shards = count_of(done.shards, f"{split} shard")
    say(f"{out}: {shards}{before}; {count_of(done.images, 'image')} written")


@data.command(help_epilogue="")
def example(*, out: Annotated[Path, OUT]) -> None:
    """Write a small folder of colour photographs, to try the other commands with.

    The images are 2,200 crops of pictures that scikit-image contains, 64x64, of six classes:
    folders train/CLASS and test/CLASS of JPEG files. Nothing is downloaded.

    Examples:

        adm data example --out photos

    Parameters
    ----------
    out
        Folder to write.
    """
    places.replaceable(out)
    from adm.data.example import PICTURES, write_example

    with progress("cutting", len(PICTURES), "pictures") as advance:
        count = write_example(out, advance)
    say(f"{out}: {count:,} images of {len(PICTURES)} classes, in train/ and test/")


@data.command(help_epilogue="")
def emoji(
    *, out: Annotated[Path, OUT], skin_tones: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Write a folder of emoji in three styles: colour images of nine groups, 64x64, on white.

    They are those of Google, of Twitter and of Microsoft in 3D: folders train/GROUP and test/GROUP
    of PNG files. An emoji is in the same split in all styles. styles.csv has the style of each
    image, for --labels, and LICENCES.txt the terms of use. 152 MB are downloaded once from npm's
    registry, and compared with hashes.

    Examples:

        adm data emoji --out emoji

    Parameters
    ----------
    out
        Folder to write.
    skin_tones
        Keep all skin tones of an emoji, which are nearly the same image.
    """
    places.replaceable(out)
    from adm.data.emoji import PACKAGES, write_emoji

    with progress("writing", len(PACKAGES), "packages") as advance:
        counts = write_emoji(out, skin_tones=skin_tones, advance=advance)
    styles = ", ".join(f"{count:,} of {style}" for style, count in counts.items())
    say(f"{out}: {sum(counts.values()):,} images in train/ and test/: {styles}")


def _draw(report: "Report", examples: "Tensor", out: Path) -> None:
    """Draw (K, n, 3, H, W) uint8 to a PNG file: a row for each class, with its number of images."""
    from adm.pictures import Row, sheet

    rows = [
        Row(f"{name}\n{count_of(count, 'image')}", list(images))
        for (name, count), images in zip(report.classes.items(), examples, strict=False)
    ]
    total = count_of(len(report.classes), "class", "classes")
    shown = f"{len(rows)} of {total}" if len(rows) < len(report.classes) else total
    title = f"{report.name}: {count_of(report.images, 'image')}, {shown}"
    with new_file(out) as part:
        sheet(title, [("", examples.shape[1])], rows).save(part, "PNG")


def _show(report: "Report") -> None:
    classes = count_of(len(report.classes), "class", "classes")
    print(f"{report.name}: {count_of(report.images, 'image')} of {classes}")
    most = max(report.classes.values(), default=1) or 1
    width = max(map(len, report.classes), default=0)
    for name, count in list(report.classes.items())[:MOST_LISTED]:
        print(f"  {name:{width}} {count:>9}  {'█' * round(BAR * count / most)}".rstrip())
    _rest(len(report.classes), "class", "classes")
    if report.left_out:
        print(f"not in the list of labels: {report.left_out}")
    _show_sizes(report)
    print(f"formats: {_counts(report.kinds)}")
    print(f"broken: {len(report.broken) or 'none'}")
    for one in report.broken[:MOST_LISTED]:
        print(f"  {one['reason']}")
    _rest(len(report.broken), "broken image", "broken images")
    for what, groups in (("files", report.same_files), ("pixels", report.same_pixels)):
        again = sum(len(group) - 1 for group in groups)
        print(f"duplicates, same {what}: {again or 'none'}")
        for group in groups[:MOST_LISTED]:
            print(f"  {' = '.join(group[:4])}{' = ...' if len(group) > 4 else ''}")
        _rest(len(groups), "group", "groups")
    if report.conflicts:
        print(f"groups of duplicates with different labels: {report.conflicts}")


def _show_sizes(report: "Report") -> None:
    """Print the range of the sizes; the sizes themselves only if they are few."""
    span = report.size_range
    if span is None or span.different == 1:
        print(f"sizes (HxW): {_counts(report.sizes)}")
        return
    print(
        f"sizes (HxW): {span.different} different; by area, the smallest is {span.min}, the median "
        f"{span.median} and the largest {span.max}"
    )
    if span.different <= FEW:
        print(f"  {_counts(report.sizes)}")


def _counts(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:FEW])
    more = f", and {len(counts) - FEW} more" if len(counts) > FEW else ""
    return f"{listed or 'none'}{more}"


def _rest(count: int, one: str, more: str) -> None:
    if count > MOST_LISTED:
        rest = count_of(count - MOST_LISTED, f"more {one}", f"more {more}")
        print(f"  ... and {rest}; --out FILE.json has the whole list")
