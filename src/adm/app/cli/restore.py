"""adm restore MODEL IMAGES --operator OP --out DIR -> sample folder, with maps and scores."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import Split
from adm.app.cli.output import OUT, say
from adm.app.cli.sampling import MODELS, OUTPUT, SETTINGS, Models, Output, Settings
from adm.shown import count_of
from adm.spec import SettingError
from adm.store.samples import MANIFEST, RESTORED


def restore(
    model: str,
    images: str | None = None,
    /,
    *,
    operator: str,
    out: Annotated[Path, OUT],
    method: str = "mmps",
    sigma: float = 0.0,
    truth: str | None = None,
    split: Split = "test",
    count: int | None = None,
    samples: int = 1,
    classes: str | None = None,
    features: str | None = None,
    settings: Settings = SETTINGS,
    models: Models = MODELS,
    output: Output = OUTPUT,
) -> None:
    """Restore images: fill in, enlarge, deblur, colour.

    The folder is that of `adm sample`, with --samples images for each input in turn. Beside them
    are restored.png, which shows the measurements, the samples, their mean and their standard
    deviation; restored.npz, which holds these; and restored.json, with the scores. The same command
    resumes. Noise is in units of [-1, 1], the range of images.

    Examples:

        adm restore fashion --truth fashion-mnist --operator downsample --count 16 --out out/large

        adm restore fashion hole.png --operator inpaint:mask=mask.png --samples 4 --out out/filled

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
        Method of restoration, as in dps:step=0.3; `adm help method` lists them.
    sigma
        Standard deviation of the noise of the measurements: 0.05 for 6 of 255.
    truth
        Original images to compare with. Without IMAGES they are measured first, with noise.
    split
        Split of the truth, if its data set has several.
    count
        Restore only the first COUNT images.
    samples
        Images for each input.
    classes
        Class of all images, or one for each; by default sampling depends on no class.
    features
        Features of the perceptual distance to the truth; efficientnet-lite0 if it is installed.
    """
    places.folder(out, MANIFEST)
    if images is None and truth is None:
        raise SettingError("images", "there is nothing to restore; give {} or {truth}")
    from adm.app.cli.folder import write
    from adm.generation.folder import images_of
    from adm.generation.inputs import read_images, read_measurements
    from adm.generation.pipeline import load
    from adm.generation.restored import Problem
    from adm.images import to_uint8
    from adm.models.device import join_ranks
    from adm.scoring.restored import Restored, perceptual_features

    overrides = settings.overrides
    devices = join_ranks(models.device)
    pipeline = load(model, models.classifier, None, devices.device, models.weak)
    problem = Problem.parsed(operator, method, sigma)
    known, name = None, ""
    if truth is not None:
        splits, shape = (split, "train"), pipeline.shape
        known, name = read_images("truth", truth, shape, splits, count, pipeline.model.range)
    if images is not None:
        shape = problem.instrument(pipeline.model).shape
        y, name = read_measurements("images", images, shape, count, pipeline.model.range)
    else:
        assert known is not None
        y, name = problem.measure(known, overrides.get("seed", 0)), f"{name}, measured"
    if known is not None and len(known) != len(y):
        raise SettingError(
            "truth", f"{{}} has {len(known)} images and {{images}} {len(y)}; give one for each"
        )
    job = pipeline.restore_job(y, problem, samples, classes, source=name, **overrides)
    compared = None if known is None else perceptual_features(features, devices.device)
    write(out, job, output, f"restoring {count_of(job.count, 'image')}", devices)
    if devices.main and (out / MANIFEST).is_file():
        truth_8 = None if known is None else to_uint8(known)
        restored = Restored(job, to_uint8(images_of(out, job)), samples, truth_8, compared)
        restored.save(out)
        for what, scores in restored.scores.items():
            say(f"{what}: {', '.join(f'{name} {score.text()}' for name, score in scores.items())}")
        say(f"{out / RESTORED}: the measurements beside the restored images")
