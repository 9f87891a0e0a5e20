"""adm convert MODEL --out FILE -> the model as a file of ours, or in another format."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.output import OUT, say
from adm.spec import SettingError

OURS, RELEASED = ".safetensors", (".pt", ".pth")


def convert(
    model: str,
    /,
    *,
    out: Annotated[Path, OUT],
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    flags: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
) -> None:
    """Write a model in another format.

    The suffix of --out says which: .safetensors is a model file of adm, which says what it is, and
    .pt a checkpoint of guided-diffusion, for which the flags of its scripts are printed. Weights
    come back bit for bit.

    Examples:

        adm convert 256x256_diffusion_uncond.pt --out uncond.safetensors

        adm convert ema_0.9999_200000.pt --out mine.safetensors --flags "--num_heads 4 ..."

        adm convert runs/imagenet64 --out imagenet64.pt

    Parameters
    ----------
    model
        A path, or a name that `adm models` lists.
    out
        File to write.
    as_
        The released file that MODEL is, such as openai/cd-imagenet64-l2, if its weights fit
        several and its name does not say it.
    flags
        Of a checkpoint trained with guided-diffusion or improved-diffusion: the flags that its
        weights leave open. Without them, the error lists these, with the values that fit.
    """
    if out.suffix not in (OURS, *RELEASED):
        raise SettingError("out", "a file that ends in .safetensors or .pt", str(out))
    places.file(out, "--out", "model.safetensors")
    # Imported here, so that --help does not load torch.
    from adm.models import export

    if out.suffix in RELEASED:
        if as_ is not None or flags is not None:
            raise SettingError("flags" if as_ is None else "as", "left out for a .pt file")
        say(f"{out}: for the scripts with {export.convert_to_released(model, out)}")
        return
    recipe = export.convert(model, out, as_, None if flags is None else parsed(flags))
    say(f"{out}: {recipe.makes} as the recipe {recipe.name}; adm info {out} shows it")


def parsed(flags: str) -> dict[str, str]:
    """Return flags of the released scripts by name: --num_heads 4 --class_cond True."""
    words = shlex.split(flags)
    names = [word.removeprefix("--") for word in words[::2]]
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise SettingError("flags", "names and values, such as --num_heads 4", flags)
    return dict(zip(names, words[1::2], strict=True))
