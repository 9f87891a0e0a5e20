"""adm likelihood MODEL DATA --out DIR -> Bits: bits per dimension, report.json."""

from pathlib import Path
from typing import Annotated, Literal

from adm.app.cli import places
from adm.app.cli.options import SEVERAL, Device
from adm.app.cli.output import OUT, AsJson, print_lines, say, show


def likelihood(
    model: str,
    data: str,
    /,
    *,
    out: Annotated[Path, OUT],
    bound: Annotated[tuple[str, ...], SEVERAL] = (),
    count: int | None = None,
    split: Literal["train", "test"] | None = None,
    labels: Literal["own", "none"] = "own",
    seed: int = 0,
    batch_size: int = 32,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure the bits per dimension of images under a model.

    Writes report.json with the terms, their intervals over images, the bits of every image and the
    means at every level. An interrupted command resumes when it is run again, also with more
    images, and torchrun distributes it over several devices. Files of images are resized and
    cropped to the size of the model, and smaller arrays are padded, as in training.

    Examples:

        adm likelihood fashion fashion-mnist --count 256 --out out/bits

        adm likelihood fashion fashion-mnist --count 256 --bound ode:steps=64 --out out/bits

        adm likelihood runs/photos photos/ --bound variational --bound ode --out out/photos

        torchrun --nproc-per-node 8 -m adm likelihood runs/photos photos/ --out out/photos

    Parameters
    ----------
    model
        A diffusion model: a path (a file or a run folder) or a shipped name, such as fashion.
    data
        Images, in any of the forms of `adm train --data`; docs/howto/data.md lists them.
    out
        Folder to write or to resume.
    bound
        variational, the bound of the stochastic sampler, over all levels or, as in
        variational:drawn=64, the default, over so many drawn for each image; or
        ode:steps=64,probes=2, the likelihood by the probability-flow ODE. May be given several
        times; `adm help bound` lists the parameters.
    count
        Number of images, chosen by the seed; by default all.
    split
        Split of the data; by default the test images, if there are any.
    labels
        own: a class-conditional model receives the class of each image, matched by name. none: it
        is evaluated without classes.
    seed
        Random seed of the choice of images and of all noise.
    batch_size
        Images that are evaluated together, and saved. It affects results only by rounding.
    """
    places.resumable(out, "the report needs")
    from adm.app.study import likelihood as library
    from adm.models.device import join_ranks

    devices = join_ranks(device)
    how = {"bound": bound, "count": count, "split": split, "labels": labels, "seed": seed}
    bits = library.likelihood(model, data, **how, batch_size=batch_size, out=out, devices=devices)
    if devices.main:
        show(bits.to_json, as_json, lambda: print_lines(str(bits)))
        say(f"{out / library.REPORT}: the whole report", as_json)
