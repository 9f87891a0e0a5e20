"""Patient -> Findings: what is right, what is not, and what to change; Findings -> page.

A check is a function of a `Patient` that returns a `Finding`, or raises `Skipped` with a reason.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from adm.app.report import Block, Cell, Figure, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.runs.watch.drift import LEVELS as FAR_OFF
from adm.app.runs.watch.drift import Compared, compare, differences, moments, reference
from adm.app.runs.watch.validation import allowed, gap
from adm.app.study.comparison import within_class
from adm.app.study.patient import MANY, MARGIN, Patient, Skipped
from adm.app.study.plots import INK, LINES, PALE, panels
from adm.generation.generator import identity
from adm.images import to_uint8
from adm.metrics.accuracy import accuracy
from adm.models.gan import GANModel
from adm.models.pair import check_pair
from adm.models.paths import FOREIGN
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import on_meta, shapes_of
from adm.pictures import png
from adm.recipes import build
from adm.spec import SettingError
from adm.training.ema import decay_at
from adm.training.model_file import load_weights, metadata_of

Verdict = Literal["ok", "look", "wrong", "skipped"]
RANK: tuple[Verdict, ...] = ("wrong", "look", "ok", "skipped")
RAW = "raw.safetensors"  # beside the average, in the folder of a checkpoint
SURE = 3.0  # standard errors beyond which a deviation is not chance
ACROSS, LEAST = 8, 640  # pictures side by side; pixels of the width of a figure
SIZE = (10.4, 3.5)  # inches of a figure
DOTS: Any = {"marker": "o", "ms": 3.5, "lw": 1.4}
ORTHOGONAL = (
    "On the left, the error should be below both guesses. On the right, bands are 3 standard "
    "errors: an expectation has slope 1, and its error is orthogonal to it, so that the mean "
    "squares of the predicted noise and of what it leaves add up to that of the noise."
)


class Finding(NamedTuple):
    """The result of a check.

    Attributes:
        verdict: `ok`; `look`, for what may be meant, or matters little; `wrong`; `skipped`.
        says: what was found, with numbers, in a sentence or two.
        change: what to do about it, the worst first; nothing if it is ok.
        figures: numbers by name.
    """

    verdict: Verdict
    says: str
    change: str = ""
    figures: Mapping[str, float] = {}


Check: TypeAlias = Callable[[Patient], Finding]
Findings: TypeAlias = Mapping[str, Finding]  # by the name of the check


def finding(says: str, cures: Mapping[str, Verdict], **figures: float) -> Finding:
    """Return the worst of several verdicts, with the cure of each that is not ok."""
    amiss = sorted(
        (each for each in cures if cures[each] != "ok"), key=lambda c: RANK.index(cures[c])
    )
    return Finding(worst(cures.values()) if cures else "ok", says, joined(amiss), figures)


def examine(patient: Patient) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of every check that concerns the model."""
    for name, check in checks_of(patient).items():
        try:
            yield name, check(patient)
        except Skipped as reason:
            yield name, Finding("skipped", joined([str(reason)]))
        except (SettingError, FloatingPointError) as error:
            yield name, Finding("wrong", joined([f"it cannot be measured: {error}"]))


def checks_of(patient: Patient) -> dict[str, Check]:
    """Return the checks that concern a model, by name."""
    model, upsamples = patient.model, patient.upsamples
    chosen: list[Check] = [settings]
    if isinstance(model, ClassifierModel):
        chosen += [classifier, gradient, overfitting, average]
        return {each.__name__: each for each in chosen}
    diffuses = isinstance(model, DiffusionModel)
    if diffuses:
        chosen += [start, estimate, variance]
        if len(model.classes) > 1:
            chosen.append(labels)
        chosen.append(overfitting)
    chosen += [average, colours, saturation]
    if model.classes and not upsamples:
        chosen.append(variety)
    if patient.classifier is not None:
        chosen += [pair, classifier, gradient, agreement] if diffuses else [agreement]
    elif not upsamples:
        chosen.append(classifier)
    return {each.__name__: each for each in chosen}


