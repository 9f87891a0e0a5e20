"""adm restore MODEL IMAGES --operator OP --out DIR -> sample folder, with maps and scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import places
from adm.app.cli.options import Split
from adm.app.cli.output import OUT, say
from adm.app.cli.sampling import ALONE, DEFAULT, USUAL, Helpers, Output, Settings
from adm.app.cli.scoring import joined
from adm.data.naming import at_home
from adm.spec import out_of_range
from adm.store.samples import MANIFEST, RESTORED

if TYPE_CHECKING:  # so that --help does not load torch
    from torch import Tensor

    from adm.data import Source
    from adm.features.contract import Features
    from adm.processes import Devices


# Twelve parameters: the measurements, the method, and the options of `adm sample`.
def restore(
    model: str,
    images: str | None = None,
    /,
    *,
    operator: str | None = None,
    out: Annotated[Path, OUT],
    method: str | None = None,
    sigma: float | None = None,
    preset: str | None = None,
    truth: str | None = None,
    split: Split = "test",
    count: int | None = None,
    samples: int = 1,
    classes: str | None = None,
    features: str | None = None,
    settings: Settings = DEFAULT,
    helpers: Helpers = ALONE,
    output: Output = USUAL,
) -> None:
    """Restore images: fill in, enlarge, deblur, colour.

    The folder is that of `adm sample`, with --samples images for each input in turn. Beside them
    are restored.png, which shows the measurements, the samples, their mean and their standard
    deviation; restored.npz, which holds these; and restored.json, with the scores. The same command
    resumes. Noise is in units of [-1, 1], the range of images.

    Examples:

        adm restore fashion hole.png --operator inpaint:mask=mask.png --samples 4 --out out/filled

        adm restore fashion --truth fashion-mnist --operator downsample --count 16 --out out/large

        adm restore emoji blurred/ --operator blur:gaussian=2 --method diffpir --out out/sharp

        adm restore fashion y.npy --operator camera.py:expose --classes bag --scale 2 --out out/bags

    Parameters
    ----------
    model
        A path (a file or a run folder) or a name, such as fashion.
    images
        Measurements: images as the operator outputs them, in its size and channels, or a .npy file
        (N, ...) in units of [-1, 1]. With --truth, they may be left out.
    operator
        Operator that measured the images, as in inpaint:box=8-8-12-12 or module:function; `adm help
        operator` lists them.
    method
        Method of restoration, as in mmps, the default, or dps:step=0.3; `adm help method` lists
        them.
    sigma
        Standard deviation of the noise of the measurements: 0.05 for 6 of 255; 0 by default.
    preset
        Defaults of operator, method, sigma and steps from a published table, such as diffpir-blur;
        `adm help preset` lists them with their figures.
    truth
        Original images to compare with. Without IMAGES they are measured first, with noise.
    split
        Split of the truth, if its data set has several.
    count
        Restore only the first COUNT images.
    samples
        Images for each input.
    classes
        Class of all images, or one for each; by default sampling is unconditional and unguided.
    features
        Features of the perceptual distance to the truth; efficientnet-lite0 if it is installed.
    """
    places.folder(out, MANIFEST)
    from adm.generation.folder import images_of
    from adm.generation.restored import Problem
    from adm.restoration.presets import PRESETS
    from adm.scoring import open_images
    from adm.scoring.restored import Restored

    if images is None and truth is None:
        raise out_of_range("images", "given, or {truth}")
    devices = joined(helpers.device)
    pipeline = helpers.load(model, devices.device)
    overrides = settings.overrides
    if preset is not None:
        if preset not in PRESETS:
            raise out_of_range("preset", f"one of {', '.join(PRESETS)}", preset)
        usual = PRESETS[preset]
        operator, method = operator or usual.operator, method or usual.method
        sigma = usual.sigma if sigma is None else sigma
        overrides = overrides if "grid" in overrides else {"steps": usual.steps} | overrides
        say(usual.published)
    if operator is None:
        raise out_of_range("operator", "given, or {preset}")
    problem = Problem.parsed(operator, method or "mmps", sigma or 0.0)
    instrument = problem.instrument(pipeline.model)
    real, known, (channels, *size) = None, None, pipeline.shape
    if truth is not None:
        how = {"split": (split, "train"), "size": tuple(size), "channels": channels}
        real = open_images(truth, **how).source
        known = all_of(real, count)
    if images is not None:
        y, what = measured(images, instrument.shape, count, devices)
    else:
        assert real is not None
        assert known is not None
        y, what = problem.measure(known, overrides.get("seed", 0)), f"{real.name}, measured"
    if known is not None and len(known) != len(y):
        raise out_of_range("truth", f"as many images as there are inputs, {len(y)}", len(known))
    job = pipeline.restore_job(y, problem, samples, classes, source=what, **overrides)
    compared = None if known is None else perceptual(features, devices)
    output.write(out, job, f"restoring {job.count} images", devices)
    if devices.main and (out / MANIFEST).is_file():
        restored = Restored(job, images_of(out, job), samples, known, compared)
        restored.save(out)
        for what, scores in restored.scores.items():
            say(f"{what}: {', '.join(f'{name} {score.text()}' for name, score in scores.items())}")
        say(f"{out / RESTORED}: the measurements beside the restored images")


def all_of(source: "Source", count: int | None) -> "Tensor":
    """Read the first `count` images, or all: (N, C, H, W) uint8."""
    return source.batch(range(len(source))[:count])[0]


def measured(
    spec: str, shape: tuple[int, ...], count: int | None, devices: "Devices"
) -> "tuple[Tensor, str]":
    """Open the measurements: (N, *shape) uint8, or float32 of a .npy file; and their name."""
    import numpy as np
    import torch

    from adm.scoring import open_images
    from adm.store.arrays import load_array

    if spec.endswith(".npy"):
        array = load_array(at_home(spec))
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise out_of_range("images", "finite real numbers", str(array.dtype))
        y, name = torch.from_numpy(array.astype(np.float32))[:count], at_home(spec).name
    elif len(shape) != 3 or shape[0] not in (1, 3, 4):
        raise out_of_range("images", f"a .npy file of numbers (N, {shape})", spec)
    else:
        source = open_images(spec, channels=shape[0], pad=False).source
        y, name = all_of(source, count), source.name
    if tuple(y.shape[1:]) != tuple(shape):
        expected = f"of shape {tuple(shape)}, as {{operator}} leaves the images of the model"
        raise out_of_range("images", expected, tuple(y.shape[1:]))
    return y, name


def perceptual(features: str | None, devices: "Devices") -> "Features | None":
    """Open the features of the perceptual distance; by default efficientnet-lite0 if installed."""
    from adm.features import open_features

    if features is not None:
        return open_features(features, devices.device)
    try:
        return open_features("efficientnet-lite0", devices.device)
    except ValueError:
        return None
