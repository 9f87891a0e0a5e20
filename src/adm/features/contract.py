"""uint8 images -> features: what every extractor gives, and what is checked of it.

Letters: B images of C channels and H x W pixels; D features, S spatial features, K logits.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Extracted(NamedTuple):
    """What a network sees in B images.

    Attributes:
        pool: (B, D), one vector an image: what distances are measured between.
        spatial: (B, S), features that keep places, or None where a network has none.
        logits: (B, K), before any softmax, or None.
    """

    pool: Tensor
    spatial: Tensor | None = None
    logits: Tensor | None = None


Look = Callable[[Tensor], Extracted]
AT_ONCE_ON_CPU, AT_ONCE = 16, 128  # images; past these, memory grows and speed falls
LARGEST = 1e17  # feature; squared distances between vectors of larger ones overflow float32


@dataclass(frozen=True, eq=False)
class Features:
    """A network that images are seen through.

    Attributes:
        name: of the network; every number that is measured through it carries this name.
        dim: D, or None where only an image will tell (a function that does not say).
        extract: uint8 (B, C, H, W) on any device -> float32 on the CPU, the same whatever else is
            in the batch, but for the order in which floats are added. Raises ValueError for images
            that the network cannot see, and for features that are not finite numbers.
        fingerprint: of the weights and of all that is done to an image before they see it. Two
            sets of features can be compared where it is equal.
    """

    name: str
    dim: int | None
    extract: Look
    fingerprint: str


def guarded(
    name: str, dim: int | None, look: Look, fingerprint: str, device: torch.device | str
) -> Features:
    """Features whose images and results are checked, on this device, without gradients.

    Args:
        look: uint8 (B, C, H, W) on `device` -> what it sees, in any float type.
    """

    at_once = AT_ONCE_ON_CPU if torch.device(device).type == "cpu" else AT_ONCE

    known = dim

    def extract(images: Tensor) -> Extracted:
        nonlocal known
        _check_images(name, images)
        seen: list[Extracted] = []
        with torch.no_grad(), _exact():
            for part in images.split(at_once):
                seen.append(_see(name, known, look, part.to(device)))
                known = seen[-1].pool.shape[1]
        pool, spatial, logits = (_joined(name, parts) for parts in zip(*seen, strict=True))
        assert pool is not None
        return Extracted(pool, spatial, logits)

    return Features(name, dim, extract, fingerprint)


def fingerprint(how: str, weights: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that change with any weight and with `how` images are made ready."""
    digest = hashlib.sha256(how.encode())
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _exact() -> Iterator[None]:
    """No reduced precision on a GPU, and none of its kernels that give another sum each time."""
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        yield


def _check_images(name: str, images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
        raise ValueError(
            f"{name} sees images as uint8 (B, C, H, W), got {images.dtype} {tuple(images.shape)}; "
            "adm.images.to_uint8 makes them from floats in [-1, 1]"
        )


def _see(name: str, dim: int | None, look: Look, images: Tensor) -> Extracted:
    seen = look(images)
    shape = tuple(seen.pool.shape)
    if len(shape) != 2 or shape[0] != len(images) or dim not in (None, shape[1]) or not shape[1]:
        raise ValueError(
            f"{name} gave features of shape {shape} for {len(images)} images; "
            f"expected ({len(images)}, {dim or 'D'})"
        )
    pool, *others = (None if part is None else part.float().cpu() for part in seen)
    assert pool is not None
    return Extracted(pool, *others)


def _joined(name: str, parts: Sequence[Tensor | None]) -> Tensor | None:
    """The whole batch; refused where a value is not finite, or too large to be scored."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    values = torch.cat(given)
    bad = ~values.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"{name} gave values that are not finite for {int(bad.sum())} of {len(values)} images, "
            f"first for number {int(bad.byte().argmax())} of the batch; "
            "its weights are damaged, or it cannot see such images"
        )
    largest = float(values.abs().max())
    if largest > LARGEST:
        raise ValueError(
            f"{name} gave values of {largest:.2g}, whose distances overflow; divide all features, "
            f"of both sides, by one number that leaves them below {LARGEST:.0e}"
        )
    return values
