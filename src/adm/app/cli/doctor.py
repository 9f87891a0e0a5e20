"""adm doctor MODEL -> findings on each part of a model, as a table."""

from typing import TYPE_CHECKING

from rich.text import Text

from adm.app.cli.options import Device
from adm.app.cli.output import AsJson, say, show, table
from adm.app.progress import progress

if TYPE_CHECKING:
    from adm.app.study.doctor import Finding


def doctor(
    model: str,
    /,
    *,
    classifier: str | None = None,
    data: str | None = None,
    count: int = 48,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose a model: what is right, what is wrong, and what to change.

    Checks the settings; whether sampling starts in noise; the size and the error of the estimates
    by level; the colours of samples; and how often the classifier is right, and how sure it is, by
    level. --json has the curves over the levels.

    Examples:

        adm doctor fashion

        adm doctor emoji --data emoji

        adm doctor runs/photos --classifier runs/photos-classifier --data photos/ --count 200

        adm doctor emoji-classifier --data emoji --json

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion; a diffusion model or
        a classifier.
    classifier
        Classifier for guidance: path or shipped name; by default the one that belongs to the model.
    data
        Data that the model was trained on, in any of the forms of `adm train --data`; by default
        those of its recipe, if they are built in.
    count
        Images per measurement; more take longer, and reveal smaller faults.
    """
    from adm.app.study.doctor import examine, open_examined, summary

    examined = open_examined(model, classifier, data, device, count)
    findings = dict[str, "Finding"]()
    with progress(f"examining {examined.model.name}", len(examined.checks), "checks") as advance:
        for name, finding in examine(examined):
            findings[name] = finding
            advance(1)
    show(lambda: examined.to_json(findings), as_json, lambda: _print(findings))
    say(summary(findings), as_json)


def _print(findings: "dict[str, Finding]") -> None:
    """Print a row for each finding: its verdict, its sentence and the cures."""
    table(
        (
            Text(each.verdict, "bold red" if each.cures else "green"),
            name,
            " ".join([each.says, *each.cures]),
        )
        for name, each in findings.items()
    )
