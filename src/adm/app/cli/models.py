"""adm models [WORDS] -> the named models, their use, and which are on this machine."""

from typing import TYPE_CHECKING

from adm.app.cli.output import AsJson, show, table

if TYPE_CHECKING:
    from adm.models.named import NamedModel


def models(*words: str, as_json: AsJson = False) -> None:
    """List the named models: those shipped, and those that OpenAI released.

    A released model is downloaded when it is first used, and verified.

    Examples:

        adm models

        adm models 256x256

        adm sample openai/256x256-diffusion --classes 207:4 --out samples

    Parameters
    ----------
    words
        List the models whose name or description has all these words.
    """
    from dataclasses import asdict

    from adm.models.named import named_models

    chosen = [
        each
        for each in named_models()
        if all(word.lower() in f"{each.name} {each.use}".lower() for word in words)
    ]
    if not chosen:
        raise ValueError(f"no model has {' and '.join(words)} in its name or use; see adm models")
    show(lambda: [asdict(each) for each in chosen], as_json, lambda: _print(chosen))


def _print(chosen: "list[NamedModel]") -> None:
    rows = [
        (
            each.name,
            f"{each.bytes / 1e6:,.1f}" if each.bytes < 1e8 else f"{each.bytes / 1e6:,.0f}",
            each.licence,
            "yes" if each.path is not None else "",
            each.use,
        )
        for each in chosen
    ]
    table(rows, ("name", ">MB", "licence", "here", "what it is for"))
