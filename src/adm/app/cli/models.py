"""adm models [WORDS] -> the models that have a name, what they are for, and which are here."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adm.app.cli.output import AsJson, show

if TYPE_CHECKING:
    from adm.models.listed import Listed


def models(*words: str, as_json: AsJson = False) -> None:
    """List the models that have a name: those shipped, and those that OpenAI released.

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

    from adm.models.listed import listed

    chosen = [
        each
        for each in listed()
        if all(word.lower() in f"{each.name} {each.use}".lower() for word in words)
    ]
    if not chosen:
        raise ValueError(f"no model has {' and '.join(words)} in its name or use; see adm models")
    show(lambda: [asdict(each) for each in chosen], as_json, lambda: _print(chosen))


def _print(chosen: "list[Listed]") -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("name", overflow="fold", no_wrap=True)
    table.add_column("MB", justify="right")
    table.add_column("licence")
    table.add_column("here")
    table.add_column("what it is for")
    for each in chosen:
        size = f"{each.bytes / 1e6:,.1f}" if each.bytes < 1e8 else f"{each.bytes / 1e6:,.0f}"
        here = "yes" if each.path is not None else ""
        table.add_row(each.name, size, each.licence, here, Text(each.use))
    Console(width=120).print(table)
