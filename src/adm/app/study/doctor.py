"""Patient -> Findings: what is right, what is not, and what to change; Findings -> page.

A check is a function of a `Patient` that returns one `Finding`, or raises `Skipped` with a reason.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from adm.app.report import Block, Cell, Figure, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.pictures import tiles
from adm.app.runs.watch.drift import LEVELS as FAR_OFF
from adm.app.runs.watch.drift import differences, reference
from adm.app.runs.watch.validation import allowed, gap
from adm.app.study.patient import MARGIN, Patient, Skipped
from adm.app.study.plots import FAINT, INK, LINES, PALE, STYLE
from adm.generation.generator import identity
from adm.metrics.accuracy import accuracy
from adm.models.gan import GANModel
from adm.models.pair import check_pair
from adm.models.paths import FOREIGN
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.pictures import png
from adm.recipes import build
from adm.spec import SettingError
from adm.training.model_file import metadata_of

Verdict = Literal["ok", "look", "wrong", "skipped"]
SURE = 3.0  # standard errors beyond which a deviation is none of chance
ASSUMED = (0.2, 0.3)  # mean and spread of the brightness of images in [-1, 1], without data
ACROSS = 8  # pictures side by side
RANK: tuple[Verdict, ...] = ("wrong", "look", "ok", "skipped")
MARKS = {"ok": "ok", "look": "look", "wrong": "WRONG", "skipped": "skipped"}


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        check: its name.
        verdict: `ok`; `look`, for what may be meant, or matters little; `wrong`; `skipped`.
        says: what was found, with numbers, in a sentence or two.
        change: what to do about it; empty if nothing is to be done.
        figures: numbers by name.
    """

    check: str
    verdict: Verdict
    says: str
    change: str = ""
    figures: dict[str, float] = field(default_factory=dict)


Check: TypeAlias = Callable[[Patient], Finding]


def examine(patient: Patient) -> Iterator[Finding]:
    """Yield the finding of every check that concerns the model's kind."""
    for name, check in checks_of(patient).items():
        try:
            yield check(patient)
        except Skipped as reason:
            yield Finding(name, "skipped", f"{reason}.")


def checks_of(patient: Patient) -> dict[str, Check]:
    """Return the checks that concern a model, by name."""
    model = patient.model
    if isinstance(model, ClassifierModel):
        return {
            "settings": settings,
            "classifier": classifier,
            "gradient": gradient,
            "overfitting": overfitting,
            "average": average,
        }
    whole: dict[str, Check] = {"settings": settings}
    if isinstance(model, DiffusionModel):
        whole["start"] = start
        whole["estimate"] = estimate
        whole["variance"] = variance
        if model.network.config.classes is not None:
            whole["labels"] = labels
        whole["overfitting"] = overfitting
    whole |= {"average": average, "colours": colours, "saturation": saturation}
    if model.classes and not _upsamples(model):
        whole["variety"] = variety
    if isinstance(model, DiffusionModel):
        whole |= {"pair": pair, "classifier": classifier, "gradient": gradient}
    return whole | {"agreement": agreement}


def _upsamples(model: DiffusionModel | GANModel) -> bool:
    return isinstance(model, DiffusionModel) and model.low_shape is not None


def graded(value: float, look: float, wrong: float) -> Verdict:
    """Return the verdict of a value that should be small; NaN is wrong."""
    if not value <= wrong:
        return "wrong"
    return "ok" if value <= look else "look"


def worst(*verdicts: Verdict) -> Verdict:
    """Return the worst of several verdicts."""
    return min(verdicts, key=RANK.index)