def graded(value: float, look: float, wrong: float) -> Verdict:
    """Return the verdict of a value that should be small; NaN is wrong."""
    if not value <= wrong:
        return "wrong"
    return "ok" if value <= look else "look"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts."""
    return min(verdicts, key=RANK.index)


def joined(parts: Sequence[str]) -> str:
    """Return several cures as a sentence."""
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def settings(patient: Patient) -> Finding:
    """The file states what its use needs: sampling that fits its process, names of classes."""
    model, cures = patient.model, dict[str, Verdict]()
    recipe, classes = model.recipe, model.classes
    says = f"A released file, recognised as {recipe.name}"
    try:
        build.check_sampling(recipe)
    except ValueError as error:
        cures[f"its settings of sampling do not fit its process: {error}"] = "wrong"
    if model.path.suffix not in FOREIGN:
        metadata, steps = metadata_of(model.path), model.trained_steps
        says = f"Recipe {recipe.name}, {steps:,} of {recipe.train.steps:,} steps"
        says += f" of {metadata.data}" if metadata.data else ""
        if "sample" not in metadata.recipe and not isinstance(model, ClassifierModel):
            cures["it has no settings of sampling, so that those by default are used"] = "look"
        if metadata.weights == "raw":
            cures["it holds the raw weights: sample the average, model.safetensors"] = "look"
        if not steps:
            cures["it was not trained, as it states 0 steps"] = "look"
    if len(set(classes)) < len(classes):
        cures["two classes have the same name: name them apart"] = "wrong"
    elif len(classes) > 10 and all(name.isdigit() for name in classes):
        cures["its classes have numbers and no names: ask for them by number"] = "look"
    named = f"{len(classes)} classes" if classes else "no classes"
    return finding(f"{says}; {named}.", cures, steps=model.trained_steps, classes=len(classes))


def start(patient: Patient) -> Finding:
    """Sampling starts from pure noise, which should be all that is left of an image at that level.

    The means m of the channels, of D pixels each, have a mean mu and a covariance S over images. At
    x_t = signal x_0 + sigma noise they are read as signal m with an error of variance sigma^2 / D,
    so that an estimate takes the part K = R (1 + R)^-1 of them from x_t, where R = signal^2 S D /
    sigma^2. Pure noise says that they are 0: samples are shifted by -K mu, and along an eigenvector
    of K with value k their deviation falls to sqrt(1 - k^2) (after Lin et al. 2024, section 3, for
    normal m).
    """
    model, level = patient.diffusion, patient.start
    schedule, last = model.schedule, model.schedule.last
    signal = float(schedule.signal[level])
    says = f"Sampling starts at level {level} of {last}, where sqrt(alpha_bar) is {signal:.4f}"
    if patient.upsamples:
        return finding(
            f"{says}; the small image determines the colours.", {}, level=level, signal=signal
        )
    mean, spread, of = patient.brightness

    def lost(level: int) -> tuple[float, float]:
        """Return the largest eigenvalue of K, and the largest shift of 255."""
        ratio = float(schedule.alpha_bar[level] / (1 - schedule.alpha_bar[level]))
        read = ratio * math.prod(model.shape[1:]) * spread
        gain = read @ torch.linalg.inv(torch.eye(len(read)).double() + read)
        shift = 127.5 * (gain @ mean).abs().max()
        return float(torch.linalg.eigvals(gain).real.max()), float(shift)

    share, shift = lost(level)
    says += (
        f": {share:.0%} of the brightness {of} is read from x_t, and pure noise has none. That "
        f"shifts samples by about {shift:.1f} of 255 towards grey, and leaves "
        f"{math.sqrt(1 - share**2):.0%} of the spread of their brightness."
    )
    change = "train with a schedule that ends in noise, such as process.schedule=cosine"
    better = (each for each in range(level, last + 1) if lost(each)[1] <= FAR_OFF / 4)
    if (noisier := next(better, level)) > level:
        change = f"start at a noisier level, as with --grid karras:start={noisier}"
        if model.student:  # it knows the levels of its grid alone
            change = f"distil it again with --set distillation.grid.start={noisier}"
    verdict = worst([graded(share, 0.3, 0.6), graded(shift, FAR_OFF / 2, 2 * FAR_OFF)])
    return finding(says, {change: verdict}, level=level, signal=signal, read=share, shift=shift)


def estimate(patient: Patient) -> Finding:
    """The estimate of x_0 is its expectation, and better than a guess that needs no network."""
    calibration = patient.calibration
    off = torch.stack(
        [
            (calibration.slope - 1).abs() - SURE * calibration.slope_spread,
            (calibration.energy - 1).abs() - SURE * calibration.energy_spread,
            (calibration.error - SURE * calibration.error_spread) / calibration.linear - 1,
        ]
    )
    slope, energy, guess = off.amax(1).tolist()
    level = int(calibration.levels[off.amax(0).argmax()])
    first, last = int(calibration.levels[0]), int(calibration.levels[-1])
    low, high = float(calibration.slope.min()), float(calibration.slope.max())
    least, most = float(calibration.energy.min()), float(calibration.energy.max())
    ratio = float((calibration.error / calibration.linear).max())
    says = (
        f"From level {first} to {last}, x_0 follows its estimate "
        f"with slope {low:.2f} to {high:.2f}, the predicted noise and what it leaves add up to "
        f"{least:.2f} to {most:.2f} of the noise (both should be 1), and the error of x_0 is at "
        f"most {ratio:.2f} of that of a linear guess."
    )
    change = (
        f"it is worst at level {level}. Check that process.schedule, process.prediction and "
        "process.rescale_steps are those of the training, and that the data are its own; else "
        "train longer"
    )
    grades = (graded(slope, 0.12, 0.25), graded(energy, 0.12, 0.25), graded(guess, 0, 0.25))
    figures = {"slope_low": low, "slope_high": high, "noise_low": least, "noise_high": most}
    return finding(says, {change: worst(grades)}, **figures, of_linear=ratio)


def variance(patient: Patient) -> Finding:
    """The learned variance of x_(t-1) is its mean squared distance from the predicted mean."""
    model = patient.diffusion
    if not model.parameterization.variance.learned:
        raise Skipped(f"the variance is not learned but {model.recipe.process.variance}")
    calibration = patient.calibration
    off = calibration.variance.log().abs()
    place = int(off.argmax())
    ratio, level = float(calibration.variance[place]), int(calibration.levels[place])
    says = (
        f"The squared distance of x_(t-1) from its predicted mean is {ratio:.2f} of the predicted "
        f"variance at level {level}, where they differ most."
    )
    change = "sample without it, as with --sampler ddim, or train with loss=hybrid"
    verdict = graded(float(off[place]), math.log(1.3), math.log(2))
    return finding(says, {change: verdict}, ratio=ratio, level=level)


def labels(patient: Patient) -> Finding:
    """An image is denoised better with its label than with another one."""
    errors = patient.by_label
    own, others = errors[:, 0], errors[:, 1:]
    chance, share = 1 / errors.shape[1], float((own < others.amin(1)).double().mean())
    effect = float(((errors.amax(1) - errors.amin(1)) / errors.mean(1)).mean())
    says = (
        f"Denoised with {errors.shape[1]} labels each at level {patient.guessing}, {share:.0%} of "
        f"the images have the least error with their own; it varies by {effect:.0%} with the label."
    )
    cures: dict[str, Verdict] = {}
    if share <= chance + SURE * math.sqrt(chance * (1 - chance) / len(errors)):
        cures = {"labels have no effect: train longer, or without": "look"}
        if effect > 0.1:
            change = (
                "name the classes in the order of the training, or check the labels of the data"
            )
            cures = {change: "wrong"}
    return finding(says, cures, share=share, chance=chance, effect=effect)


def overfitting(patient: Patient) -> Finding:
    """The loss, or the accuracy, is on held-out images what it is on training images."""
    model = patient.model
    assert not isinstance(model, GANModel)
    if patient.training is None or patient.held_out is None:
        raise Skipped("the data have no test split" if patient.training else patient.without)
    trained, held_out = (
        patient.losses(model, each) for each in (patient.training, patient.held_out)
    )
    name = "accuracy" if "accuracy" in trained.quarters else "loss"
    apart, error = gap(held_out, trained), math.hypot(trained.errors[name], held_out.errors[name])
    both = [each.mean(name) for each in (trained, held_out)]
    says = f"The {name} is {both[0]:.4f} on training images and {both[1]:.4f} on held-out ones"
    if model.recipe.noised:
        quarters = ", ".join(f"{value:.3f}" for value in held_out.quarters[name].tolist())
        says += f" ({quarters} by quarter of the levels, the cleanest first)"
    change = (
        "it has learned the training images: take an earlier checkpoint, more data, "
        "dropout or weight decay"
    )
    beyond = graded(apart / allowed(trained) if apart > SURE * error else 0.0, 1, 3)
    figures = {"training": both[0], "held_out": both[1], "error": error}
    return finding(f"{says}.", {change: beyond}, **figures)


def average(patient: Patient) -> Finding:
    """The average of the weights follows them, and its loss is no higher."""
    model, raw = patient.model, patient.model.path.with_name(RAW)
    if not raw.exists():
        raise Skipped("only the folder of a checkpoint has the raw weights beside the average")
    metadata = metadata_of(model.path)
    if metadata.start is not None or metadata.teacher is not None:
        raise Skipped("it started from another model, whose weights are not beside it")
    first = next(iter(build.networks(model.recipe).values()))
    weights = load_weights(raw), load_weights(model.path), dict(first.named_parameters())
    known = shapes_of(weights[2])
    if any(known.items() - shapes_of(each).items() for each in weights):
        raise Skipped(f"{RAW} beside it is of another network")
    now, mean, then = (
        torch.cat([each[name].detach().flatten() for name in known]).double() for each in weights
    )
    # In parts of the distance of the raw weights from their initial values.
    length = (now - then) @ (now - then)
    way, apart = float((mean - then) @ (now - then) / length), float((mean - now).norm())
    apart /= float(length.sqrt())
    age = age_of(model.recipe.train.ema_decay, model.trained_steps)
    says = (
        f"The average has come {way:.0%} of the way of the raw weights from their initial "
        f"values, and ends {apart:.0%} of it apart from them; by the decay, the weights in "
        f"it are {age:.0%} of the training old."
    )
    # Had the weights moved evenly, the average would have come 1 - age of the way.
    behind = graded(1 - way / (1 - age), 0.3, 0.6)
    follow = "it does not follow the weights: sample raw.safetensors, or train again"
    cures: dict[str, Verdict] = {follow: behind}
    figures = {"way": way, "apart": apart, "age": age}
    unlabelled = bool(model.classes and patient.unlabelled)
    if not isinstance(model, GANModel) and patient.training is not None and not unlabelled:
        network = on_meta(model.recipe.config)
        network.load_state_dict(weights[0], assign=True)
        fast = replace(model, network=network.to(model.device).eval().requires_grad_(False))
        ours, fresh = (patient.losses(each, patient.data).mean("loss") for each in (model, fast))
        says += f" Its loss is {ours:.4f}, and that of the raw weights {fresh:.4f}."
        figures |= {"loss": ours, "raw_loss": fresh}
        worse = graded((ours - fresh) / abs(fresh), 0.1, 0.5)
        cures["the raw weights are better: sample raw.safetensors, or train longer"] = worse
    return finding(says, cures, **figures)


def age_of(decay: float, steps: int) -> float:
    """Return the mean age of the weights in an exponential average, in parts of the training."""
    age = 0.0
    for step in range(min(steps, 1_000_000)):  # by then it is that of a constant decay
        age = decay_at(step, decay) * (age + 1)
    return min(1.0, age / max(1, steps))


def colours(patient: Patient) -> Finding:
    """The channels of samples have the mean and the deviation of those of the data."""
    samples, classes = patient.samples, None
    if patient.upsamples or patient.training is None:
        compared = compare(samples.images, patient.real)
    else:
        if samples.labels is not None and not patient.unlabelled:
            classes = tuple(samples.labels.unique().tolist())
        known = reference(patient.training, classes, MANY * patient.count)
        compared = Compared(moments(samples.images), known)
    deviations = differences(compared)
    wrong = [each for each in deviations if each.exceeds(FAR_OFF)]
    some = wrong or [each for each in deviations if each.exceeds(FAR_OFF / 2)]
    most = max(some or deviations, key=lambda each: each.off)
    says = (
        f"The {most.what} of {most.channel} is {most.got:.0f} of 255 in samples and "
        f"{most.expected:.0f} in the data, {most.off:.1f} apart (standard error {most.error:.1f}): "
        f"the largest of {len(deviations)} differences."
    )
    change = (
        "see what `start` says; take more steps; compare the raw weights with the average; else "
        "train longer"
    )
    figures = {f"{each.what}_{each.channel}": each.got - each.expected for each in deviations}
    return finding(says, {change: "wrong" if wrong else "look" if some else "ok"}, **figures)


def saturation(patient: Patient) -> Finding:
    """Samples have no more pixels at the ends of the range than the data, and few beyond."""
    samples = patient.samples
    share, usual = (
        float(((images == 0) | (images == 255)).float().mean())
        for images in (samples.images, patient.real)
    )
    says = f"{share:.0%} of the pixels of samples are 0 or 255, and {usual:.0%} of the data's"
    figures = {"at_ends": share, "of_data": usual}
    grades: list[Verdict] = [graded(share - usual, 0.1, 0.3)]
    if not math.isnan(samples.beyond):
        says += f"; before they are clipped, {samples.beyond:.1%} are more than {MARGIN:g} beyond"
        figures["beyond"] = samples.beyond
        grades.append(graded(samples.beyond, 0.03, 0.15))
    change = "lower the guidance scale, take more steps, or --set threshold=dynamic"
    return finding(f"{says}.", {change: worst(grades)}, **figures)


def variety(patient: Patient) -> Finding:
    """Two samples of a class are as far apart as two images of it."""
    if patient.unlabelled:
        raise Skipped(patient.unlabelled)
    classes = patient.samples.labels
    assert classes is not None

    def distance(images: Tensor) -> float:
        flat = images.flatten(1).float().numpy()
        means = [within_class(flat[(classes == c).numpy()]).value for c in classes.unique()]
        return float(np.nanmean(means))

    ratio = distance(patient.samples.images) / distance(patient.real)
    says = (
        f"The pixels of two samples of a class are {ratio:.2f} times as far apart as those of two "
        "images of the data."
    )
    change = (
        "samples look alike: lower the guidance scale, raise the truncation, or take an earlier "
        "checkpoint of a GAN"
    )
    return finding(says, {change: graded(1 - ratio, 0.3, 0.6)}, ratio=ratio)


def pair(patient: Patient) -> Finding:
    """Model and classifier have the same images, classes in the same order, and process."""
    model, judge = patient.diffusion, patient.judge
    try:
        check_pair(model, judge)
    except SettingError as error:
        says = f"{judge.name} cannot guide {model.name}: it must be {error.expected}"
        return finding(f"{says}, and has {error.got}.", {error.cure: "wrong"})
    process = judge.recipe.process
    how = f"has the same {process.schedule} schedule of {process.steps} steps"
    how = how if judge.recipe.noised else "guides at the estimate of x_0"
    same = f"the {len(judge.classes)} classes" if model.classes else "the images"
    return finding(f"{judge.name} is for {same} of {model.name}, and {how}.", {})


def classifier(patient: Patient) -> Finding:
    """The classifier is right about slightly noisy images, and no surer than it is right."""
    judged = patient.judged
    chance = judged.commonest
    right, sure = (values.tolist() for values in judged.quarters)
    errors = [SURE * math.sqrt(max(p * (1 - p), 0.01) / judged.images) for p in right]
    apart = [c - p for c, p in zip(sure, right, strict=True)]
    over = max(each - error for each, error in zip(apart, errors, strict=True))
    under = max(-each - error for each, error in zip(apart, errors, strict=True))
    rise = max(b - a for i, a in enumerate(right) for b in right[i:]) - errors[0]
    of = "by quarter of the levels, the cleanest first, " if len(right) > 1 else ""
    shares = [", ".join(f"{value:.0%}" for value in values) for values in (right, sure)]
    says = (
        f"It is right about {shares[0]} of the images {of}and by its own confidence about "
        f"{shares[1]}; {chance:.0%} are of the commonest class."
    )
    surer = (
        "it is surer than it is right: check that its process is that of its training and that it "
        "was trained on noisy images; else take more data or an earlier checkpoint"
    )
    levels = "check its process.schedule and process.steps"
    misled: Verdict = "wrong" if judged.level_gain[0] < -SURE * judged.level_gain[1] else "ok"
    cures: dict[str, Verdict] = {
        "it knows no class of these data: check the order of its classes": graded(
            chance + errors[0] - right[0], 0, 0
        ),
        surer: graded(over, 0.1, 0.25),
        f"it is less sure than it is right: {levels}": graded(under, 0.1, 0.5),
        "it does better given another level: check its process": misled,
        f"it is better on noisier images: {levels}": graded(rise, 0.1, 0.5),
    }
    figures = {f"accuracy_q{i}": value for i, value in enumerate(right, 1)}
    figures |= {f"confidence_q{i}": value for i, value in enumerate(sure, 1)}
    return finding(says, cures, **figures, level_gain=judged.level_gain[0])


def gradient(patient: Patient) -> Finding:
    """The gradient of the classifier is neither negligible nor as large as the noise."""
    if not patient.judge.recipe.noised:
        raise Skipped("a classifier of clean images has no levels")
    judged = patient.judged
    low, high = float(judged.pull.min()), float(judged.pull.max())
    level = int(judged.levels[judged.pull.argmax()])
    says = (
        f"At scale 1, guidance adds {low:.2%} to {high:.1%} of the noise's magnitude to the "
        f"predicted noise, most at level {level}."
    )
    cures: dict[str, Verdict] = {"it hardly guides: give a --scale above 10": "look"}
    if high >= 0.001:
        change = f"guide with a --scale below {0.3 / high:.2g}, or in an interval of levels"
        cures = {change: graded(high, 0.3, 1.0)}
    return finding(says, cures, low=low, high=high, level=level)


def agreement(patient: Patient) -> Finding:
    """The classifier recognises the classes of samples as often as those of the data."""
    classes, judge = patient.samples.labels, patient.judge
    if classes is None:
        raise Skipped("the samples are unconditional")
    requested, known = patient.of_judge(classes), patient.of_judge(patient.labels)
    ours = accuracy(patient.classify(patient.samples.images), requested)
    theirs = accuracy(patient.classify(to_uint8(patient.images)), known)
    both = [f"{each.value:.0%} ({each.low:.0%} to {each.high:.0%})" for each in (ours, theirs)]
    says = (
        f"{judge.name} recognises the requested class in {both[0]} of the "
        f"samples, and that of the label in {both[1]} of the data."
    )
    change = "check that both have the same classes in the same order, and look at the samples"
    verdict = graded(theirs.low - ours.high, 0, 0.3)
    return finding(says, {change: verdict}, samples=ours.value, data=theirs.value)


def summary(findings: Findings) -> str:
    """Return what a reader should know first, in a sentence."""
    names = {
        rank: [name for name, each in findings.items() if each.verdict == rank] for rank in RANK
    }
    parts = [f"wrong: {', '.join(names['wrong'])}"] if names["wrong"] else ["nothing is wrong"]
    parts += [f"look at {', '.join(names['look'])}"] if names["look"] else []
    skipped = f", {len(names['skipped'])} skipped" if names["skipped"] else ""
    ok = len(names["ok"])
    return joined([*parts, f"{ok} {'check is' if ok == 1 else 'checks are'} ok{skipped}"])


def reasons(findings: Findings) -> list[str]:
    """Return why checks were skipped, a sentence for each reason."""
    skipped = {name: each.says for name, each in findings.items() if each.verdict == "skipped"}
    return [
        f"Skipped {', '.join(name for name in skipped if skipped[name] == why)}. {why}"
        for why in dict.fromkeys(skipped.values())
    ]


def to_json(patient: Patient, findings: Findings) -> dict[str, Any]:
    """Return all findings, and what was examined, as JSON values."""
    judge = patient.classifier
    return {
        "model": identity(patient.model),
        "classifier": None if judge is None else identity(judge),
        "data": None if patient.training is None else patient.data.name,
        "images": patient.count,
        "findings": {name: each._asdict() for name, each in findings.items()},
    }


def page(patient: Patient, findings: Findings) -> str:
    """Return the HTML page: verdicts, the worst first, then what was measured, in pictures."""
    checked = {name: each for name, each in findings.items() if each.verdict != "skipped"}
    order = sorted(checked, key=lambda name: RANK.index(checked[name].verdict))
    todo = [f"{name}: {checked[name].change}" for name in order if checked[name].change]
    rows = [
        [
            name,
            Cell(checked[name].verdict, best=checked[name].verdict != "ok"),
            Cell(checked[name].says, words=True),
        ]
        for name in order
    ]
    blocks: list[Block] = [
        Note(todo or ["Nothing needs to be changed."], "result"),
        Table(["check", "verdict", Cell("what was found", words=True)], rows),
        *([Note(reasons(findings), "quiet")] * (len(checked) < len(findings))),
    ]
    if "estimate" in checked:
        about = "error of the estimate of x_0, and its calibration, by level"
        picture = Figure(png(draw_calibration(patient, "variance" in checked)), about, LEAST)
        blocks += [Title("Estimates by level"), picture, Note([ORTHOGONAL], "quiet")]
    if "classifier" in checked and patient.judge.recipe.noised:
        about = "accuracy, confidence and gradient of the classifier by level"
        picture = Figure(png(draw_judged(patient)), about, LEAST)
        blocks += [Title("The classifier by level"), picture]
    if "colours" in checked:
        samples = patient.samples
        row = ImageRow("", [tiles(each, ACROSS) for each in (samples.images, patient.real)])
        like = "those to be restored" if patient.upsamples else "of the same classes"
        note = f"Not selected; sampled {samples.how}. The data are {like}."
        blocks += [Title("Samples and data"), Note([note], "quiet")]
        blocks.append(Images([row], ["samples", "data"], ACROSS))
    facts = [("model", patient.model.name)]
    if patient.classifier is not None:
        facts.append(("classifier", patient.classifier.name))
    if patient.training is not None:
        facts.append(("data", f"{patient.data.name}, {patient.count} images of a measurement"))
    title, whole = f"Doctor: {patient.model.name}", to_json(patient, findings)
    return page_of(title, blocks, lead=summary(findings), facts=facts, settings=whole)


def draw_calibration(patient: Patient, learned: bool) -> Drawing:
    """Draw the error of the estimate of x_0, and what should be 1, by level."""
    calibration = patient.calibration
    x = calibration.levels.tolist()
    lines = [
        ("slope of x_0 on its estimate", calibration.slope, calibration.slope_spread),
        ("predicted noise and what it leaves", calibration.energy, calibration.energy_spread),
        ("actual over predicted variance", calibration.variance, 0 * calibration.variance),
    ]
    titles = ("Squared error of the estimate of x_0", "What should be 1")
    with panels(titles, "level", SIZE) as (drawn, (left, right)):
        left.plot(x, calibration.error, color=LINES[0], label="the model", **DOTS)
        left.plot(x, calibration.linear, "--", color=LINES[1], lw=1.4, label="linear in each pixel")
        left.axhline(calibration.constant, color=PALE, lw=1, ls=":", label="a constant image")
        left.set_yscale("log")
        for (name, values, spread), colour in zip(lines[: 2 + learned], LINES[2:], strict=False):
            low, high = values - SURE * spread, values + SURE * spread
            right.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            right.plot(x, values, color=colour, label=name, **DOTS)
        right.axhline(1, color=INK, lw=0.8)
        low, high = right.get_ylim()
        right.set_ylim(min(low, 0.8), max(high, 1.2))
    return drawn


def draw_judged(patient: Patient) -> Drawing:
    """Draw the accuracy of the classifier, and its gradient, by level."""
    judged = patient.judged
    x = judged.levels.tolist()
    titles = (
        f"Share of images that {patient.judge.name} classifies rightly",
        "What it adds to the predicted noise at scale 1, in percent",
    )
    with panels(titles, "level", SIZE) as (drawn, (left, right)):
        left.plot(x, judged.accuracy, color=LINES[0], label="right", **DOTS)
        left.plot(x, judged.confidence, "--", color=LINES[1], lw=1.4, label="by its own confidence")
        left.axhline(judged.commonest, color=PALE, lw=1, ls=":", label="the commonest class")
        left.set_ylim(0, 1.02)
        right.plot(x, 100 * judged.pull, color=LINES[0], label="sigma times its gradient", **DOTS)
        right.set_yscale("log")
    return drawn
