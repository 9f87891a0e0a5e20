"""adm data pack SPEC --out DIR -> WebDataset shards."""

from pathlib import Path
from typing import Annotated

from cyclopts import App

from adm.app.cli import VERBS, places
from adm.app.cli.options import Labels, Size
from adm.app.cli.output import OUT, say
from adm.app.notices import notice
from adm.app.progress import progress
from adm.shown import count_of

EXAMPLES = """For example:

    adm data pack fashion-mnist --out shards
"""
data = App(name="data", help=VERBS["data"], help_epilogue=EXAMPLES, help_format="markdown")


@data.command(help_epilogue="")
def pack(
    spec: str,
    /,
    *,
    out: Annotated[Path, OUT],
    split: str = "train",
    labels: Labels = None,
    size: Size = None,
    channels: int | None = None,
    format: str = "png",
    shard_size: int = 10_000,
) -> None:
    """Write WebDataset shards.

    Writes train-000000.tar and so on, and classes.json, which `adm train --data FOLDER` and the
    webdataset package read. Images that cannot be decoded are left out and named. The same data
    give the same bytes. An interrupted command resumes when it is run again.

    Examples:

        adm data pack fashion-mnist --out shards

        adm data pack photos --split test --out shards --size 64

        adm data pack photos.zip --labels prefix --out shards --size 64 --format webp

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
        Format of the images: png, jpeg (quality 95) or webp (lossless).
    shard_size
        Images per shard.
    """
    places.resumable(out, "shards need")
    from adm.data import pack as library
    from adm.data.registry import find

    packing = library.Packing(size, channels, format, shard_size)
    source = find(spec, split=split, labels=labels)
    with progress(f"packing {source.name}", len(source), "images") as advance:
        done = library.pack(source, out, packing, split=split, advance=advance)
    for reason in done.damaged:
        notice(f"left out: {reason}")
    before = f", {done.existing} of them from an earlier run" if done.existing else ""
    shards = count_of(done.shards, f"{split} shard")
    say(f"{out}: {shards}{before}; {count_of(done.images, 'image')} written")
