"""Checkpoint folder -> whether its parts are whole and of one step, without loading torch.

SHA256SUMS, the last file to be written, has the hash of every other one. A checkpoint of an earlier
version, which does not record the hash of the log either, has none; its files are compared by their
headers and the steps that they name.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from adm.app.notices import notice
from adm.store.hashes import SUMS, damaged_parts, read_sums
from adm.training.finished import finished, step_of
from adm.training.header import FORMAT, header_of, metadata_of
from adm.training.state import FILE, State, read_state

ASIDE = "damaged-"  # before the name of a damaged checkpoint that was set aside


def checked(folder: Path, names: Iterable[str] | None = None) -> State:
    """Return the numbers of a checkpoint, after a check of its parts.

    Args:
        folder: the folder of a checkpoint, under any name.
        names: the parts to check besides state.json; all by default.

    Raises:
        ValueError: a part is missing, damaged or from another checkpoint; names it.
    """
    state = read_state(folder)
    sums = read_sums(folder)
    if sums is None and state.log is not None:
        raise ValueError(f"{folder / SUMS} is missing")
    if sums is None:
        _check_headers(folder, state, names)
    elif found := damaged_parts(folder, [*(sums if names is None else names), FILE]):
        raise ValueError(
            f"{folder / found[0]} is missing, damaged or from another checkpoint: it is not as "
            f"{SUMS} says"
        )
    return state


def check_model(path: Path) -> None:
    """Raise ValueError unless a model file is whole and belongs to the checkpoint that it is in.

    Nothing is known of a file that is not in the folder of a checkpoint.
    """
    whole = path.resolve()  # `best` is a link to a checkpoint
    for folder in (whole.parent, whole.parent.parent):
        if (folder / FILE).is_file() and ((folder / SUMS).exists() or step_of(folder) is not None):
            try:
                checked(folder, [whole.relative_to(folder).as_posix()])
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{error}; copy it again, or remove {folder} to use the checkpoint before it"
                ) from None
            return


def set_aside(run: Path) -> None:
    """Rename the newest checkpoints of a run if they are damaged, so that an earlier one is newest.

    Training makes them again, and `retention.prune` then removes what was set aside.

    Raises:
        ValueError: no checkpoint is whole.
    """
    damaged: dict[Path, str] = {}
    for folder in reversed(finished(run)):
        if (damage := _damage(folder)) is None:
            whole = folder.name
            break
        damaged[folder] = damage
    else:
        if not damaged:
            return
        newest = next(iter(damaged))
        raise ValueError(
            f"{damaged[newest]}, and no checkpoint before it is whole; copy it again, or remove "
            f"{newest.parent} to train from the beginning"
        )
    for folder, damage in damaged.items():
        aside = folder.with_name(ASIDE + folder.name)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        notice(f"{damage}; it is now in {aside.name}, and training continues from {whole}")


def _damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint of a run, or None if it is whole."""
    try:
        state = checked(folder)
    except (OSError, ValueError) as error:
        return str(error)
    if state.step != step_of(folder):
        return f"{folder / FILE} is that of step {state.step}"
    return None


def _check_headers(folder: Path, state: State, names: Iterable[str] | None) -> None:
    """Raise ValueError for a file of weights that is damaged, or is that of another step."""
    paths = sorted(folder.rglob("*.safetensors")) if names is None else [folder / n for n in names]
    for path in paths:
        try:
            ours = FORMAT in header_of(path).described
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is missing or damaged ({error})") from None
        if ours and (step := metadata_of(path).step) not in (None, state.step):
            raise ValueError(f"{path} is that of step {step}, and {FILE} of {state.step}")
