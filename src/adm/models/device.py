"""Device name or None -> torch.device."""

import torch


def pick(name: str | torch.device | None) -> torch.device:
    """Return the device of this name; by default cuda, then mps, then cpu, the first available.

    Raises:
        ValueError: the name is unknown to torch, or the device is not available.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot use device {name!r} ({reason}); use device='cpu'") from None
    return device