def settings(patient: Patient) -> Finding:
    """The file says what is needed to use it: sampling that fits its process, names of classes."""
    model, wrong, look = patient.model, list[str](), list[str]()
    recipe = model.recipe
    try:
        build.check(recipe)
        build.check_sampling(recipe)
    except ValueError as error:
        wrong.append(f"its recipe contradicts itself: {error}")
    released = model.path.suffix in FOREIGN
    said = f"A released file, recognised as {recipe.name}" if released else f"Recipe {recipe.name}"
    if not released:
        metadata = metadata_of(model.path)
        said += f", {model.trained_steps:,} of {recipe.train.steps:,} steps"
        said += f" of {metadata.data}" if metadata.data else ""
        if "sample" not in metadata.recipe and recipe.kind != "classifier":
            look.append("its recipe has no settings of sampling, and those by default are used")
        if metadata.weights == "raw":
            look.append("it holds the raw weights; sample the average, model.safetensors")
        if not model.trained_steps:
            look.append("it was not trained: it states 0 steps")
    if len(set(model.classes)) < len(model.classes):
        wrong.append("two classes have the same name")
    elif len(model.classes) > 10 and all(name.isdigit() for name in model.classes):
        look.append("its classes are numbered, not named")
    named = f"{len(model.classes)} classes" if model.classes else "no classes"
    verdict: Verdict = "wrong" if wrong else "look" if look else "ok"
    figures = {"steps": float(model.trained_steps), "classes": float(len(model.classes))}
    return Finding("settings", verdict, f"{said}; {named}.", _sentence(wrong + look), figures)


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def start(patient: Patient) -> Finding:
    """Sampling starts from pure noise, which should be what is left of an image at that level.

    At x_t = signal x_0 + sigma noise, the mean over D pixels tells the brightness m of the image
    with precision d^2 = (signal s)^2 D / sigma^2, in units of its prior variance s^2. The share
    k = d^2 / (1 + d^2) of the estimate is read from x_t, which pure noise says to be 0: samples
    are shifted by k times the mean brightness towards grey, and the deviation of their brightness
    falls to sqrt(1 - k^2) of what it should be (after Lin et al. 2024, section 3).
    """
    model, level = patient.diffusion, patient.start
    signal, sigma = (float(table[level]) for table in (model.schedule.signal, model.schedule.sigma))
    means, spreads, of = [ASSUMED[0]], [ASSUMED[1]], "of photographs"
    if patient.training is not None:
        data = reference(patient.training, None, 10 * patient.count)
        means = [mean / 127.5 - 1 for mean in data.mean.tolist()]
        spreads = [spread / 127.5 for spread in data.mean_spread.tolist()]
        of = "of the data"
    pixels = math.prod(model.shape[1:])
    read = [(signal * s) ** 2 * pixels / sigma**2 for s in spreads]
    shares = [each / (1 + each) for each in read]
    shift = max(127.5 * share * abs(mean) for share, mean in zip(shares, means, strict=True))
    share = max(shares)
    figures = {"level": level, "signal": signal, "read": share, "shift": shift}
    says = (
        f"Sampling starts at level {level} of {model.schedule.last}, where sqrt(alpha_bar) is "
        f"{signal:.4f}: a share of {share:.1%} of the brightness {of} is still read from x_t. That "
        f"shifts samples by {shift:.1f} of 255 towards grey, and leaves "
        f"{math.sqrt(1 - share**2):.0%} of the spread of their brightness."
    )
    if model.low_shape is not None:
        says = f"{says.split(':')[0]}. The low-resolution image tells the brightness."
        return Finding("start", "ok", says, "", {"level": level, "signal": signal})
    verdict = graded(share, 0.2, 0.5)
    change = "" if verdict == "ok" else "Start at a noisier level, with --grid KIND:start=LEVEL."
    if change and level == model.schedule.last:
        change = "Train with a schedule that ends in noise, such as process.schedule=cosine."
    return Finding("start", verdict, says, change, figures)


