"""uint8 images -> Extracted: the type of every feature extractor, and the checks around it.

Letters: B images of C channels and H x W pixels; D features, S spatial features, K logits.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Extracted(NamedTuple):
    """Features of B images.

    Attributes:
        pool: (B, D), one vector per image; distances are measured between these.
        spatial: (B, S), flattened features of each position in the image, or None where a network
            has none.
        logits: (B, K), before any softmax, or None.
    """

    pool: Tensor
    spatial: Tensor | None = None
    logits: Tensor | None = None


Extract = Callable[[Tensor], Extracted]
AT_ONCE_ON_CPU, AT_ONCE = 16, 128  # images per call; beyond these, memory grows and speed falls
LARGEST = 1e17  # squared distances between larger features overflow float32


@dataclass(frozen=True, eq=False)
class Features:
    """A feature extractor.

    Attributes:
        name: of the network; every score that is computed from its features carries this name.
        dim: D, or None until the first image (a user's function that does not declare it).
        extract: uint8 (B, C, H, W) on any device -> float32 on the CPU. The features of an image
            do not depend on the rest of its batch, up to floating-point summation order. Raises
            ValueError for images that the network does not support, and for features that are not
            finite.
        fingerprint: hash of the weights and of the preprocessing. Two sets of features are
            comparable if their fingerprints are equal.
    """

    name: str
    dim: int | None
    extract: Extract
    fingerprint: str


def make_features(
    name: str, dim: int | None, extract: Extract, fingerprint: str, device: torch.device | str
) -> Features:
    """Features that check their input and output, and run without gradients on one device.

    Args:
        extract: uint8 (B, C, H, W) on `device` -> features of any floating-point type.
    """
    at_once = AT_ONCE_ON_CPU if torch.device(device).type == "cpu" else AT_ONCE
    known_dim = dim

    def extract_checked(images: Tensor) -> Extracted:
        nonlocal known_dim
        if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
            raise ValueError(
                f"{name} takes images as uint8 (B, C, H, W), got {images.dtype} "
                f"{tuple(images.shape)}; adm.images.to_uint8 converts floats in [-1, 1]"
            )
        extracted: list[Extracted] = []
        # No reduced precision on a GPU, and deterministic kernels only.
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with torch.no_grad(), exact:
            for part in images.split(at_once):
                extracted.append(_extract_part(name, known_dim, extract, part.to(device)))
                known_dim = extracted[-1].pool.shape[1]
        pool, spatial, logits = (_join(name, parts) for parts in zip(*extracted, strict=True))
        assert pool is not None
        return Extracted(pool, spatial, logits)

    return Features(name, dim, extract_checked, fingerprint)


def fingerprint_of(how: str, weights: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that change with any weight and with `how` images are preprocessed."""
    digest = hashlib.sha256(how.encode())
    for name in sorted(weights):
        weight = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def check_shape(name: str, images: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless images have the shape (C, H, W) that a network was trained on."""
    if tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"{name} was trained on images of (C, H, W) = {shape}, got "
            f"{tuple(images.shape[1:])}; resize or convert them, or choose features that take "
            "any size, such as efficientnet-lite0"
        )


def _extract_part(name: str, dim: int | None, extract: Extract, images: Tensor) -> Extracted:
    extracted = extract(images)
    shape = tuple(extracted.pool.shape)
    if len(shape) != 2 or shape[0] != len(images) or dim not in (None, shape[1]) or not shape[1]:
        raise ValueError(
            f"{name} returned features of shape {shape} for {len(images)} images; "
            f"expected ({len(images)}, {dim or 'D'})"
        )
    pool, *others = (None if part is None else part.float().cpu() for part in extracted)
    assert pool is not None
    return Extracted(pool, *others)


def _join(name: str, parts: Sequence[Tensor | None]) -> Tensor | None:
    """The whole batch."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    values = torch.cat(present)
    bad = ~values.isfinite().all(dim=1)
    if bad.any():
        raise ValueError(
            f"{name} returned values that are not finite for {int(bad.sum())} of {len(values)} "
            f"images, first for image {int(bad.byte().argmax())} of the batch; "
            "its weights are damaged, or it does not support such images"
        )
    largest = float(values.abs().max())
    if largest > LARGEST:
        raise ValueError(
            f"{name} returned values of {largest:.2g}, whose distances overflow; divide all "
            f"features, of samples and reference, by one number that keeps them below {LARGEST:.0e}"
        )
    return values
