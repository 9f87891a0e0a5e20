"""adm train RECIPE --out DIR -> run folder: checkpoints/, log.jsonl, previews/, progress.png."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.options import FLAG, SEVERAL, Device, Labels
from adm.app.cli.output import OUT, AsJson, show, table
from adm.spec import SettingError, to_json


def train(
    name: Annotated[str, Parameter(name="RECIPE")],
    /,
    *,
    out: Annotated[Path, OUT],
    data: str | None = None,
    condition: str | None = None,
    labels: Labels = None,
    validation: str | None = None,
    hold_out: float | None = None,
    set: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    steps: int | None = None,
    micro_batch: str | None = None,
    pretrained: str | None = None,
    rename: Annotated[tuple[str, ...], SEVERAL] = (),
    teacher: str | None = None,
    teacher_classifier: str | None = None,
    teacher_weak: str | None = None,
    classifier: str | None = None,
    check_data: Literal["names", "pixels", "none"] = "names",
    tensorboard: Annotated[bool, FLAG] = False,
    device: Device = None,
    dry_run: Annotated[bool, FLAG] = False,
    as_json: AsJson = False,
) -> None:
    r"""Train a diffusion model, a noisy classifier or an upsampler, or distil a sampler.

    The run folder holds checkpoints/, log.jsonl, previews/ and progress.png, and is a model for
    `adm sample` and `adm info`. Ctrl-C, SIGTERM and a closed terminal (SIGHUP) save a checkpoint
    and exit. The same command resumes from the newest checkpoint, with the result of a run that was
    never stopped. The numbers of channels and classes of a named recipe are those of the data,
    unless --set sets them: grey images train a grey model, and colour images a colour model. A CPU
    without instructions for bfloat16 trains in float32.

    Examples:

        adm train fashion --out runs/fashion

        adm train photos --data photos/ --out runs/photos

        adm train photos --data photos/ --set data.channels=1 --out runs/grey-photos

        adm train fashion --pretrained fashion --data garments/ --rename bag=handbag \
            --set data.channels=1 --out runs/garments

        adm train fashion-distilled --teacher fashion --out runs/fast

        adm train emoji --data emoji --condition edges --out runs/from-edges

        torchrun --nproc-per-node 8 -m adm train 64x64-diffusion --data imagenet/ --out runs/64

    Parameters
    ----------
    name
        A name that `adm recipes` lists, a JSON file, or a model whose recipe to use.
    out
        Run folder to write or to resume.
    data
        fashion-mnist[:/FOLDER], digits, a folder or its .zip, shards, hf:NAME, ...
        docs/howto/data.md lists all forms. The recipe's data by default.
    condition
        Images to condition the model on, one for each image of the data and of the same path, such
        as its edges (docs/howto/conditions.md).
    validation
        Data to validate on. By default the test split of the data, if there is one.
    hold_out
        Fraction of the training images to validate on instead of training on them.
    set
        Fields of the recipe to change, as field=value, separated by spaces. `adm help recipe`
        lists the fields.
    steps
        Total number of optimizer steps; the recipe's value by default.
    micro_batch
        Images per forward and backward pass: a number, or auto for the most that fit into memory.
        It affects memory use and speed, and results only by rounding.
    pretrained
        Model to initialize the weights from: a path (a file or a run folder) or a shipped name.
        Classes are matched by name.
    rename
        Classes of --pretrained to rename to those of the data, as old=new; may be given several
        times.
    teacher
        Guided model to distil, for a distillation recipe: a path or a shipped name. Network,
        process and data follow from it.
    teacher_classifier
        Classifier that guides the teacher. By default the one that belongs to it.
    teacher_weak
        Weak model that guides the teacher, where distillation.weak_scale is not 1. By default the
        one that belongs to it.
    classifier
        Classifier by which samples are guided, to be scored beside those without guidance.
    check_data
        What to compare, on resuming, with the images that the run began with: their names and
        sizes, or also all their pixels, or none to accept a change.
    tensorboard
        Also write the log for TensorBoard, to tensorboard/ in the run folder.
    dry_run
        Print what would be trained, with its time and memory, or with --json the whole recipe with
        all changes, and exit.
    """
    if as_json and not dry_run:
        raise SettingError("json", "{} prints the recipe of a {dry_run}; leave it out")
    places.resumable(out, "a run needs")
    for field, given in (
        ("teacher_classifier", teacher is None and teacher_classifier),
        ("teacher_weak", teacher is None and teacher_weak),
    ):
        if given:
            raise SettingError(field, "{} needs {teacher}, which it guides")
    renamed = _renamed(rename)
    if renamed and pretrained is None:
        raise SettingError("rename", "{} needs {pretrained}, whose classes it renames")
    from adm.app.cli.training import follow, plan
    from adm.models.device import join_ranks
    from adm.models.load import load_classifier
    from adm.models.teacher import Teacher
    from adm.networks import on_meta
    from adm.processes import STALL
    from adm.recipes import build
    from adm.recipes.resolve import resolve
    from adm.runs.data import DataOptions, choose, known_facts, open_data
    from adm.runs.folder import sole_writer
    from adm.runs.run import TrainOptions

    settings = list(set or []) + ([f"train.steps={steps}"] if steps is not None else [])
    devices, guided = join_ranks(device, STALL), None
    if teacher is not None:
        guided = Teacher.load(teacher, teacher_classifier, teacher_weak, devices.device)
    teaching = None if guided is None else guided.model.recipe
    choice = choose(name, settings)
    facts = known_facts(choice, out, devices, teacher=teaching, paired=condition is not None)
    recipe = resolve(choice.recipe, facts, choice.fixed)
    build.check(recipe)
    build.check_sampling(recipe)
    if teacher_weak and recipe.distillation and recipe.distillation.weak_scale == 1:
        cure = "leave it out, or give {distillation.weak_scale=1.5}"
        raise SettingError("teacher_weak", f"{{}} is not used at the scale 1; {cure}")
    options = DataOptions(
        data=data, condition=condition, labels=labels, validation=validation, hold_out=hold_out
    )
    if dry_run:
        opened = None if data is None else open_data(choice, facts, options)
        shown = recipe if opened is None else opened.recipe
        on_meta(shown.config)  # raises if the network cannot be built
        rows = plan(shown, None if opened is None else opened.training)
        show(lambda: to_json(shown), as_json, lambda: table(rows.items()))
        return
    how = TrainOptions(
        micro_batch=_micro_batch(micro_batch),
        pretrained=pretrained,
        renamed=renamed,
        teacher=None if guided is None else guided.of(recipe),
        classifier=None if classifier is None else load_classifier(classifier, devices.device),
        check_data=check_data,
    )
    with sole_writer(out, devices):
        follow(open_data(choice, facts, options), out, devices, how, tensorboard)


def _micro_batch(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or not int(text):
        raise SettingError("micro_batch", "{} takes a positive number, or auto")
    return int(text)


def _renamed(pairs: Sequence[str]) -> dict[str, str]:
    """['old=new', ...] -> {old: new}."""
    parts = [pair.partition("=") for pair in pairs]
    for old, _, new in parts:
        if not (old and new):
            raise SettingError("rename", "{} takes the old name and the new one: {rename=old=new}")
    return {old: new for old, _, new in parts}