def estimate(patient: Patient) -> Finding:
    """The estimate of x_0 is its expectation, and better than guesses that need no network."""
    if patient.diffusion.student:
        raise Skipped("a student's estimate says where its step leads, not what x_0 is")
    found = patient.calibration
    off = {
        "x_0": (found.slope - 1).abs() - SURE * found.slope_spread,
        "noise": (found.energy - 1).abs() - SURE * found.energy_spread,
        "guess": (found.error - SURE * found.error_spread) / found.linear - 1,
    }
    most = {name: float(values.max()) for name, values in off.items()}
    level = int(found.levels[max(off.values(), key=lambda values: float(values.max())).argmax()])
    verdict = worst(
        graded(most["x_0"], 0.12, 0.3),
        graded(most["noise"], 0.12, 0.3),
        graded(most["guess"], 0, 0.5),
    )
    low, high = float(found.slope.min()), float(found.slope.max())
    least, all_of = float(found.energy.min()), float(found.energy.max())
    ratio = float((found.error / found.linear).max())
    says = (
        f"From level {int(found.levels[0])} to {int(found.levels[-1])}, x_0 follows its estimate "
        f"with slope {low:.2f} to {high:.2f}, the predicted noise and what it leaves add up to "
        f"{least:.2f} to {all_of:.2f} of the noise (both should be 1), and the error of x_0 is at "
        f"most {ratio:.2f} of that of a linear guess."
    )
    change = (
        ""
        if verdict == "ok"
        else (
            f"It is worst at level {level}. Check that process.schedule, process.prediction and "
            "process.rescale_steps are those of the training, and that images are in [-1, 1]; else "
            "train longer."
        )
    )
    figures = {"slope_low": low, "slope_high": high, "energy_low": least, "energy_high": all_of}
    return Finding("estimate", verdict, says, change, figures | {"of_linear": ratio})


def variance(patient: Patient) -> Finding:
    """The predicted variance of x_(t-1) is its mean squared distance from the predicted mean."""
    model = patient.diffusion
    if model.student:
        raise Skipped("a student is sampled without a variance")
    if not model.parameterization.variance.learned:
        raise Skipped(f"the variance is not learned but {model.recipe.process.variance}")
    found = patient.calibration
    off = found.variance.log().abs()
    place = int(off.argmax())
    ratio, level = float(found.variance[place]), int(found.levels[place])
    verdict = graded(float(off[place]), math.log(1.3), math.log(2))
    says = (
        f"At level {level}, where they differ most, the squared distance of x_(t-1) from its "
        f"predicted mean is {ratio:.2f} of the predicted variance."
    )
    change = (
        ""
        if verdict == "ok"
        else ("Sample without the variance, with --sampler ddim or unipc; train with loss=hybrid.")
    )
    return Finding("variance", verdict, says, change, {"ratio": ratio, "level": level})


def labels(patient: Patient) -> Finding:
    """The right label lowers the error of x_0 more than the wrong one."""
    if patient.diffusion.student:
        raise Skipped("a student's estimate says where its step leads, not what x_0 is")
    gain, spread, level = patient.label_gain
    says = (
        f"At level {level}, the error of x_0 with the label of another class is {gain:+.1%} "
        f"({SURE:g} standard errors: {SURE * spread:.1%}) of that with its own."
    )
    figures = {"gain": gain, "error": spread}
    if gain > SURE * spread:
        return Finding("labels", "ok", says, "", figures)
    if gain < -SURE * spread:
        change = "The classes are in another order than in training: name them in that order."
        return Finding("labels", "wrong", says, change, figures)
    change = "Labels have no effect beyond chance: train longer, or check the labels of the data."
    return Finding("labels", "look", says, change, figures)


