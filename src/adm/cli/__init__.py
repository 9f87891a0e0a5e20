"""words on a command line -> calls of the library; one file a verb, loaded when it is used."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter, Token, convert

from adm import openmp

SUMMARY = """Diffusion models that make images, steered by a classifier.

Start with `adm demo`, or `adm sample fashion --classes sneaker:8 --scale 2 --out sneakers`.
`adm VERB --help` has more examples.
"""
VERBS = {
    "demo": "Sample the shipped model at several scales, and report.",
    "sample": "Make images from a model.",
    "upsample": "Make images larger, with an upsampler.",
    "train": "Train a network from a recipe.",
    "data": "Inspect data before training, and pack them for it.",
    "reference": "Make the reference that samples are scored against.",
    "evaluate": "Score images against a reference.",
    "sweep": "Score samples over the guidance scale, and plot the trade-off.",
    "nearest": "Show the nearest training images of samples, and flag copies.",
    "average": "Reconstruct an average of any width from those that a run has stored.",
    "info": "Show what a model file contains.",
    "recipes": "List the recipes, or show one.",
}
OF_EVERY_VERB = Group("Options of every command", sort_key=1)
CALL = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
DEVICES = "adm.processes"
USER_ERRORS = (
    CycloptsError,
    ValueError,
    OSError,
    MemoryError,
    FloatingPointError,
)


def command_line(arguments: Sequence[str]) -> App:
    """The application. Only the verb asked for is imported, so that help answers at once."""
    app = App(
        name="adm",
        help=SUMMARY,
        help_format="markdown",
        version=lambda: version("ablated-diffusion"),
        suppress_keyboard_interrupt=False,  # `main` says how to go on
        default_parameter=Parameter(converter=converted),
    )
    for verb, summary in VERBS.items():
        # Its own docstring is the help of the verb asked for, and stating one would hide it.
        help_ = {} if verb in arguments[:1] else {"help": summary}
        app.command(f"adm.cli.{verb}:{verb}", name=verb, **help_)
    app.meta.group_parameters = OF_EVERY_VERB

    @app.meta.default
    def call(
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        threads: int | None = None,
    ) -> object:
        """Call the verb.

        Args:
            words: The verb and its own arguments.
            threads: CPU threads per operation. By default one for each core that the process may
                use, or as OMP_NUM_THREADS says.
        """
        openmp.configure(threads)
        return app(words, **CALL)

    return app.meta


def converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """As cyclopts does, but that it rounds 2.5 where a whole number is asked for."""
    if type_ is int and any("." in token.value for token in tokens):
        raise ValueError(f"expected a whole number, got {tokens[0].value}")
    return convert(type_, tokens)


def in_flags(message: str) -> str:
    """A message of the library, which names Python arguments, in the command line's own words.

    `classifier=...` becomes `--classifier`, `device='cpu'` becomes `--device cpu`.
    """
    message = message.replace("use_labels=False", "--without-label")

    def flag(match: re.Match[str]) -> str:
        value = match[2] or match[3] or ""
        return f"--{match[1].replace('_', '-')}" + (f" {value}" if value else "")

    return re.sub(r"(?<![\w.])([a-z_]+)=(?:\.\.\.|True\b|'([^']*)'|\"([^\"]*)\")", flag, message)


class Saved(SystemExit):
    """A command that saved on a signal, in every process, and ends with this status."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; what a user can mend ends in one line and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = 0
    try:
        app = command_line(words)
        app(words, **CALL)
    except USER_ERRORS as error:
        if os.environ.get("ADM_TRACEBACK"):
            raise
        # In one piece, since other ranks may print the same.
        sys.stderr.write(f"adm: {in_flags(' '.join(str(error).split()))}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        print("adm: stopped; the same command continues", file=sys.stderr)
        sys.exit(130)
    except Saved as end:
        status = end.code
    if devices := sys.modules.get(DEVICES):  # loaded by the verbs that may run beside others
        devices.leave()
    sys.exit(status)


def program() -> None:
    """`main` as a program of its own, which ends with it."""
    try:
        main()
    except SystemExit as end:
        devices = sys.modules.get(DEVICES)
        if devices and isinstance(end.code, int):
            devices.end(end.code)
        raise
