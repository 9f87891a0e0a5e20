"""Model, vary, reference -> Result of a sweep, and its folder: samples, scores, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adm.app.study.page import write
from adm.app.study.run import Result, run
from adm.app.study.scoring import Against, scoring_of
from adm.app.study.study import Axis, Value, study_of
from adm.data.naming import at_home
from adm.generation.labels import labels_like
from adm.generation.pipeline import Pipeline, load
from adm.processes import Devices
from adm.scoring import Extraction
from adm.scoring.evaluate import Resize
from adm.spec import check_type, out_of_range


def sweep(
    model: str | Path | Pipeline,
    *,
    vary: Mapping[str, Sequence[Value]] | list[Axis],
    reference: str | Path | Sequence[str | Path],
    out: str | Path,
    features: str | Sequence[str] | None = None,
    count: int = 1000,
    classes: str | None = None,
    proportions: str | Path | None = None,
    judge: str | None = None,
    split: str = "train",
    resize: Resize | None = None,
    seed: int = 0,
    batch_size: int = 64,
    devices: Devices | None = None,
) -> Result:
    """Score samples at every combination of settings, as `adm sweep` does; resume an earlier call.

    Args:
        model: a model, or its path or shipped name.
        vary: setting of sampling -> its values, as in {"scale": [0, 1, 2], "sampler": ["ddim"]}.
        reference: data, whose references are cached in the folder; or a file of `adm reference`, or
            one for each of the features.
        out: the folder, which gets report.html.
        features: features specs; by default those of the references, or those that are installed.
        count: images of each point.
        classes: names of the classes to sample in turn, separated by commas; by default all.
        proportions: a list of labels in whose proportions to sample classes, in place of those.
        judge: a classifier of clean images, whose accuracy on the samples is reported as well.
        split: of the reference, if it is data: "train" or "test".
        resize: for a reference of another size than the samples; see `Comparison`.
        seed: of the noise, unless `vary` has seeds.
        batch_size: images that are scored at a time.
        devices: the ranks that share the work, all of which must call; None for one.

    Returns:
        The result, on every rank; `points` are the settings with their scores.

    Raises:
        ValueError: points that cannot be sampled or scored, or a folder of another sweep.
    """
    check_type(
        "vary", vary, (Mapping, list), "settings with their values, as in {'scale': [0, 1, 2]}"
    )
    check_type("out", out, (str, Path), "the path of a folder")
    if not isinstance(reference, str | Path | list | tuple):
        allowed = "data, such as 'fashion-mnist', or the file of a reference"
        raise out_of_range("reference", allowed, type(reference).__name__)
    pipeline = model if isinstance(model, Pipeline) else load(model)
    given = isinstance(vary, Mapping)
    axes = [_axis(name, values) for name, values in vary.items()] if given else vary
    labels = None
    if proportions is not None:
        labels = labels_like(str(proportions), classes, pipeline.classes, count)
    study = study_of(pipeline, axes, classes=classes, count=count, seed=seed, labels=labels)
    study.check()
    extraction = Extraction(devices or Devices(pipeline.device), batch_size)
    chosen, folder = None if features is None else _several(features), at_home(out)
    against = Against(_several(reference), chosen, split, resize, judge)
    with scoring_of(study, against, folder, extraction) as scoring:
        result = run(study, scoring, folder, devices=extraction.devices, batch_size=batch_size)
        extraction.devices.once(lambda: write(result, folder))
    return result


def _axis(name: str, values: Sequence[Value]) -> Axis:
    expected = "a list of values, as in [0, 1, 2]"
    check_type(f"vary {name}", values, (list, tuple, range), expected)
    for value in values:
        check_type(f"vary {name}", value, (str, int, float, type(None)), expected)
    return Axis(name, tuple(values)).ordered


def _several(specs: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(each) for each in ([specs] if isinstance(specs, str | Path) else specs)]