def overfitting(patient: Patient) -> Finding:
    """The loss on training images is that on held-out ones."""
    model = patient.model
    assert not isinstance(model, GANModel)
    if isinstance(model, DiffusionModel) and model.student:
        raise Skipped("the loss of a student needs its teacher")
    if patient.training is None or patient.held_out is None:
        raise Skipped(
            patient.without if patient.training is None else "the data have no test split"
        )
    trained, held_out = (
        patient.losses(model, source) for source in (patient.training, patient.held_out)
    )
    name = "accuracy" if "accuracy" in trained.quarters else "loss"
    apart, error = gap(held_out, trained), math.hypot(trained.errors[name], held_out.errors[name])
    both = f"{trained.mean(name):.4f} on training images and {held_out.mean(name):.4f} on held-out"
    by_quarter = ", ".join(f"{value:.3f}" for value in held_out.quarters[name].tolist())
    says = f"The {name} is {both} ones (by quarter of the levels: {by_quarter})."
    surely = apart > max(allowed(trained), SURE * error)
    large = surely and apart > 3 * allowed(trained)
    change = (
        ""
        if not surely
        else (
            "It has learned the training images: take an earlier checkpoint, more data, data.augment, "
            "dropout or weight decay."
        )
    )
    figures = {"training": trained.mean(name), "held_out": held_out.mean(name), "error": error}
    verdict: Verdict = "wrong" if large else "look" if surely else "ok"
    return Finding("overfitting", verdict, says, change, figures)


def average(patient: Patient) -> Finding:
    """The average of the weights follows them, and its loss is no higher."""
    found = patient.lag
    slow = found.way / max(1e-9, 1 - found.age)
    says = (
        f"The average has come {found.way:.0%} of the way of the raw weights from their initial "
        f"values, and is {found.apart:.0%} of it apart from them; by its decay, the weights in it "
        f"are {found.age:.0%} of the training old."
    )
    figures = {"way": found.way, "apart": found.apart, "age": found.age}
    verdicts = [graded(1 - slow, 0.3, 0.6), graded(found.age, 0.2, 0.5)]
    changes = []
    if verdicts[0] != "ok":
        changes.append(
            "the average does not follow the weights: sample raw.safetensors, and train "
            "again with train.ema_decay lower"
        )
    elif verdicts[1] != "ok":
        changes.append(
            "the decay is too slow for so few steps: lower train.ema_decay, or train longer"
        )
    if found.raw is not None and found.mean is not None:
        raw, mean = found.raw.mean("loss"), found.mean.mean("loss")
        says += f" Its loss is {mean:.4f}, and that of the raw weights {raw:.4f}."
        figures |= {"loss": mean, "raw_loss": raw}
        verdicts.append(graded(mean / raw - 1 if raw > 0 else 0, 0.05, 0.5))
        if verdicts[-1] != "ok" and not changes:
            changes.append("the raw weights are better: lower train.ema_decay, or train longer")
    return Finding("average", worst(*verdicts), says, _sentence(changes), figures)


def colours(patient: Patient) -> Finding:
    """The channels of samples have the mean and the deviation of those of the data."""
    found = differences(patient.compared)
    wrong = [each for each in found if each.exceeds(FAR_OFF)]
    some = wrong or [each for each in found if each.exceeds(FAR_OFF / 2)]
    most = max(some or found, key=lambda each: each.off)
    says = (
        f"The {most.what} of {most.channel} is {most.got:.0f} of 255 in samples and "
        f"{most.wanted:.0f} in the data, {most.off:.1f} apart with a standard error of "
        f"{most.error:.1f}: the largest difference of {len(found)}."
    )
    figures = {f"{each.what}_{each.channel}": each.got - each.wanted for each in found}
    verdict: Verdict = "wrong" if wrong else "look" if some else "ok"
    change = (
        ""
        if not some
        else (
            "Compare raw and average weights; sample with more steps, or --set threshold=dynamic; else "
            "train longer."
        )
    )
    return Finding("colours", verdict, says, change, figures)


