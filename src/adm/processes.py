"""Launched processes -> Devices: the rank, the device and the collective calls of each."""

import os
import platform
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
Item = TypeVar("Item")
# Public by torch's documentation, and not by its `__all__`.
Store: TypeAlias = dist.Store  # pyright: ignore[reportPrivateImportUsage]
PrefixStore: TypeAlias = dist.PrefixStore  # pyright: ignore[reportPrivateImportUsage]
rendezvous = dist.rendezvous  # pyright: ignore[reportPrivateImportUsage]
PATIENCE_S = 60.0  # time limit of the first collective call
SETTLE_S = 0.1  # time for the threads of a group to release tensors before Python exits
STALL = timedelta(minutes=30)  # longer than any save to a slow disk
START = timedelta(minutes=10)  # longer than importing torch from a slow disk
REACH = (
    "check that all of them run and that their network interface can be reached "
    "(NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME, MASTER_ADDR, MASTER_PORT)"
)
# Words of gloo's RuntimeError.
GONE = re.compile("connection (closed|reset)|broken pipe", re.IGNORECASE)
LATE = re.compile("timed out|timeout", re.IGNORECASE)
OF_AGENT = "TORCHELASTIC_USE_AGENT_STORE"
POLL_S = 0.01


@dataclass(frozen=True, eq=False)
class Devices:
    """The rank and the device of this process; by default it is the only one.

    Attributes:
        device: device that this rank computes on.
        rank: index of this process in 0..world - 1.
        world: number of ranks.
        local_world: number of ranks on this machine, which share its processors and its memory.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def agree(self, what: str, value: object) -> None:
        """Raise ValueError unless all ranks have the same value of `what`."""
        values = self.gather(value)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise ValueError(
                f"processes {odd} have another {what} than process 0; start every process with the "
                "same command, version and data"
            )

    def once(self, action: Callable[[], T]) -> T:
        """Call `action` on rank 0; return its result, or raise its exception, on every rank."""
        results: list[T] = []
        self.each(lambda: results.append(action()) if self.main else None)
        return self.gather(results)[0][0]

    def each(self, action: Callable[[], T]) -> T:
        """Call `action` on every rank, and return its local result; raise the first exception."""
        results: list[T] = []
        failure: Exception | None = None
        try:
            results.append(action())
        except Exception as error:
            failure = error
        self.share_failure(failure)
        return results[0]

    def map(self, action: Callable[[Item], T], items: Sequence[Item]) -> list[T]:
        """Call `action` on every item, each on one rank; return all results, in order, on all."""
        own = items[self.rank :: self.world]
        by_rank = self.gather(self.each(lambda: [action(item) for item in own]))
        return [by_rank[i % self.world][i // self.world] for i in range(len(items))]

    def share_failure(self, failure: Exception | None) -> None:
        """Raise the first exception of any rank on every rank, so that none waits forever."""
        first = next((f for f in self.gather(failure) if f is not None), None)
        if first is not None:
            raise first


def launched() -> bool:
    """Return whether torchrun or another launcher has started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def describe_lost_rank(error: RuntimeError) -> str | None:
    """Describe the loss of another rank if it is what an error is of; None for other errors."""
    late, gone = LATE.search(str(error)), GONE.search(str(error))
    if not launched() or not (isinstance(error, dist.DistError) or late or gone):
        return None
    place = f"process {os.environ.get('RANK')} ({platform.node()}, pid {os.getpid()})"
    if late:
        return f"{place} has waited too long for another process, which hangs or is slow"
    return f"{place} lost contact with another process; its error is above, unless it was killed"


def join(device: torch.device | None, *, stall: timedelta = STALL) -> Devices:
    """Join the ranks that were launched together, and test that all of them respond.

    Args:
        device: device of a single process, by default the CPU. Each of several ranks uses the GPU
            of its local rank, or the CPU if `device` is the CPU or there is no GPU.
        stall: longest time that a rank may wait for the others.

    Raises:
        TimeoutError: a rank was not started, or does not respond.
    """
    if not launched():
        return Devices(device or torch.device("cpu"))
    place = torch.device("cpu")
    if torch.cuda.is_available() and (device is None or device.type != "cpu"):
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if not dist.is_initialized():
        backend = "gloo" if place.type == "cpu" else "nccl"
        try:
            store, rank, world = next(rendezvous("env://", timeout=START))
        except dist.DistError as error:
            rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
            reason = str(error).partition("\n")[0]
            raise TimeoutError(
                f"process {rank} of {world} could not meet the others ({reason}); {REACH}"
            ) from error
        if os.environ.get(OF_AGENT) == str(True):
            store = of_attempt(store, rank, world, START)
        dist.init_process_group(backend, timeout=stall, store=store, rank=rank, world_size=world)
    devices = Devices(place, dist.get_rank(), dist.get_world_size())
    self_test(devices, PATIENCE_S)
    machine = platform.node()
    return replace(devices, local_world=devices.gather(machine).count(machine))


def of_attempt(store: Store, rank: int, world: int, limit: timedelta) -> Store:
    """Return the part of a store that the ranks of this attempt alone use.

    The agent of torchrun has one store for all attempts, in which ranks would find the addresses of
    those that have ended (pytorch/pytorch issue 135712), and no count of the attempts that all of
    its machines share. Rank 0 chooses a word for the attempt, and sends it to every rank that
    greets it; one that has ended cannot answer.

    Raises:
        TimeoutError: a rank has not started in time.
    """
    own, before = secrets.token_hex(8), "adm/attempt"
    if rank > 0:
        store.set(f"{before}/{rank}", own)
        word = store.get(f"{before}/{own}").decode()
        store.set(f"{before}/{word}/{rank}", "heard")
        return PrefixStore(word, store)
    silent, end = set(range(1, world)), time.monotonic() + limit.total_seconds()
    while silent:
        for other in [each for each in silent if store.check([f"{before}/{each}"])]:
            greeting = store.get(f"{before}/{other}").decode()
            store.set(f"{before}/{greeting}", own)
            if store.check([f"{before}/{own}/{other}"]):
                silent.remove(other)
        if silent and time.monotonic() > end:
            raise TimeoutError(
                f"process {min(silent)} of {world} has not started in "
                f"{limit.total_seconds():.0f} s; start all with the same command"
            )
        time.sleep(POLL_S)
    return PrefixStore(own, store)


def leave() -> None:
    """Leave the group of ranks, after all of them have called."""
    if dist.is_initialized():
        dist.barrier()  # no rank may disconnect while another still communicates
        dist.destroy_process_group()
        time.sleep(SETTLE_S)


def end(status: int) -> None:
    """Exit a rank with `status`, without finalizing Python; do nothing in a single process.

    Threads of a closed group still release tensors. One that takes the interpreter lock during
    finalization aborts the process ("terminate called without an active exception").
    """
    if launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def self_test(devices: Devices, patience_s: float) -> None:
    """Add a one over all ranks, to test the connection before any work.

    Raises:
        TimeoutError: the sum does not arrive in time, or is wrong.
    """
    ones = torch.ones(1, device=devices.device)
    work = dist.all_reduce(ones, async_op=True)
    deadline = time.monotonic() + patience_s
    # Polled, because waiting for NCCL has no timeout.
    while work is not None and not work.is_completed() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if (work is not None and not work.is_completed()) or ones.item() != devices.world:
        raise TimeoutError(
            f"process {devices.rank} of {devices.world} had no answer from the others in "
            f"{patience_s:.0f} s; {REACH}"
        )
