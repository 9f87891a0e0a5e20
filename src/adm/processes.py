"""Processes -> one group that acts and fails together."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
PATIENCE_S = 60.0  # for the first answer of every process
SETTLE_S = 0.1  # for a group's threads to let go of what they hold, where Python goes on
STALL = timedelta(minutes=30)  # a save to a slow disk must not look like a death


@dataclass(frozen=True, eq=False)
class Devices:
    """This process's place among those that act together; one alone by default.

    Attributes:
        device: that this process computes on.
        rank: its number in 0..world - 1.
        world: how many processes there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What every process gave, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def agree(self, what: str, value: object) -> None:
        """Raise ValueError unless every process has the same value of `what`."""
        values = self.gather(value)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise ValueError(
                f"processes {odd} have another {what} than process 0; start every process with the "
                "same command, version and data"
            )

    def once(self, action: Callable[[], None]) -> None:
        """The main process acts and the others wait; its failure is everyone's."""
        self.each(lambda: action() if self.main else None)

    def each(self, action: Callable[[], T]) -> T:
        """What it gave here, once it is done in every process; one's failure is everyone's."""
        given: list[T] = []
        failure: Exception | None = None
        try:
            given.append(action())
        except Exception as error:
            failure = error
        self.share_failure(failure)
        return given[0]

    def share_failure(self, failure: Exception | None) -> None:
        """Raise the first failure of any process in every process, so that none waits for ever."""
        first = next((f for f in self.gather(failure) if f is not None), None)
        if first is not None:
            raise first


def launched() -> bool:
    """Whether torchrun, accelerate or submitit started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_this_machine() -> int:
    """How many of the processes launched together share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def join(device: torch.device | None, *, patience_s: float = PATIENCE_S) -> Devices:
    """Join the processes that were launched together, and see that all of them answer.

    Args:
        device: for a process alone; launched together, each takes the GPU of its local rank, or
            the CPU where `device` is the CPU or there is no GPU.
        patience_s: for the first answer.

    Raises:
        TimeoutError: a process does not answer.
    """
    if not launched():
        return Devices(device or torch.device("cpu"))
    # Loaded here, since a process alone has no use for it.
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available() or (device is not None and device.type == "cpu")
    state = PartialState(cpu=on_cpu, timeout=STALL)
    chosen = None if on_cpu else state.device
    joined = Devices(chosen or torch.device("cpu"), state.process_index, state.num_processes)
    self_test(joined, patience_s)
    return joined


def leave() -> None:
    """Part from the other processes, when all have done their work."""
    if dist.is_initialized():
        dist.barrier()  # none may hang up on another's last word
        dist.destroy_process_group()
        time.sleep(SETTLE_S)


def end(status: int) -> None:
    """End a process that was launched with others without taking Python down.

    A group's threads live on, closed or not, and let go of tensors when they come to it. One that
    asks for Python's lock while Python is taken down aborts the process, however well it did
    ("terminate called without an active exception"). Alone, nothing happens.
    """
    if launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def self_test(devices: Devices, patience_s: float) -> None:
    """One sum over all processes, before there is anything to lose.

    Raises:
        TimeoutError: no answer in time, or another sum.
    """
    ones = torch.ones(1, device=devices.device)
    work = dist.all_reduce(ones, async_op=True)
    deadline = time.monotonic() + patience_s
    # Polled, since waiting on NCCL's work has no time-out of its own.
    while work is not None and not work.is_completed() and time.monotonic() < deadline:
        time.sleep(0.005)
    if (work is not None and not work.is_completed()) or ones.item() != devices.world:
        raise TimeoutError(
            f"process {devices.rank} of {devices.world} had no answer from the others in "
            f"{patience_s:.0f} s; see that all of them run and that their network interface can be "
            "reached (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME, MASTER_ADDR, MASTER_PORT)"
        )
