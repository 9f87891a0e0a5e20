"""Seed, material, folders -> Bench, on which a trial works; Row, the trials of a line of the table.

A trial is a function of its number and of the seed alone. It runs the program in children of this
process, in a folder of its own, and returns its faults.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from abuse import child
from abuse.judge import Fault
from abuse.material import Material, adm


class Whole(NamedTuple):
    """What a verb writes undisturbed.

    Attributes:
        files: all files of its folder afterwards, its inputs included.
        seconds: how long it took.
        written: bytes that it takes on a disk.
    """

    files: dict[str, str]
    seconds: float
    written: int


class Result(NamedTuple):
    """The outcome of a trial.

    Attributes:
        statuses: the exit status of each command.
        what: the command, or the fault injected into it.
        note: printed below the table, such as that a kill came too late.
    """

    faults: list[Fault]
    statuses: tuple[int, ...]
    what: str
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """Where a trial works.

    Attributes:
        material: the undamaged files.
        work: folder of the trials that run.
        failures: folder in which trials with faults are saved.
        whole: what each verb writes undisturbed; see `verbs`.
    """

    seed: int
    material: Material
    work: Path
    failures: Path
    limits: child.Limits = field(default_factory=child.Limits)
    whole: dict[str, Whole] = field(default_factory=dict)

    def random(self, row: str, number: int) -> Random:
        """Return the random numbers of a trial."""
        return Random(f"{self.seed} {row} {number}")

    def result(self, row: str, number: int, trial: "Trial") -> Result:
        """Run a trial in a new folder, which is saved if the trial has faults."""
        folder = self.folder(f"{row}-{number:05d}")
        result = trial(self, self.random(row, number), number, folder)
        if result.faults:
            self._save(
                folder, {"seed": self.seed, "row": row, "number": number, **result._asdict()}
            )
        self.done(folder)
        return result

    def folder(self, name: str) -> Path:
        """Return a new folder, alone in its parent, with a cache and a home of its own.

        All have the same name, which some results contain.
        """
        folder = self.work / name.replace(",", "").replace(" ", "-") / "here"
        shutil.rmtree(folder.parent, ignore_errors=True)
        for each in ("cache", "home"):
            (folder / each).mkdir(parents=True)
        return folder

    def start(
        self,
        folder: Path,
        words: Sequence[object],
        before: Callable[[], object] = lambda: None,
        name: str = "",
    ) -> child.Child:
        """Start the program in a folder; `before` is called in its process."""

        def work() -> None:
            before()
            adm(words, folder)

        return self.run(folder, work, name)

    def run(self, folder: Path, work: Callable[[], object], name: str = "") -> child.Child:
        """Start a function in a child, for a folder."""
        return child.Child(work, self._logs(folder) / name, self.limits)

    def done(self, folder: Path) -> None:
        """Remove the folder of a trial, and what its commands printed."""
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
        for path in (folder.parent, self._logs(folder)):
            shutil.rmtree(path, ignore_errors=True)

    def _logs(self, folder: Path) -> Path:
        return self.work / "logs" / folder.parent.name

    def _save(self, folder: Path, case: dict[str, object]) -> None:
        target = self.failures / folder.parent.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target / "files", symlinks=True, ignore=_special)
        shutil.copytree(self._logs(folder), target / "printed")
        (target / "case.json").write_text(json.dumps(case, indent=1, default=str) + "\n")


def _special(folder: str, names: list[str]) -> list[str]:
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if not (p.is_symlink() or p.is_dir() or p.is_file())]


Trial = Callable[[Bench, Random, int, Path], Result]


@dataclass(frozen=True)
class Row:
    """The trials of a line of the table."""

    trial: Trial
    count: int
