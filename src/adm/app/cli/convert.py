"""adm convert MODEL --out FILE -> the model in another format, or on the Hugging Face hub."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.options import FLAG
from adm.app.cli.output import OUT, say
from adm.spec import out_of_range

OURS, RELEASED, HUB = ".safetensors", (".pt", ".pth"), "hf:"


def convert(
    model: str,
    /,
    *,
    out: Annotated[Path, OUT],
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    flags: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    images: int | None = None,
    scores: Path | None = None,
    public: Annotated[bool, FLAG] = False,
    to: Literal["diffusers"] | None = None,
) -> None:
    """Write a model in another format.

    The suffix of --out selects the format: .safetensors is a model file of adm, which describes
    itself, and .pt a checkpoint of guided-diffusion, for which the flags of its scripts are
    printed. Without a suffix it is a folder as on the Hugging Face hub, with the model's classifier
    and a model card, and hf:owner/name is a repository there. Weights are preserved bit for bit.

    Examples:

        adm convert 256x256_diffusion_uncond.pt --out uncond.safetensors

        adm convert ema_0.9999_200000.pt --out mine.safetensors --flags "--num_heads 4 ..."

        adm convert runs/imagenet64 --out imagenet64.pt

        adm convert runs/digits --scores report.json --out hf:me/digits

        adm convert fashion --to diffusers --out fashion-in-diffusers

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
    images
        Samples shown in the model card of a folder or a repository: 16 by default, 0 for none.
    scores
        Report to show there, as `adm evaluate --out` writes it.
    public
        Make a new repository public.
    to
        Write the folder of a diffusers pipeline, with the model's classifier, and compare both.
    """
    of_file: dict[str, object] = {"as": as_, "flags": flags}
    of_card: dict[str, object] = {"images": images, "scores": scores, "public": public or None}
    if to is not None:
        _refuse("{to=diffusers}", of_file | of_card)
        _to_diffusers(model, out)
        return
    if out.suffix not in (OURS, *RELEASED) or str(out).startswith(HUB):
        _refuse("a folder or a repository", of_file, "convert to a .safetensors file first")
        _publish(model, out, 16 if images is None else images, scores, public)
        return
    _refuse("a file, which has no model card", of_card)
    places.file(out, "--out", "model.safetensors")
    from adm.models import export

    if out.suffix in RELEASED:
        _refuse("a .pt file", of_file)
        say(f"{out}: for the scripts with {export.convert_to_released(model, out)}")
        return
    recipe = export.convert(model, out, as_, None if flags is None else parsed(flags))
    say(f"{out}: {recipe.makes} as the recipe {recipe.name}; adm info {out} shows it")


def _refuse(what: str, options: Mapping[str, object], cure: str = "") -> None:
    """Raise SettingError if an option is given that is not for this kind of output."""
    for name, value in options.items():
        if value is not None:
            raise out_of_range(name, f"left out for {what}", cure=cure)


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


def _publish(model: str, out: Path, images: int, scores: Path | None, public: bool) -> None:
    """Write a folder as on the hub, or a repository there."""
    on_hub = str(out).startswith(HUB)
    if out.suffix and not on_hub:
        raise out_of_range(
            "out",
            "a name that ends in .safetensors or .pt, or without a suffix for a folder, or "
            "hf:owner/name",
            str(out),
        )
    if public and not on_hub:
        raise out_of_range("public", "left out for a folder")
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
        pipeline = Pipeline(loaded, classifier_of(model, loaded.path))
        written = pipeline.pretrained(images, report)
    if repository is None:
        written.save(out)
        say(f"{out}: {written.recipe.makes} with its model card; adm.load takes the folder")
    else:
        say(f"{written.push(repository, not public)}: {written.recipe.makes}")


def parsed(flags: str) -> dict[str, str]:
    """Return flags of the released scripts by name: --num_heads 4 --class_cond True."""
    words = shlex.split(flags)
    names = [word.removeprefix("--") for word in words[::2]]
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise out_of_range("flags", "names and values, such as --num_heads 4", flags)
    return dict(zip(names, words[1::2], strict=True))