def saturation(patient: Patient) -> Finding:
    """Samples have as many pixels at the ends of the range as the data, and few beyond them."""
    made = patient.samples
    ends = (made.images == 0) | (made.images == 255)
    share = float(ends.float().mean())
    real, _ = patient.data.batch(list(range(min(len(patient.data), patient.count))))
    usual = float(((real == 0) | (real == 255)).float().mean())
    says = f"{share:.1%} of the pixels of samples are 0 or 255, and {usual:.1%} of the data's"
    figures = {"at_ends": share, "of_data": usual}
    verdict = graded(share - usual, 0.1, 0.3)
    if not math.isnan(made.beyond):
        says += f"; before they are clipped, {made.beyond:.1%} are more than {MARGIN:g} beyond"
        figures["beyond"] = made.beyond
        verdict = worst(verdict, graded(made.beyond, 0.03, 0.15))
    change = (
        ""
        if verdict == "ok"
        else ("Lower the guidance scale, sample with more steps, or --set threshold=dynamic.")
    )
    return Finding("saturation", verdict, f"{says}.", change, figures)


def variety(patient: Patient) -> Finding:
    """Two samples of a class are as far apart as two images of the data."""
    ours, theirs = patient.apart
    ratio = ours / theirs
    says = (
        f"Two samples of a class are {ours:.1f} apart on average (distance of pixels), and two "
        f"images of the data {theirs:.1f}: {ratio:.2f} of it."
    )
    verdict = graded(1 - ratio, 0.3, 0.6)
    change = (
        ""
        if verdict == "ok"
        else (
            "Samples look alike: lower the guidance scale or raise the truncation; of a GAN, take an "
            "earlier checkpoint."
        )
    )
    return Finding("variety", verdict, says, change, {"ratio": ratio})


def pair(patient: Patient) -> Finding:
    """Model and classifier have the same images, classes in the same order, and process."""
    model, judge = patient.diffusion, patient.judge
    try:
        check_pair(model, judge)
    except SettingError as error:
        change = f"Give another --classifier: {error.cure}." if error.cure else ""
        says = f"{judge.name} cannot guide {model.name}: the classifier must be {error.expected}"
        return Finding("pair", "wrong", f"{says}, and has {error.got}.", change)
    process = judge.recipe.process
    how = f"T = {process.steps} with the {process.schedule} schedule"
    how = how if judge.recipe.noised else "clean images, at the estimate of x_0"
    says = f"{judge.name} has the same {len(judge.classes)} classes in the same order, and {how}."
    return Finding("pair", "ok", says)


def classifier(patient: Patient) -> Finding:
    """The classifier is right about slightly noisy images, and no surer than it is right."""
    found = patient.judged
    right, sure = (values.tolist() for values in found.quarters)
    chance = patient.chance
    error = math.sqrt(max(right[0] * (1 - right[0]), 0.01) / found.images)
    over = max(c - a for c, a in zip(sure, right, strict=True))
    rise = max((b - min(right[: i + 1]) for i, b in enumerate(right[1:])), default=0.0)
    what = "by quarter of the levels, the cleanest first, " if len(right) > 1 else ""
    says = (
        f"{_percents(right)} of images are classified rightly {what}and {_percents(sure)} are "
        f"expected to be; {chance:.0%} would be by chance."
    )
    figures = {f"accuracy_q{i}": value for i, value in enumerate(right, 1)}
    figures |= {f"confidence_q{i}": value for i, value in enumerate(sure, 1)}
    changes, verdicts = [], [graded(over - SURE * error, 0.1, 0.25)]
    if verdicts[0] != "ok":
        changes.append(
            "it is surer than it is right: check that its process is that of its training, and "
            "that it was trained on noisy images; else more data, data.augment or an earlier "
            "checkpoint"
        )
    if right[0] - SURE * error <= chance:
        verdicts.append("wrong")
        changes.append("it knows no class of the data: check the order of the classes")
    if rise > 0.1 + SURE * error:
        verdicts.append("look")
        changes.append("it is better on noisier images: check process.schedule and process.steps")
    return Finding("classifier", worst(*verdicts), says, _sentence(changes), figures)


def _percents(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0%}" for value in values)


