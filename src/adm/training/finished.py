"""Run folder -> its complete checkpoints, without loading torch."""

from pathlib import Path


def finished(run: Path) -> list[Path]:
    """Return all complete checkpoints of a run, oldest first."""
    found = (state.parent for state in (run / "checkpoints").glob("step-*/state.json"))
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def latest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    found = finished(run)
    return found[-1] if found else None
