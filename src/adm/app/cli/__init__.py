"""Sequence[str] -> exit status; one module per verb, imported when its verb is given."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter

from adm.app import notices, openmp
from adm.app.cli import faults, guesses, stopping, values
from adm.app.cli.terminal import Lasting, open_standard_streams, terminal
from adm.shown import printable, short, shown

SUMMARY = """Diffusion models that sample images, guided by a classifier.

Start with `adm demo`, or `adm sample fashion --classes sneaker:8 --scale 2 --out sneakers`.
`adm VERB --help` has more examples.
"""
VERBS = {
    "demo": "Sample the shipped model at several guidance scales, and write a report.",
    "sample": "Sample images from a model.",
    "upsample": "Upsample images with an upsampler.",
    "train": "Train a diffusion model, a noisy classifier or an upsampler.",
    "data": "Inspect a data set, pack it into shards for training, or write an example.",
    "cluster": "Cluster images, and write the clusters as a list of labels to train with.",
    "reference": "Compute the reference statistics that samples are scored against.",
    "evaluate": "Score images against a reference.",
    "sweep": "Score samples at several guidance scales, and plot the trade-off.",
    "frontier": "Measure time against quality on this machine, and recommend settings.",
    "nearest": "Show the nearest training images of each sample, and flag likely copies.",
    "compare": "Show images of the same classes from several models side by side.",
    "grid": "Search the noise levels for few sampling steps, and store them beside the model.",
    "average": "Reconstruct an average of any width from the averages that a run stores.",
    "info": "Show the contents of a model file.",
    "recipes": "List the recipes, or show one with its settings.",
}
RESUMING = (  # verbs that keep what they have done when they are stopped
    "sample",
    "upsample",
    "train",
    "data pack",
    "cluster",
    "reference",
    "evaluate",
    "sweep",
    "frontier",
    "nearest",
    "compare",
    "demo",
)
STARTS_AGAIN = "the same command starts again from the beginning"
OF_EVERY_VERB = Group("Options of every command", sort_key=100)
CALL = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
DEVICES = "adm.processes"
LONGEST_WORD, LONGEST_LINE = 400, 2000  # characters of an error
AROUND = 20  # characters shown before and after one that is not UTF-8
LONG = re.compile(rf"\S{{{LONGEST_WORD},}}")
RENAMED = {  # Python arguments whose flags have other names
    "use_labels=False": "--without-label",
    "renamed={'old': 'new'}": "--rename old=new",
    "renamed=...": "--rename",
}
ARGUMENT = r"(?<![\w.])([a-z_]+)=(?:\.\.\.|True\b|'([^']*)'|\"([^\"]*)\")"
USER_ERRORS = (
    CycloptsError,
    ValueError,
    OSError,
    MemoryError,
    FloatingPointError,
)


def command_line(arguments: Sequence[str]) -> App:
    """Return the application; it imports a verb only when the verb is given, to start fast."""
    app = App(
        name="adm",
        help=SUMMARY,
        help_format="markdown",
        version=lambda: version("ablated-diffusion"),
        suppress_keyboard_interrupt=False,  # `main` says how to resume
        default_parameter=Parameter(converter=values.converted),
    )
    app.meta.suppress_keyboard_interrupt = False  # it inherits most settings, but not this one
    for verb, summary in VERBS.items():
        # An explicit help would hide the docstring of the verb that is given.
        help_ = {} if verb in arguments[:1] else {"help": summary}
        app.command(f"adm.app.cli.{verb}:{verb}", name=verb, **help_)

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
            threads: CPU threads per operation. By default one for each core that the process may
                use, or as OMP_NUM_THREADS says.
            quiet: Print no progress and no notices, only results that were asked for and errors.
        """
        openmp.configure(threads)
        with notices.quieted(quiet):
            return app(words, **CALL)

    return app.meta


