"""adm convert MODEL --out FILE -> the model in another format, or on the Hugging Face hub."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.output import OUT, say
from adm.spec import SettingError, literal

OURS, RELEASED, HUB = ".safetensors", (".pt", ".pth"), "hf:"


def convert(
    model: str,
    /,
    *,
    out: Annotated[Path, OUT],
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    flags: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    scores: Path | None = None,
    to: Literal["diffusers"] | None = None,
) -> None:
    """Write a model in another format.

    The suffix of --out selects the format: .safetensors is a model file of adm, which describes
    itself, and .pt a checkpoint of guided-diffusion, for which the flags of its scripts are
    printed. Without a suffix it is a folder as on the Hugging Face hub, with the model's classifier
    and a model card, and hf:owner/name is a repository there. Weights are preserved bit for bit.

    Examples:

        adm convert fashion --to diffusers --out fashion-in-diffusers

        adm convert 256x256_diffusion_uncond.pt --out uncond.safetensors

        adm convert ema_0.9999_200000.pt --out mine.safetensors --flags "--num_heads 4 ..."

        adm convert runs/imagenet64 --out imagenet64.pt

        adm convert runs/digits --scores report.json --out hf:me/digits

    Parameters
    ----------
    model
        A path, a name that `adm models` lists, hf:owner/name, or a folder of diffusers.
    out
        File, folder or repository to write; a new repository is private.
    as_
        The released file that MODEL is, such as openai/cd-imagenet64-l2, if its weights fit
        several and its name does not identify it.
    flags
        Flags of a checkpoint trained with guided-diffusion or improved-diffusion that its weights
        do not determine. Without them, the error lists these, with the values that fit.
    scores
        Report to show in the model card, as `adm evaluate --out` writes it.
    to
        Write the folder of a diffusers pipeline, with the model's classifier, and compare both.
    """
    on_hub = str(out).startswith(HUB)
    to_folder = to is not None or on_hub or not out.suffix
    if not to_folder and out.suffix not in (OURS, *RELEASED):
        raise SettingError(
            "out",
            f"{{}} ends in {literal(out.suffix)}, which is no format of models; end it in "
            ".safetensors or .pt, or leave the end out for a folder",
        )
    for name, value in (("as", as_), ("flags", flags)):
        if value is not None and (to_folder or out.suffix != OURS):
            raise SettingError(name, "{} is for a new .safetensors file; write that first")
    if scores is not None and (to is not None or not to_folder):
        raise SettingError("scores", "{} needs a model card: a folder, or hf:owner/name")
    if to is not None:
        _to_diffusers(model, out)
        return
    if to_folder:
        _publish(model, out, scores, on_hub)
        return
    places.file(out, "--out", "model.safetensors")
    from adm.models import export

    if out.suffix in RELEASED:
        say(f"{out}: for the scripts with {export.convert_to_released(model, out)}")
        return
    recipe = export.convert(model, out, as_, None if flags is None else parsed(flags))
    say(f"{out}: {recipe.makes} as the recipe {recipe.name}; adm info {out} shows it")


def _to_diffusers(model: str, out: Path) -> None:
    """Write the folder of a diffusers pipeline."""
    places.folder(out)
    from adm.models.convert import diffusers
    from adm.models.load import load_classifier, load_diffusion
    from adm.models.pair import classifier_of

    loaded = load_diffusion(model)
    guide = classifier_of(model, loaded.path)
    compared = diffusers.export(loaded, out, None if guide is None else load_classifier(guide))
    by = "" if guide is None else f", guided by {guide}"
    say(f"{out}: a pipeline of diffusers{by}")
    if compared is not None:
        say(f"outputs of its network differ by {compared:.1g} of the largest at most")


def _publish(model: str, out: Path, scores: Path | None, on_hub: bool) -> None:
    """Write a folder as on the hub, or a repository there."""
    from adm.generation.pipeline import Pipeline
    from adm.generation.pretrained import Pretrained
    from adm.models.hub import Repository, package_for
    from adm.models.load import load_any
    from adm.models.pair import classifier_of
    from adm.models.trained import ClassifierModel
    from adm.scoring.report import load_report

    repository = Repository.parsed(str(out)) if on_hub else None
    if repository is None:
        places.folder(out)
    else:
        package_for(repository)  # before sampling
    report = None if scores is None else load_report(scores)
    loaded = load_any(model, None)
    if isinstance(loaded, ClassifierModel):
        written = Pretrained(loaded, report=report)
    else:
        own = classifier_of(model, loaded.path)
        pipeline = Pipeline(loaded, () if own is None else (own,))
        written = pipeline.pretrained(report=report)
    if repository is None:
        written.save(out)
        say(f"{out}: {written.recipe.makes} with its model card; adm.load takes the folder")
    else:
        say(f"{written.push(repository)}: {written.recipe.makes}")


def parsed(flags: str) -> dict[str, str]:
    """Return flags of the released scripts by name: --num_heads 4 --class_cond True."""
    words = shlex.split(flags)
    names = [word.removeprefix("--") for word in words[::2]]
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise SettingError("flags", "{} takes names and values, such as --num_heads 4")
    return dict(zip(names, words[1::2], strict=True))