def gradient(patient: Patient) -> Finding:
    """The gradient of the classifier is neither nothing nor more than the noise."""
    if not patient.judge.recipe.noised:
        raise Skipped("a classifier of clean images guides at the estimate of x_0")
    found = patient.judged
    low, high = float(found.pull.min()), float(found.pull.max())
    level = int(found.levels[found.pull.argmax()])
    says = (
        f"At scale 1, guidance adds {low:.1%} to {high:.1%} of the noise's magnitude to the "
        f"predicted noise, most at level {level}."
    )
    verdict, change = graded(high, 0.3, 1.0), ""
    if verdict != "ok":
        change = f"Limit it: give a --scale below {0.3 / high:.2g}, or an interval of levels."
    elif high < 0.001:
        verdict, change = (
            "look",
            f"It hardly guides: give a --scale of {0.01 / max(high, 1e-9):.0f}.",
        )
    figures = {"low": low, "high": high, "level": level}
    return Finding("gradient", verdict, says, change, figures)


def agreement(patient: Patient) -> Finding:
    """The classifier recognises the classes of samples as often as those of the data."""
    ours, theirs = patient.recognised
    both = [f"{s.value:.0%} ({s.low:.0%} to {s.high:.0%})" for s in (ours, theirs)]
    says = (
        f"{patient.judge.name} finds the class that was asked for in {both[0]} of the samples, and "
        f"that of the label in {both[1]} of the data."
    )
    figures = {"samples": ours.value, "data": theirs.value}
    apart = theirs.low - ours.high
    verdict: Verdict = "wrong" if apart > 0.3 else "look" if apart > 0 else "ok"
    change = (
        ""
        if verdict == "ok"
        else ("Check that both name the same classes in the same order, and look at the samples.")
    )
    return Finding("agreement", verdict, says, change, figures)


def summary(findings: Sequence[Finding]) -> str:
    """Return what a reader should know first, in a sentence."""
    of: dict[Verdict, list[str]] = {
        rank: [each.check for each in findings if each.verdict == rank] for rank in RANK
    }
    parts = []
    if of["wrong"]:
        parts.append(f"wrong: {', '.join(of['wrong'])}")
    if of["look"]:
        parts.append(f"look at: {', '.join(of['look'])}")
    head = "; ".join(parts) or "Nothing is wrong"
    skipped = f", {len(of['skipped'])} skipped" if of["skipped"] else ""
    return f"{head[:1].upper()}{head[1:]} ({len(of['ok'])} checks are ok{skipped})."


