"""adm doctor MODEL -> findings on each part of a model, as a table and a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.text import Text

from adm.app.cli import places
from adm.app.cli.options import Classifier, Device
from adm.app.cli.output import OUT, AsJson, say, show, table
from adm.app.progress import progress
from adm.store.files import write_text

if TYPE_CHECKING:
    from adm.app.study.doctor import Finding

COLOURS = {"ok": "green", "look": "yellow", "wrong": "bold red", "skipped": "dim"}


def doctor(
    model: str,
    /,
    *,
    classifier: Classifier = None,
    data: str | None = None,
    out: Annotated[Path, OUT] = Path("doctor.html"),
    count: int = 48,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose a model: what is right, what is wrong, and what to change.

    Checks the settings; whether sampling starts in noise; the error of the estimates by level; the
    colours of samples; and how often the classifier is right, and how sure it is, by level. Checks
    that need data are skipped if there are none.

    Examples:

        adm doctor fashion

        adm doctor emoji --data emoji --out emoji.html

        adm doctor runs/photos --classifier runs/photos-classifier --data photos/ --count 200

        adm doctor emoji-classifier --data emoji --json

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion; a diffusion model or
        a classifier.
    data
        Data that the model was trained on, in any of the forms of `adm train --data`; by default
        those of its recipe, if they are built in.
    out
        HTML file to write the page to.
    count
        Images per measurement; more take longer, and reveal smaller faults.
    """
    places.file(out, "--out", "doctor.html", "page")
    from adm.app.study.doctor import open_examined, page, summary

    examined = open_examined(model, classifier, data, device, count)
    findings, total = dict[str, "Finding"](), len(examined.checks())
    with progress(f"examining {examined.model.name}", total, "checks") as advance:
        for name, finding in examined.examine():
            findings[name] = finding
            advance(1)
    write_text(out, page(examined, findings))
    show(lambda: examined.to_json(findings), as_json, lambda: _print(findings))
    say(summary(findings), as_json)
    say(f"{out}: open it in a browser", as_json)


def _print(findings: "dict[str, Finding]") -> None:
    """Print a row for each finding: its weight, its sentence and the cure."""
    table(
        (Text(each.weight, COLOURS[each.weight]), name, f"{each.says} {each.cure}".rstrip())
        for name, each in findings.items()
    )
