"""Sequence[str] -> exit status; one module per verb, imported when its verb is given.

A verb imports what loads torch within its function, so that its --help is fast.
"""

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.help import DefaultFormatter
from rich.console import Console, ConsoleOptions

from adm.app import notices, openmp
from adm.app.cli import errors, stopping
from adm.app.cli.options import converted
from adm.app.cli.terminal import Lasting, lasting_streams
from adm.app.progress import progress
from adm.progress import displayed
from adm.store.files import user_cache

SUMMARY = """Diffusion models that sample images, guided by a classifier.

Start with `adm demo`, or `adm sample fashion --classes sneaker:8 --scale 2 --out sneakers`.
`adm VERB --help` has more examples.
"""
GROUPS = {  # purpose -> verbs and their summaries
    "Make": {
        "sample": "Sample images from a model.",
        "edit": "Edit images: resample them from noise, encode and change them, or interpolate.",
        "restore": "Restore images: fill in, enlarge, deblur, colour.",
        "studio": "Sample, guide, paint and compare on a page in the browser.",
        "demo": "Show what guidance does, with the shipped models, on a page that fills itself.",
    },
    "Train": {
        "train": "Train a diffusion model, a noisy classifier or an upsampler.",
    },
    "Judge": {
        "evaluate": "Score images against a reference.",
        "reference": "Compute the reference statistics that samples are scored against.",
        "nearest": "Show the nearest training images of each sample, and flag likely copies.",
        "doctor": "Diagnose a model: what is right, what is wrong, and what to change.",
        "likelihood": "Measure the bits per dimension of images under a model.",
        "sweep": "Score samples at several values of any settings, and plot what changes.",
    },
    "Models": {
        "models": "List the named models, and which are on this machine.",
        "info": "Show the contents of a model file.",
        "convert": "Write a model in another format.",
        "recipes": "List the recipes, or show one with its settings.",
        "help": "Explain the choices: samplers, grids, guides, settings of a recipe, ...",
    },
}
VERBS = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}
# Verbs that resume after they were stopped.
RESUMING = (
    *("sample", "edit", "restore", "train", "reference", "evaluate"),
    *("sweep", "nearest", "demo", "likelihood"),
)
STARTS_AGAIN = "the same command starts again from the beginning"
OF_EVERY_VERB = Group("Options of every command", sort_key=100)
CALL = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
DEVICES = "adm.processes"  # imported by the verbs that may run in several ranks
# adm and its verb; its options; its arguments without a flag.
USAGE = re.compile(r"^(adm(?: [a-z]+)*)((?: --\S+(?: [A-Z]\S*)?)*(?: \[OPTIONS\])?)(.*)")
USER_ERRORS = (CycloptsError, ValueError, OSError, MemoryError, FloatingPointError)


