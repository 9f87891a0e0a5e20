"""Report of a data set -> printed lines, a JSON file, a picture of examples."""

from pathlib import Path
from typing import TYPE_CHECKING

from adm.app.cli.output import say

if TYPE_CHECKING:
    from torch import Tensor

    from adm.data.inspect import Report

MOST_LISTED = 40  # entries printed of each list; the JSON file has all
BAR = 40  # characters
FEW = 8  # sizes or formats printed


def draw(report: "Report", examples: "Tensor", out: Path) -> None:
    """Draw (K, n, 3, H, W) uint8 to a PNG file: a row for each class, with its number of images."""
    from adm.pictures import Row, sheet
    from adm.shown import count_of
    from adm.store.files import new_file

    rows = [
        Row(f"{name}\n{count_of(count, 'image')}", list(images))
        for (name, count), images in zip(report.classes.items(), examples, strict=False)
    ]
    total = count_of(len(report.classes), "class", "classes")
    shown = f"{len(rows)} of {total}" if len(rows) < len(report.classes) else total
    title = f"{report.name}: {count_of(report.images, 'image')}, {shown}"
    with new_file(out) as part:
        sheet(title, [("", examples.shape[1])], rows).save(part, "PNG")


def write(out: Path, report: "Report", as_json: bool) -> None:
    import json

    from adm.store.files import write_text

    write_text(out, json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
    say(f"{out}: the whole report", as_json)


def show(report: "Report") -> None:
    from adm.shown import count_of

    classes = count_of(len(report.classes), "class", "classes")
    print(f"{report.name}: {count_of(report.images, 'image')} of {classes}")
    most = max(report.classes.values(), default=1) or 1
    width = max(map(len, report.classes), default=0)
    for name, count in list(report.classes.items())[:MOST_LISTED]:
        print(f"  {name:{width}} {count:>9}  {'█' * round(BAR * count / most)}".rstrip())
    _rest(len(report.classes), "class", "classes")
    if report.left_out:
        print(f"not in the list of labels: {report.left_out}")
    _show_sizes(report)
    print(f"formats: {_counts(report.kinds)}")
    print(f"broken: {len(report.broken) or 'none'}")
    for one in report.broken[:MOST_LISTED]:
        print(f"  {one['reason']}")
    _rest(len(report.broken), "broken image", "broken images")
    for what, groups in (("files", report.same_files), ("pixels", report.same_pixels)):
        again = sum(len(group) - 1 for group in groups)
        print(f"duplicates, same {what}: {again or 'none'}")
        for group in groups[:MOST_LISTED]:
            print(f"  {' = '.join(group[:4])}{' = ...' if len(group) > 4 else ''}")
        _rest(len(groups), "group", "groups")
    if report.conflicts:
        print(f"groups of duplicates with different labels: {report.conflicts}")


def _show_sizes(report: "Report") -> None:
    """Print the range of the sizes; the sizes themselves only if they are few."""
    span = report.size_range
    if span is None or span.different == 1:
        print(f"sizes (HxW): {_counts(report.sizes)}")
        return
    print(
        f"sizes (HxW): {span.different} different; by area, the smallest is {span.min}, the median "
        f"{span.median} and the largest {span.max}"
    )
    if span.different <= FEW:
        print(f"  {_counts(report.sizes)}")


def _counts(counts: dict[str, int]) -> str:
    listed = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:FEW])
    more = f", and {len(counts) - FEW} more" if len(counts) > FEW else ""
    return f"{listed or 'none'}{more}"


def _rest(count: int, one: str, more: str) -> None:
    from adm.shown import count_of

    if count > MOST_LISTED:
        rest = count_of(count - MOST_LISTED, f"more {one}", f"more {more}")
        print(f"  ... and {rest}; --out FILE.json has the whole list")
