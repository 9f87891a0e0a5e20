"""adm doctor MODEL -> Findings: a verdict on each part of a model, as a table and a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.text import Text

from adm.app.cli import places
from adm.app.cli.options import Classifier, Device
from adm.app.cli.output import OUT, AsJson, say, show, table
from adm.app.progress import progress
from adm.shown import printable
from adm.store.files import write_text

if TYPE_CHECKING:
    from adm.app.study.doctor import Finding

COLOURS = {"ok": "green", "look": "yellow", "wrong": "bold red"}


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

    Checks the settings, the noise at which sampling starts, the calibration of the estimates by
    level, the learned variance, labels, overfitting, the average of the weights, the colours,
    saturation and variety of samples, and whether the classifier fits the model, recognises the
    data by noise level, and recognises the samples. Checks that need data are skipped if there are
    none.

    Examples:

        adm doctor fashion

        adm doctor emoji --data emoji --out emoji.html

        adm doctor runs/photos --classifier runs/photos-classifier --data photos/ --count 200

        adm doctor emoji-classifier --data emoji --json

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion; a diffusion model, an
        upsampler, a student, a GAN or a classifier.
    data
        Data that the model was trained on, in any of the forms of `adm train --data`; by default
        those of its recipe, if they are built in.
    out
        HTML file to write the page to.
    count
        Images per measurement; more take longer, and reveal smaller faults.
    """
    places.file(out, "--out", "doctor.html", "page")
    from adm.app.study import doctor as library
    from adm.app.study.patient import admit

    patient = admit(model, classifier, data, device, count)
    findings = dict[str, "Finding"]()
    with progress(
        f"examining {patient.model.name}", len(library.checks_of(patient)), "checks"
    ) as advance:
        for name, finding in library.examine(patient):
            findings[name] = finding
            advance(1)
    write_text(out, library.page(patient, findings))
    show(lambda: library.to_json(patient, findings), as_json, lambda: _print(findings))
    say(library.summary(findings), as_json)
    say(f"{out}: open it in a browser", as_json)


def _print(findings: "dict[str, Finding]") -> None:
    """Print a row for each finding: its verdict, its reason, and what to change."""
    from adm.app.study.doctor import reasons

    table(
        (Text(each.verdict, COLOURS[each.verdict]), name, f"{each.says} {each.change}".rstrip())
        for name, each in findings.items()
        if each.verdict != "skipped"
    )
    for each in reasons(findings):
        print(printable(each))