class _Help(DefaultFormatter):
    """Shows the arguments of a verb in the order of the examples: its model before its options."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        super().render_usage(console, options, USAGE.sub(r"\1\3\2", str(usage)))


def command_line(arguments: Sequence[str]) -> App:
    """Return the application; it imports a verb only when the verb is given, to start fast."""
    app = App(
        name="adm",
        help=SUMMARY,
        help_format="markdown",
        help_formatter=_Help(),
        version=lambda: version("ablated-diffusion"),
        suppress_keyboard_interrupt=False,  # `main` says how to resume
        default_parameter=Parameter(converter=converted),
    )
    app.meta.suppress_keyboard_interrupt = False  # it inherits most settings, but not this one
    app.register_install_completion_command(add_to_startup=False)
    for flag in ("--help", "--version", "--install-completion"):
        app[flag].group = (OF_EVERY_VERB,)
    for number, (title, verbs) in enumerate(GROUPS.items()):
        group = Group(title, sort_key=number)
        for place, (verb, summary) in enumerate(verbs.items()):
            # An explicit help would hide the docstring of the verb that is given.
            help_ = {} if verb in arguments[:1] else {"help": summary}
            app.command(
                f"adm.app.cli.{verb}:{verb}", name=verb, group=group, sort_key=place, **help_
            )

    @app.meta.default
    def call(
        *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        threads: Annotated[int | None, Parameter(group=OF_EVERY_VERB)] = None,
        quiet: Annotated[
            bool, Parameter(name=("--quiet", "-q"), negative="", group=OF_EVERY_VERB)
        ] = False,
    ) -> object:
        """Call the verb.

        Args:
            words: The verb and its own arguments.
            threads: CPU threads per operation. By default OMP_NUM_THREADS, or one for each core
                that the process may use.
            quiet: Print only results and errors, no progress and no notices.
        """
        openmp.configure(threads)
        with notices.quieted(quiet), notices.of_library(), displayed(progress):
            return app(words, **CALL)

    return app.meta


def after_stopping(words: Sequence[str], otherwise: str = STARTS_AGAIN) -> str:
    """Describe what the same command does after it was stopped: few verbs start again."""
    start = next((i for i, word in enumerate(words) if word in VERBS), 0)
    verb = " ".join(words[start : start + 2])
    if any(f"{verb} ".startswith(f"{each} ") for each in RESUMING):
        return "run the same command again to resume"
    return otherwise


class Saved(SystemExit):
    """Raised in every process after a run has saved on a signal; holds the exit status."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit.

    Errors of the user print one line each, and exit with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with lasting_streams() as output:
        status = _run(words)
        output.flush()
        status = status or _unprinted(output, words)
    sys.exit(status)


def _run(words: list[str]) -> int | str | None:
    """Call a verb; return the exit status."""
    status = 0
    try:
        with stopping.stoppable():
            command_line(words)(words, **CALL)
    except USER_ERRORS as error:
        if os.environ.get("ADM_TRACEBACK"):
            raise
        _print_error(error, words)
        return 2
    except RuntimeError as error:
        devices = sys.modules.get(DEVICES)
        reason = None if devices is None else devices.describe_lost_rank(error)
        if reason is None or os.environ.get("ADM_TRACEBACK"):
            raise
        _print_error(ConnectionError(f"{reason}; {after_stopping(words)}"), words)
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"adm: stopped; {after_stopping(words)}\n")
        return stopping.status(stop)
    except Saved as end:
        status = end.code
    if devices := sys.modules.get(DEVICES):
        devices.leave()
    return status


def _unprinted(output: Lasting, words: Sequence[str]) -> int:
    """Return the exit status for lost output: 0 if its reader has closed the pipe."""
    if output.failure is None or isinstance(output.failure, BrokenPipeError):
        return 0
    output.failure.filename = "standard output"
    _print_error(output.failure, words)
    return 2


def _print_error(error: BaseException, words: Sequence[str]) -> None:
    """Print an error in one write, so that the lines of several ranks do not mix."""
    again = after_stopping(words, "run the command again")
    text = errors.line(error, again, lambda: _arguments(words))
    sys.stderr.write(f"adm: {text}\n")


def _arguments(words: Sequence[str]) -> dict[str, str]:
    """Return argument -> what the verb calls it, as in `scale` -> `--scale`, `model` -> `MODEL`."""
    try:
        verb = command_line(words).parse_commands(words)[1][-1]
        names = [argument.name for argument in verb.assemble_argument_collection()]
    except CycloptsError:  # not the words of a verb
        return {}
    return {name.lower().lstrip("-").replace("-", "_"): name for name in names}


def program() -> None:
    """Run `main` as the program of this process."""
    if not {"--help", "-h"} & {*sys.argv}:  # --help must be fast
        notices.silence_pillow()
        notices.silence_hub(bool({"--quiet", "-q"} & {*sys.argv}))
    # Not in torch's default, a folder where other users might put code that it would load.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache("compiled")))
    try:
        main()
    except SystemExit as end:
        devices = sys.modules.get(DEVICES)
        if devices and isinstance(end.code, int):
            devices.end(end.code)
        raise
