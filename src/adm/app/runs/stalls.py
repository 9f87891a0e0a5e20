"""Steps of a run on several ranks -> the same steps, or its end, and who hangs.

A rank that hangs blocks all others in a collective call, which cannot name it.
"""

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from adm.processes import Devices, PrefixStore
from adm.store.parsed import as_type, parse_json

T = TypeVar("T")
ANSWER_S = 10.0  # for a rank to report its place
OURS = Path(__file__).parents[2]
# Innermost functions of a rank that waits: a collective call, and the backward pass, in which DDP
# and FSDP make theirs.
WAITS = ("torch/distributed/", "torch/autograd/graph.py")


@dataclass(frozen=True)
class Place:
    """Where a rank is.

    Attributes:
        steps: number of steps done.
        line: the innermost line of this package that it runs.
        waits: whether it is in a collective call, or may be.
    """

    steps: int
    line: str
    waits: bool


def guarded(
    steps: Iterator[T], devices: Devices, limit_s: float, give_up: Callable[[str], None]
) -> Iterator[T]:
    """Yield steps; if one takes longer than a limit, report from a thread who hangs.

    Args:
        limit_s: seconds, in which a step ends, with its checkpoint and validation.
        give_up: called on every rank that still can, with the message, or with an empty one on all
            but the first of them. It is to end the process, whose main thread is blocked.
    """
    if devices.world == 1:
        yield from steps
        return
    names = devices.gather(f"{platform.node()}, pid {os.getpid()}")
    main, ended, last = threading.get_ident(), threading.Event(), [time.monotonic(), 0.0]

    def guard() -> None:
        while not ended.wait(min(limit_s / 10, 5.0)):
            if time.monotonic() - last[0] > limit_s:
                places = answers(place_of(main, int(last[1])), devices)
                if not ended.is_set():
                    first = devices.rank == min(places)
                    give_up(message(places, names, limit_s) if first else "")
                return

    thread = threading.Thread(target=guard, daemon=True, name="stalls")
    thread.start()
    try:
        for step in steps:
            last[:] = time.monotonic(), last[1] + 1
            yield step
    finally:
        ended.set()


def place_of(thread: int, steps: int) -> Place:
    """Return where a thread of this process is."""
    frame = sys._current_frames().get(thread)
    innermost = "" if frame is None else Path(frame.f_code.co_filename).as_posix()
    while frame is not None and not Path(frame.f_code.co_filename).is_relative_to(OURS):
        frame = frame.f_back
    if frame is None:
        return Place(steps, "an unknown line", False)
    path = Path(frame.f_code.co_filename).relative_to(OURS).as_posix()
    return Place(steps, f"{path}:{frame.f_lineno}", any(each in innermost for each in WAITS))


def answers(own: Place, devices: Devices) -> dict[int, Place]:
    """Publish the place of this rank; return those of all ranks that publish theirs."""
    # Of torch's own: the group's store, which a launcher or rank 0 serves, is not in its interface.
    whole = dist.distributed_c10d._get_default_store()
    store = PrefixStore("adm/stalls", whole)
    places, end = {devices.rank: own}, time.monotonic() + ANSWER_S
    with suppress(RuntimeError):  # the process that serves it is gone
        store.set_timeout(timedelta(seconds=ANSWER_S))
        store.set(f"{devices.rank}", json.dumps(asdict(own)))
    for rank in set(range(devices.world)) - {devices.rank}:
        left = timedelta(seconds=max(0.1, end - time.monotonic()))
        with suppress(RuntimeError, ValueError):
            store.wait([f"{rank}"], left)
            places[rank] = as_type(Place, parse_json(store.get(f"{rank}")))
    return dict(sorted(places.items()))


def message(places: dict[int, Place], names: list[str], limit_s: float) -> str:
    """Name the ranks that hang: those without an answer; else, of those behind, the busy or all."""
    silent = [rank for rank in range(len(names)) if rank not in places]
    fewest = min(each.steps for each in places.values())
    behind = [rank for rank, each in places.items() if each.steps == fewest]
    busy = [rank for rank in behind if not places[rank].waits]
    chosen = silent or busy or behind
    reports = (
        f"process {rank} ({names[rank]}) "
        + ("does not answer" if rank in silent else f"is at {places[rank].line}")
        for rank in chosen[:8]
    )
    return (
        f"no step ended in {limit_s:.0f} s: {', '.join(reports)}; {len(names) - len(chosen)} of "
        f"{len(names)} processes wait; the same command goes on from the newest checkpoint"
    )
