"""Device name or None -> torch.device; Devices of the ranks that were launched together."""

from collections.abc import Callable
from datetime import timedelta

import torch

from adm.processes import Devices, join, launched

LONGEST_WAIT = timedelta(days=7)  # of a rank that is done, or that has nothing to do meanwhile


def pick(name: str | torch.device | None) -> torch.device:
    """Return the device of this name; by default cuda, then mps, then cpu, the first available.

    Raises:
        ValueError: the name is unknown to torch, or the device is not available.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    return _checked(name, lambda device: torch.empty(0, device=device))


def _checked(name: str | torch.device, use: Callable[[torch.device], object]) -> torch.device:
    try:
        device = torch.device(name)
        use(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot use device {name!r} ({reason}); use device='cpu'") from None
    return device


def join_ranks(device: str | None, wait: timedelta = LONGEST_WAIT) -> Devices:
    """Join the ranks that were launched together; a single process uses the given device.

    Args:
        wait: longest time that a rank may wait for the others.

    Raises:
        ValueError: there is no such device.
        TimeoutError: a rank was not started, or does not respond.
    """
    if not launched():
        return Devices(pick(device))
    # Not used here: each rank has a device of its own.
    return join(None if device is None else _checked(device, lambda _: None), stall=wait)