def to_json(patient: Patient, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return all findings, and what was examined, as JSON values."""
    judge = patient.classifier
    return {
        "model": identity(patient.model),
        "classifier": None if judge is None else identity(judge),
        "data": None if patient.training is None else patient.data.name,
        "images": patient.count,
        "findings": [
            {
                "check": each.check,
                "verdict": each.verdict,
                "says": each.says,
                "change": each.change,
                "figures": each.figures,
            }
            for each in findings
        ],
    }


def page(patient: Patient, findings: Sequence[Finding]) -> str:
    """Return the HTML page: the verdicts in order of weight, then what was measured, in pictures."""
    order = sorted(findings, key=lambda each: RANK.index(each.verdict))
    rows = [
        [Cell(each.check, MARKS[each.verdict], best=each.verdict in ("wrong", "look")), each.says]
        for each in order
    ]
    todo = [f"{each.check}: {each.change}" for each in order if each.change]
    blocks: list[Block] = [Note(todo or ["Nothing needs to be changed."], "result")]
    blocks.append(Table(["check", "found"], rows))
    for section in (_calibration, _classified, _samples):
        blocks += section(patient, {each.check for each in findings if each.verdict != "skipped"})
    model = patient.model
    facts = [("model", model.name), ("file", str(model.path))]
    if patient.classifier is not None:
        facts.append(("classifier", patient.classifier.name))
    if patient.training is not None:
        facts.append(("data", f"{patient.data.name}, {patient.count} images of a measurement"))
    whole = to_json(patient, findings)
    return page_of(
        f"Doctor: {model.name}", blocks, lead=summary(findings), facts=facts, settings=whole
    )


def _calibration(patient: Patient, made: set[str]) -> list[Block]:
    if "estimate" not in made:
        return []
    found = patient.calibration
    x, clear = found.levels.tolist(), {"marker": "o", "ms": 3.5, "lw": 1.4}
    with matplotlib.rc_context(STYLE):
        drawn = Drawing(figsize=(10.4, 3.5), dpi=144, layout="constrained")
        left, right = drawn.subplots(1, 2)
        left.plot(x, found.error, color=LINES[0], label="the model", **clear)
        left.plot(x, found.linear, color=LINES[1], lw=1.4, ls="--", label="linear in each pixel")
        left.axhline(found.constant, color=PALE, lw=1, ls=":", label="a constant image")
        left.set_yscale("log")
        left.set_title("Squared error of the estimate of x_0")
        for values, spread, colour, name in (
            (found.slope, found.slope_spread, LINES[0], "slope of x_0 on its estimate"),
            (found.energy, found.energy_spread, LINES[2], "predicted and left noise"),
            (found.variance, None, LINES[3], "actual over predicted variance"),
        ):
            if name.startswith("actual") and "variance" not in made:
                continue
            if spread is not None:
                low, high = values - SURE * spread, values + SURE * spread
                right.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            right.plot(x, values, color=colour, label=name, **clear)
        right.axhline(1, color=INK, lw=0.8)
        right.set_title("What should be 1")
        low, high = right.get_ylim()
        right.set_ylim(min(low, 0.8), max(high, 1.2))
        for axes in (left, right):
            _finish(axes)
    about = "error of the estimate of x_0, and its calibration, by level"
    words = (
        "On the left, the error should be below both guesses. On the right, bands are "
        f"{SURE:g} standard errors: an expectation has slope 1, and its error is orthogonal to it, "
        "so that the mean squares of the predicted noise and of what it leaves add up to that of "
        "the noise."
    )
    return [Title("Estimates by level"), Figure(png(drawn), about), Note([words], "quiet")]


def _finish(axes: Axes) -> None:
    axes.set_xlabel("level")
    axes.grid(color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8)


def _classified(patient: Patient, made: set[str]) -> list[Block]:
    if "classifier" not in made or len(patient.judged.levels) == 1:
        return []
    found = patient.judged
    x, clear = found.levels.tolist(), {"marker": "o", "ms": 3.5, "lw": 1.4}
    with matplotlib.rc_context(STYLE):
        drawn = Drawing(figsize=(10.4, 3.3), dpi=144, layout="constrained")
        left, right = drawn.subplots(1, 2)
        left.plot(x, found.accuracy, color=LINES[0], label="right", **clear)
        left.plot(x, found.confidence, "--", color=LINES[1], label="expected to be right", lw=1.4)
        left.axhline(patient.chance, color=PALE, lw=1, ls=":", label="by chance")
        left.set_ylim(0, 1.02)
        left.set_title(f"Images that {patient.judge.name} classifies")
        right.plot(x, found.pull, color=LINES[0], label="of log p(y | x_t), times sigma", **clear)
        right.set_yscale("log")
        right.set_title("Gradient, in parts of the noise")
        for axes in (left, right):
            _finish(axes)
    about = "accuracy, confidence and gradient of the classifier by level"
    return [Title("The classifier by level"), Figure(png(drawn), about)]


def _samples(patient: Patient, made: set[str]) -> list[Block]:
    if not made & {"colours", "saturation"}:
        return []
    samples = patient.samples
    if samples.originals is None:
        real = patient.like(samples.labels)
    else:
        real = samples.originals
    row = ImageRow("", [tiles(samples.images, ACROSS), tiles(real, ACROSS)])
    note = Note([f"Not selected; sampled {samples.how}. Data of the same classes."], "quiet")
    return [Title("Samples and data"), note, Images([row], ["samples", "data"], ACROSS)]
