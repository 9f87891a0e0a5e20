"""Model, vary, reference -> Result of a sweep, and its folder: samples, scores, report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adm.app.study.page import write
from adm.app.study.run import Result, run
from adm.app.study.scoring import Against, scoring_of
from adm.app.study.study import Axis, Study, Value, study_of
from adm.data.naming import at_home
from adm.generation.pipeline import Pipeline, load
from adm.processes import Devices
from adm.scoring import Extraction
from adm.scoring.evaluate import Resize
from adm.spec import check_type


def sweep(
    model: str | Path | Pipeline,
    *,
    vary: Mapping[str, Sequence[Value]],
    reference: str | Path | Sequence[str | Path],
    out: str | Path,
    features: str | Sequence[str] | None = None,
    count: int = 1000,
    classes: str | None = None,
    judge: str | None = None,
    split: str = "train",
    resize: Resize | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Result:
    """Score samples at every combination of settings, as `adm sweep` does; resume an earlier call.

    Args:
        model: a model, or its path or shipped name.
        vary: setting of sampling -> its values, as in {"scale": [0, 1, 2], "sampler": ["ddim"]}.
        reference: data, whose references are cached in the folder; or a file of `adm reference`, or
            one for each of the features.
        out: the folder, which gets report.html.
        features: features specs; by default those of the references, or "inception".
        count: images of each point.
        classes: names of the classes to sample in turn, separated by commas; by default all.
        judge: a classifier of clean images, whose accuracy on the samples is reported as well.
        split: of the reference, if it is data: "train" or "test".
        resize: for a reference of another size than the samples; see `Comparison`.
        seed: of the noise, unless `vary` has seeds.
        batch_size: images that are scored at a time.

    Returns:
        The result; `points` are the settings with their scores.

    Raises:
        ValueError: points that cannot be sampled or scored, or a folder of another sweep.
    """
    check_type("vary", vary, (Mapping,), "settings with their values, as in {'scale': [0, 1, 2]}")
    check_type("out", out, (str, Path), "the path of a folder")
    pipeline = model if isinstance(model, Pipeline) else load(model)
    axes = [_axis(name, values) for name, values in vary.items()]
    study = study_of(pipeline, axes, classes=classes, count=count, seed=seed)
    against = Against(
        reference=_several(reference),
        features=None if features is None else _several(features),
        split=split,
        resize=resize,
        judge=judge,
    )
    devices = Devices(pipeline.device)
    result = score_all(study, against, at_home(out), Extraction(devices, batch_size))
    assert result is not None  # there is one rank
    return result


def score_all(study: Study, against: Against, out: Path, extraction: Extraction) -> Result | None:
    """Sample and score all points of a study, and write its page, together with the other ranks.

    Args:
        out: the folder of the study.
        extraction: ranks and batch size.

    Returns:
        The result on the main rank; None on the others.

    Raises:
        ValueError: points that cannot be sampled or scored, or a folder of another study.
    """
    study.check()
    devices, size = extraction.devices, extraction.batch_size
    with scoring_of(study, against, out, extraction) as scoring:
        result = run(study, scoring, out, devices=devices, batch_size=size)
        if result is not None:
            write(result, out)
    return result


def _axis(name: str, values: Sequence[Value]) -> Axis:
    expected = "a list of values, as in [0, 1, 2]"
    check_type(f"vary {name}", values, (list, tuple, range), expected)
    for value in values:
        check_type(f"vary {name}", value, (str, int, float, type(None)), expected)
    return Axis(name, tuple(values)).ordered


def _several(specs: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(each) for each in ([specs] if isinstance(specs, str | Path) else specs)]