def in_flags(message: str) -> str:
    """Translate the Python arguments in a message of the library into command-line flags.

    `classifier=...` becomes `--classifier`, `device='cpu'` becomes `--device cpu`, `micro_batch=4`
    after "pass" becomes `--micro-batch 4`, and "set unet.classes=10" becomes "pass --set
    unet.classes=10".
    """
    for python, spoken in RENAMED.items():
        message = message.replace(python, spoken)
    message = re.sub(r"(?<=pass )([a-z_]+=)(\d+)", r"\1'\2'", message)
    message = re.sub(r"\bsettings=\['([^']+)'\]", r"--set \1", message)
    message = re.sub(r"(?<![\w-])set (?=[a-z]+\.[a-z_.]+=)", "pass --set ", message)

    def flag(match: re.Match[str]) -> str:
        value = match[2] or match[3] or ""
        return f"--{match[1].replace('_', '-')}" + (f" {value}" if value else "")

    return re.sub(ARGUMENT, flag, message)


def after_stopping(words: Sequence[str], otherwise: str = STARTS_AGAIN) -> str:
    """Say what the same command does after it was stopped: few verbs have to start again."""
    start = next((i for i, word in enumerate(words) if word in VERBS), 0)
    verb = " ".join(words[start : start + 2])
    if any(f"{verb} ".startswith(f"{each} ") for each in RESUMING):
        return "run the same command again to resume"
    return otherwise


def said(error: BaseException, words: Sequence[str]) -> str:
    """Return the message of an error of the user as one line of the command line."""
    text = printable(" ".join(_message(error, words).split()))
    text = LONG.sub(lambda word: short(word[0], LONGEST_WORD), text)
    return in_flags(short(text, LONGEST_LINE))


def _message(error: BaseException, words: Sequence[str]) -> str:
    if isinstance(error, CycloptsError):
        return guesses.message(error, words)
    if isinstance(error, OSError):
        return faults.sentence(error, after_stopping(words, "run the command again"))
    if isinstance(error, MemoryError):
        told = f" ({error})" if str(error) else ""
        return f"the memory is full{told}; end other programs, or give less to do at a time"
    if isinstance(error, UnicodeDecodeError | UnicodeEncodeError):
        near = shown(error.object[max(error.start - AROUND, 0) : error.end + AROUND])
        return f"a file or a name is not UTF-8, near {near}; write it in UTF-8, and try again"
    return str(error)


class Saved(SystemExit):
    """Raised in every process after a run has saved on a signal; holds the exit status."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit.

    Errors of the user print one line each, and exit with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with terminal() as output:
        status = _run(words)
        output.flush()
        status = status or _unprinted(output, words)
    sys.exit(status)


def _run(words: list[str]) -> int | str | None:
    """Call a verb; return the exit status."""
    status = 0
    try:
        with stopping.stoppable():
            values.check_words(words)
            command_line(words)(words, **CALL)
    except USER_ERRORS as error:
        if os.environ.get("ADM_TRACEBACK"):
            raise
        _print_errors([said(error, words)])
        return 2
    except KeyboardInterrupt as stop:
        _print_errors([f"stopped; {after_stopping(words)}"])
        return stopping.status(stop)
    except Saved as end:
        status = end.code
    if devices := sys.modules.get(DEVICES):  # imported by the verbs that may run in several ranks
        devices.leave()
    return status


def _unprinted(output: Lasting, words: Sequence[str]) -> int:
    """Return the exit status for what could not be printed: 0 if its reader had seen enough."""
    if output.failure is None or isinstance(output.failure, BrokenPipeError):
        return 0
    output.failure.filename = "standard output"
    _print_errors([said(output.failure, words)])
    return 2


def _print_errors(lines: Sequence[str]) -> None:
    """Print errors in one write, so that the lines of several ranks do not mix."""
    sys.stderr.write("".join(f"adm: {line}\n" for line in lines))


def program() -> None:
    """Run `main` as the program of this process."""
    open_standard_streams()
    try:
        main()
    except SystemExit as end:
        devices = sys.modules.get(DEVICES)
        if devices and isinstance(end.code, int):
            devices.end(end.code)
        raise
