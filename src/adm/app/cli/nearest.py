"""adm nearest SAMPLES DATA --out FILE -> NearestImages, as a PNG picture and JSON."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import FEATURES, IMAGES, ImageOptions, Resize
from adm.app.cli.output import OUT, AsJson, print_lines, say, show
from adm.spec import SettingError, out_of_range
from adm.store.files import new_file


def nearest(
    samples: str,
    data: str,
    /,
    *,
    test: str | None = None,
    features: Annotated[str | None, FEATURES] = None,
    count: int = 16,
    neighbours: int = 5,
    quantile: float = 0.01,
    resize: Resize = None,
    out: Annotated[Path, OUT] = Path("nearest.png"),
    images: ImageOptions = IMAGES,
    as_json: AsJson = False,
) -> None:
    """Show the nearest training images of each sample, and flag likely copies.

    A sample is flagged if its nearest training image is closer than a threshold: the 1% quantile
    (--quantile) of the distances of training images to their nearest neighbours. About 1% of fresh
    images would be flagged. A sample with the same pixels as a training image is always flagged.
    With --test, it also measures how much nearer samples are to training images than to test
    images. The picture shows the samples most likely to be copies first. An interrupted command
    resumes when it is run again.

    Examples:

        adm nearest out/pairs fashion-mnist --features fashion-judge --out nearest.png

        adm nearest out/samples fashion-mnist --test fashion-mnist --features fashion-judge

        adm nearest samples.npz photos/ --features efficientnet-lite0 --size 64 --json > near.json

    Parameters
    ----------
    samples
        A sample folder, an .npz file (arr_0), a folder of images or its .zip, ...
    data
        Data that the model was trained on; docs/howto/data.md lists all forms.
    test
        Data that the model was not trained on: the test split, or all if there are no splits.
    count
        Number of samples in the picture.
    neighbours
        Number of training images shown for each sample.
    quantile
        Quantile of the nearest-neighbour distances of training images that is the threshold.
    out
        PNG file to write the picture to.
    """
    if count < 1:
        raise out_of_range("count", "at least 1", count)
    places.file(out, "--out", "nearest.png", "picture")
    from adm.features import open_features
    from adm.models.device import join_ranks
    from adm.scoring import Extraction, at_size, extract, open_images, resumable
    from adm.scoring.nearest import (
        NONE,
        check_arguments,
        draw_nearest,
        equal_pixels,
        nearest_images,
        nearest_to_json,
    )

    devices = join_ranks(images.device)
    others = [open_images(samples, pad=False, **images.form).source]
    like = others[0]
    theirs = open_images(data, split=images.split, like=like, **images.form).source
    if test is not None:
        others.append(open_images(test, split=("test", "train"), like=like, **images.form).source)
    for other in others:
        if other.shape[0] != theirs.shape[0]:
            raise ValueError(
                f"{other.name} has images of {other.shape[0]} channels and {theirs.name} of "
                f"{theirs.shape[0]}; give --channels, which applies to both"
            )
    check_arguments(len(theirs), neighbours, quantile)
    ours, *unseen = [at_size(each, theirs.shape[1:], resize) for each in others]
    network = open_features(features, devices.device)
    with resumable(Extraction(devices, images.batch_size, images.work), out) as extraction:
        mine = extract(ours, network, extraction.part("samples"))
        real = extract(theirs, network, extraction.part("data"))
        new = extract(unseen[0], network, extraction.part("test")) if unseen else None
        if new is not None and (equal_pixels(new.hashes, real.hashes) != NONE).all():
            raise SettingError(
                "test",
                f"all images of {{}} are in {theirs.name} as well; give images that the model was "
                "not trained on",
            )

        def act() -> None:
            matches = nearest_images(
                mine.pool,
                real.pool,
                equal_pixels(mine.hashes, real.hashes),
                test=None if new is None else new.pool,
                neighbours=neighbours,
                quantile=quantile,
                device="cuda" if devices.device.type == "cuda" else "cpu",
            )
            with new_file(out) as file:
                draw_nearest(matches, ours, theirs, count, network.name).save(file, "PNG")
            whole = lambda: nearest_to_json(matches, network.name, ours, theirs)  # noqa: E731
            show(whole, as_json, lambda: print_lines(str(matches)))
            say(f"{out}: the {min(count, len(ours))} samples most likely to be copies", as_json)

        devices.once(act)
