"""Results of trials <-> JSON lines, one for each -> the table, and a list of what was found."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from abuse.bench import Result, Row, name_of
from abuse.judge import COLUMNS

MOST_LISTED = 8  # different faults listed for each row


class Results:
    """The results so far, in a file to which several processes append."""

    def __init__(self, path: Path, fresh: bool) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        self.known = dict[tuple[str, int], dict[str, Any]]()
        self.read()
        self.before = len(self.known)

    def add(self, row: str, number: int, result: Result, seconds: float) -> None:
        """Append a result, in one write."""
        held = {"row": row, "number": number, "seconds": round(seconds, 3), **result._asdict()}
        with self.path.open("ab") as file:
            file.write((json.dumps(held) + "\n").encode())

    def read(self) -> None:
        """Read what all processes have written."""
        if not self.path.exists():
            return
        for line in self.path.read_bytes().splitlines():
            try:
                held = json.loads(line)
            except ValueError:  # half of a line
                continue
            self.known[held["row"], held["number"]] = held

    def show_progress(self, total: int) -> None:
        """Print how many of the trials of this call are done, on one line."""
        self.read()
        done = len(self.known) - self.before
        faulty = sum(bool(each["faults"]) for each in self.known.values())
        if sys.stderr.isatty():
            bar = "█" * (40 * done // max(total, 1))
            sys.stderr.write(f"\r{bar:40} {done} of {total}, {faulty} with faults ")
            sys.stderr.flush()

    def of(self, row: str) -> list[dict[str, Any]]:
        """Return the results of a row."""
        return [held for (name, _), held in self.known.items() if name == row]

    def faulty(self, rows: Iterable[str]) -> bool:
        """Return whether any trial of these rows has a fault."""
        return any(held["faults"] for row in rows for held in self.of(row))

    def shown(self, rows: dict[str, Row]) -> str:
        """Return the table, and below it the different faults of each row."""
        head = ("kind of input", "tried", "accepted", *COLUMNS)
        lines, totals = [], Counter[str]()
        for row in rows:
            held = self.of(row)
            counts = Counter(column for each in held for column in _columns(each))
            counts |= {
                "tried": len(held),
                "accepted": sum(each["statuses"][-1:] == [0] for each in held),
            }
            totals += counts
            lines.append((row, *(str(counts[name]) for name in head[1:])))
        lines.append(("all", *(str(totals[name]) for name in head[1:])))
        widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
        text = ["| " + " | ".join(f"{h:{w}}" for h, w in zip(head, widths, strict=True)) + " |"]
        text.append("|" + "|".join("-" * (w + 2) for w in widths) + "|")
        for line in lines:
            cells = [
                f"{cell:{'<' if not i else '>'}{width}}"
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            text.append("| " + " | ".join(cells) + " |")
        seconds = sum(each["seconds"] for row in rows for each in self.of(row))
        text.append(f"\n{seconds:.0f} s of work")
        return "\n".join([*text, *self._found(rows), *self._notes(rows)])

    def _found(self, rows: Iterable[str]) -> list[str]:
        text = []
        for row in rows:
            groups: dict[tuple[str, str], list[int]] = {}
            for held in self.of(row):
                for column, what in held["faults"]:
                    groups.setdefault((column, _general(what)), []).append(held["number"])
            most = sorted(groups.items(), key=lambda item: -len(item[1]))
            if most:
                text.append(f"\n{row}:")
            for (column, what), numbers in most[:MOST_LISTED]:
                first = name_of(row, min(numbers))
                text.append(f"  {len(numbers):4} {column}: {what[:180]}  (failures/{first})")
            if len(most) > MOST_LISTED:
                text.append(f"  and {len(most) - MOST_LISTED} more kinds of fault")
        return text

    def _notes(self, rows: Iterable[str]) -> list[str]:
        notes = Counter(
            f"{row}: {held['note']}" for row in rows for held in self.of(row) if held["note"]
        )
        return [f"\n{count} x {note}" for note, count in notes.most_common()]


def _columns(held: dict[str, Any]) -> set[str]:
    """Return the columns in which a trial counts, once each."""
    return {column for column, _ in held["faults"]}


def _general(what: str) -> str:
    """Return a fault without the numbers in it, by which like ones differ."""
    import re

    return re.sub(r"'[^']*'|\"[^\"]*\"|[0-9]+", "…", what.replace(os.sep, "/"))
