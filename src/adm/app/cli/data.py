"""adm data inspect SPEC -> Properties; adm data pack SPEC --out DIR -> WebDataset shards."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from adm.app.cli import VERBS, lists, places
from adm.app.cli.options import Labels, Strict
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.notices import notice
from adm.app.progress import progress
from adm.shown import count_of
from adm.store.files import write_text

if TYPE_CHECKING:  # the help needs no torch, nor do the imports of this module
    from collections.abc import Sequence

    from adm.app.report import Block
    from adm.data import Source
    from adm.data.inspect import Properties

MOST_LISTED = 40  # entries of each list; the JSON document has all

EXAMPLES = """For example:

    adm data example --out photos

    adm data emoji --out emoji

    adm data inspect photos --out photos.html

    adm data pack photos --out shards --size 64
"""
data = App(name="data", help=VERBS["data"], help_epilogue=EXAMPLES, help_format="markdown")


@data.command(help_epilogue="")
def inspect(
    spec: str,
    /,
    *,
    split: str = "train",
    labels: Labels = None,
    out: Annotated[Path | None, OUT] = None,
    as_json: AsJson = False,
) -> None:
    """Count classes, image sizes, broken files and duplicates.

    Decodes every image once. Broken files are listed by path; they do not change the exit status.

    Examples:

        adm data inspect photos

        adm data inspect photos.zip --labels photos.csv --out photos.html

    Parameters
    ----------
    spec
        Data, in any of the forms of `adm train --data`.
    split
        Split of the data: train or test.
    out
        HTML page to write: the report, with some images of each class.
    """
    if out is not None:
        places.file(out, "--out", "data.html")
    from adm.app.report import markdown
    from adm.data.inspect import inspect
    from adm.data.registry import find

    source = find(spec, split=split, labels=labels)
    with progress(f"reading {source.name}", len(source), "images") as advance:
        report = inspect(source, advance)
    show(report.to_json, as_json, lambda: print(markdown(_title(report), _blocks(report)), end=""))
    if out is not None:
        write_text(out, _page(report, source))
        say(f"{out}: the report, with some images of each class", as_json)


@data.command(help_epilogue="")
def pack(
    spec: str,
    /,
    *,
    out: Annotated[Path, OUT],
    split: str = "train",
    labels: Labels = None,
    size: lists.Size = None,
    channels: int | None = None,
    format: str = "png",
    shard_size: int = 10_000,
    strict: Strict = False,
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
    size
        Image size: H,W, HxW or one number. Images are resized and cropped to it; unchanged by
        default.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files, and unchanged for arrays.
    format
        Format of the images: png, jpeg (quality 95), webp (lossless), or original (the files
        unchanged).
    shard_size
        Images per shard.
    """
    places.resumable(out, "shards need")
    from adm.data import pack as library
    from adm.data.registry import find
    from adm.data.source import left_out

    packing = library.Packing(lists.height_and_width(size), channels, format, shard_size)
    source = find(spec, split=split, labels=labels)
    with progress(f"packing {source.name}", len(source), "images") as advance:
        done = library.pack(source, out, packing, split=split, strict=strict, advance=advance)
    if done.skipped:
        notice(left_out(source.name, done.skipped))
    before = f", {done.existing} of them from an earlier run" if done.existing else ""
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
    *,
    out: Annotated[Path, OUT],
    archives: Annotated[Path | None, Parameter(name="--from")] = None,
) -> None:
    """Write a folder of emoji in three styles: colour images of nine groups, 64x64, on white.

    The styles are those of Google, of Twitter and of Microsoft in 3D: folders train/GROUP and
    test/GROUP of PNG files. An emoji is in the same split in all styles. styles.csv has the style
    of each image, for --labels, and LICENCES.txt the terms of use. The installed npm downloads
    152 MB of packages once, which are verified by their hashes.

    Examples:

        adm data emoji --out emoji

        adm data emoji --from packages --out emoji

    Parameters
    ----------
    out
        Folder to write.
    archives
        Folder of the packages, if `npm pack` has downloaded them already.
    """
    places.replaceable(out)
    from adm.data.emoji import PACKAGES, write_emoji

    with progress("writing", len(PACKAGES), "packages") as advance:
        counts = write_emoji(out, archives, advance)
    styles = ", ".join(f"{count:,} of {style}" for style, count in counts.items())
    say(f"{out}: {sum(counts.values()):,} images in train/ and test/: {styles}")


def _blocks(report: "Properties") -> "list[Block]":
    """Describe a data set: its classes, sizes, formats, broken files and duplicates."""
    from adm.app.report import Block, Note, Table

    def listed(heading: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> list[Block]:
        """A table of the first rows, and the number of the others."""
        more = len(rows) - MOST_LISTED
        rest = [Note([f"... and {more} more; --json has all"])] if more > 0 else []
        return [Table(heading, rows[:MOST_LISTED]), *rest] if rows else []

    def counted(name: str, counts: dict[str, int]) -> list[Block]:
        return listed((name, "images"), [(each, str(count)) for each, count in counts.items()])

    def duplicates(what: str, groups: list[list[str]]) -> list[Block]:
        rows = [" = ".join(each[:4]) + " = ..." * (len(each) > 4) for each in groups]
        return listed((f"duplicates, same {what}",), [(row,) for row in rows])

    facts = [("broken", str(len(report.broken) or "none"))]
    for what, groups in (("files", report.same_files), ("pixels", report.same_pixels)):
        again = sum(len(group) - 1 for group in groups)
        facts.append((f"duplicates, same {what}", str(again or "none")))
    if report.conflicts:
        facts.append(("groups of duplicates with different labels", str(report.conflicts)))
    if report.left_out:
        facts.append(("not in the list of labels", str(report.left_out)))
    span = [] if len(report.sizes) < 2 else [Note([f"By area, {' to '.join(report.size_range)}:"])]
    return [
        Table(("what", "images"), facts),
        *counted("class", report.classes),
        *span,
        *counted("size (HxW)", report.sizes),
        *counted("format", report.kinds),
        *listed(("broken",), [(each["reason"],) for each in report.broken]),
        *duplicates("files", report.same_files),
        *duplicates("pixels", report.same_pixels),
    ]


def _page(report: "Properties", source: "Source") -> str:
    """Return an HTML page of the report, with some images of each class."""
    from adm.app.report import ImageRow, Images, Title, page
    from adm.app.report.page import tiles
    from adm.data.inspect import EXAMPLES, examples

    rows = [
        ImageRow(f"{name}\n{count_of(count, 'image')}", [tiles(images, EXAMPLES)])
        for (name, count), images in zip(report.classes.items(), examples(source), strict=False)
    ]
    grid = Images(rows, across=EXAMPLES)
    titled = [Title("Images of each class"), grid, Title("Images, counted")]
    return page(_title(report), [*titled, *_blocks(report)])


def _title(report: "Properties") -> str:
    classes = count_of(len(report.classes), "class", "classes")
    return f"{report.name}: {count_of(report.images, 'image')} of {classes}"
