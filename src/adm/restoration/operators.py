"""Operator, (C, H, W) -> forward, adjoint and mask of a Measurement."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, PlainSerializer, PlainValidator
from torch import Tensor
from torch.nn import functional as F

from adm.data.files import Files
from adm.data.naming import MAX_BYTES, at_home, open_regular
from adm.functions import Function, load_function
from adm.restoration.measurement import Adjoint, Forward, Measurement, adjoint_of
from adm.spec import Checked, SettingError, literal, out_of_range, parse
from adm.store.arrays import load_array
from adm.store.hashes import sha256

LARGEST_KERNEL = 1 << 10  # side of a kernel
ROUNDING = 1e-3  # of a linear function, as a share of what it returns
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Instrument(NamedTuple):
    """An operator for images of one shape.

    Attributes:
        forward: (B, C, H, W) -> (B, ...).
        shape: of y, without B.
        adjoint: the transpose; None if it is not linear.
        mask: ones where pixels are known, (C or 1, H, W), if it multiplies by that; else None.
    """

    forward: Forward
    shape: tuple[int, ...]
    adjoint: Adjoint | None
    mask: Tensor | None = None

    def measured(self, y: Tensor, sigma: float) -> Measurement:
        """Return the measurement of a batch."""
        y = y if self.mask is None else y * self.mask
        return Measurement(self.forward, y, sigma, self.adjoint, self.mask)


class Operator(Checked):
    """A forward operator: the degradation of an image before it is measured."""

    linear: ClassVar[bool] = True

    @abstractmethod
    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        """Return the function of images of this shape.

        Raises:
            SettingError: it cannot be applied to such images.
        """

    def on(self, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Instrument:
        """Return the operator for images of one shape.

        Args:
            shape: (C, H, W).

        Raises:
            SettingError: it cannot be applied to such images.
        """
        forward = self.forward(shape, torch.device(device))
        y = forward(torch.zeros(1, *shape, device=device))
        adjoint = adjoint_of(forward, shape) if self.linear else None
        return Instrument(forward, tuple(y.shape[1:]), adjoint)

    def check(self, y: Tensor) -> None:
        """Raise SettingError if no image has the measurement y."""

    def baseline(self, measurement: Measurement, shape: tuple[int, int, int]) -> Tensor | None:
        """(B, C, H, W), the restoration without a model; None if there is none.

        It is the Wiener filter of images whose pixels are independent: zeros where nothing is
        known.
        """
        if measurement.adjoint is None:
            return None
        zeros = measurement.y.new_zeros((len(measurement.y), *shape))
        return measurement.correct(zeros, measurement.variance)

    def manifest(self) -> dict[str, Any]:
        """What images depend on besides the spec: the contents of files."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Inpaint(Operator):
    """Some pixels are known, and the others are grey in y.

    Attributes:
        mask: picture of the size of the images: white where pixels are known.
        box: top, left, height and width of a rectangle that is missing, as in 10-20-40-40.
        random: share of the pixels that is missing, as in 0.92.
        seed: of which ones.
    """

    mask: str | None = None
    box: tuple[int, int, int, int] | None = None
    random: Share | None = None
    seed: Seed = 0
    name: ClassVar[str] = "inpaint"

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(each is not None for each in (self.mask, self.box, self.random)) != 1:
            raise SettingError("", "{operator=inpaint} takes one of mask, box and random")

    def on(self, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Instrument:
        mask = self.known(shape[1:]).to(device)
        return Instrument(lambda x: x * mask, shape, lambda y: y * mask, mask)

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        return self.on(shape, device).forward

    def known(self, size: tuple[int, int]) -> Tensor:
        """(1, H, W) ones where pixels are known, zeros elsewhere."""
        height, width = size
        if self.mask is not None:
            return _picture(self.mask, size)
        known = torch.ones(1, height, width)
        if self.box is not None:
            top, left, high, wide = self.box
            fits = 0 <= top < top + high <= height and 0 <= left < left + wide <= width
            if not fits:
                raise out_of_range("operator.box", f"within {height}x{width}", self.box)
            known[:, top : top + high, left : left + wide] = 0
        if self.random is not None:
            order = np.random.default_rng(self.seed).permutation(height * width)
            known.view(-1)[torch.from_numpy(order[: round(self.random * height * width)])] = 0
        return known

    def manifest(self) -> dict[str, Any]:
        return {} if self.mask is None else {"sha256": sha256(at_home(self.mask))}


@dataclass(frozen=True, kw_only=True)
class Downsample(Operator):
    """Fewer pixels.

    Attributes:
        factor: by which height and width are divided.
        filter: mean of each square, or bicubic with antialiasing.
    """

    factor: Annotated[int, Field(ge=2, le=64)] = 4
    filter: Literal["mean", "bicubic"] = "mean"
    name: ClassVar[str] = "downsample"

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        size = [side // self.factor for side in shape[1:]]
        if any(side % self.factor for side in shape[1:]):
            sides = "x".join(map(str, shape[1:]))
            raise out_of_range("operator.factor", f"a divisor of {sides}", self.factor)
        if self.filter == "mean":
            return lambda x: F.avg_pool2d(x, self.factor)
        return lambda x: F.interpolate(x, size, mode="bicubic", antialias=True)

    def baseline(self, measurement: Measurement, shape: tuple[int, int, int]) -> Tensor | None:
        """(B, C, H, W), enlarged by bicubic interpolation."""
        return F.interpolate(measurement.y, shape[1:], mode="bicubic")


@dataclass(frozen=True, kw_only=True)
class Blur(Operator):
    """A convolution, with the image reflected at its edges.

    Attributes:
        gaussian: standard deviation of a Gaussian kernel, in pixels.
        kernel: .npy file of a kernel, (h, w), of odd sides.
    """

    gaussian: Annotated[float, Field(gt=0, le=100)] | None = None
    kernel: str | None = None
    name: ClassVar[str] = "blur"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.gaussian is None) == (self.kernel is None):
            raise SettingError("", "{operator=blur} takes one of gaussian and kernel")

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        if self.gaussian is not None:
            kernel = _gaussian(self.gaussian, min(shape[1:]) - 1)
        else:
            assert self.kernel is not None
            kernel = _kernel(self.kernel)
        return _convolution(kernel, shape, device)

    def manifest(self) -> dict[str, Any]:
        return {} if self.kernel is None else {"sha256": sha256(at_home(self.kernel))}


@dataclass(frozen=True, kw_only=True)
class Motion(Operator):
    """The blur of a camera that moves on a random path.

    Attributes:
        seed: of the path.
        size: side of the kernel, in pixels; an odd number.
        turn: how much the direction changes on the way, in radians.
    """

    seed: Seed = 0
    size: Annotated[int, Field(ge=3, le=LARGEST_KERNEL)] = 9
    turn: Annotated[float, Field(ge=0, le=100)] = 2.0
    name: ClassVar[str] = "motion"

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        if not self.size % 2:
            raise out_of_range("operator.size", "odd", self.size)
        return _convolution(_path_kernel(self.seed, self.size, self.turn), shape, device)


@dataclass(frozen=True, kw_only=True)
class Grey(Operator):
    """The luminance of a colour image, of which y has one channel."""

    name: ClassVar[str] = "grey"

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        if shape[0] != len(LUMA):
            raise SettingError(
                "operator",
                f"{{operator=grey}} needs {len(LUMA)} channels, not {shape[0]}",
            )
        weights = torch.tensor(LUMA, device=device).reshape(1, -1, 1, 1)
        return lambda x: (x * weights.to(x.dtype)).sum(dim=1, keepdim=True)

    def baseline(self, measurement: Measurement, shape: tuple[int, int, int]) -> Tensor | None:
        """(B, 3, H, W), without colours."""
        return measurement.y.expand(-1, *shape)


@dataclass(frozen=True, kw_only=True)
class Phase(Operator):
    """The magnitudes of the Fourier transform, whose phases are lost.

    Attributes:
        oversample: sides of the padded image, of those of the image.
    """

    oversample: Annotated[float, Field(ge=1, le=8)] = 2.0
    name: ClassVar[str] = "phase"
    linear: ClassVar[bool] = False

    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        high, wide = (round(side * (self.oversample - 1) / 2) for side in shape[1:])

        def forward(x: Tensor) -> Tensor:
            spectrum = torch.fft.fft2(F.pad(x, (wide, wide, high, high)), norm="ortho")
            # The root of a square is not differentiable at 0.
            return (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt()

        return forward

    def check(self, y: Tensor) -> None:
        # Noise may make a small magnitude negative, but not all of a spectrum.
        if y.numel() and float(y.mean()) < 0:
            raise SettingError("y", "{} has a negative mean, and magnitudes have none")


def _user_function(value: Any) -> Function:
    return value if isinstance(value, Function) else load_function(value, "an operator")


@dataclass(frozen=True, kw_only=True)
class Custom(Operator):
    """A custom function: (B, C, H, W) in [-1, 1] -> (B, ...), each image by itself.

    It must be differentiable. Whether it is linear is measured, and its adjoint is derived.

    Attributes:
        of: module:function, or path/file.py:function.
    """

    of: Annotated[Function, PlainValidator(_user_function), PlainSerializer(str)]
    name: ClassVar[str] = "function"

    @torch.inference_mode(False)
    @torch.enable_grad()
    def forward(self, shape: tuple[int, int, int], device: torch.device) -> Forward:
        images = torch.zeros(2, *shape, device=device, requires_grad=True)
        tried = self.of.floats("operator", (2, ...), images)
        if not tried.requires_grad:
            raise SettingError(
                "operator",
                f"{{}} {literal(self.of.name)} cannot be differentiated; compute it in torch, "
                "without detach() or no_grad()",
            )
        return self.of

    def on(self, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Instrument:
        instrument = super().on(shape, device)
        linear = is_linear(instrument.forward, shape, device)
        return instrument if linear else instrument._replace(adjoint=None)

    def manifest(self) -> dict[str, Any]:
        """The hash of its source, if it has one."""
        return {} if self.of.sha256 is None else {"sha256": self.of.sha256}


OPERATORS: dict[str, type[Operator]] = {
    kind.name: kind for kind in (Inpaint, Downsample, Blur, Motion, Grey, Phase, Custom)
}


def operator_of(spec: str | Operator | Forward) -> Operator:
    """Return the operator of a spec; a function, or its module:function, is a custom one.

    Raises:
        SettingError: there is no such operator, or a parameter is out of range.
    """
    if isinstance(spec, str) and ":" in spec and spec.partition(":")[0].strip() not in OPERATORS:
        return Custom(of=load_function(spec.strip(), "an operator"))
    if callable(spec) and not isinstance(spec, Operator):
        return Custom(of=Function.of(spec))
    return parse(OPERATORS, spec, "operator")


def is_linear(forward: Forward, shape: Sequence[int], device: torch.device | str = "cpu") -> bool:
    """Return whether forward(a u + v) is a forward(u) + forward(v) for some random images."""
    drawn = torch.Generator().manual_seed(0)
    u, v = (torch.randn(1, *shape, generator=drawn).to(device) for _ in range(2))
    with torch.no_grad():
        one, other, both = forward(u), forward(v), forward(0.7 * u + v)
    size = float(both.norm()) + float(one.norm())
    return float((both - 0.7 * one - other).norm()) <= ROUNDING * size


def _convolution(kernel: Tensor, shape: tuple[int, int, int], device: torch.device) -> Forward:
    """Return the convolution of each channel with a kernel (h, w) of odd sides."""
    high, wide = (side // 2 for side in kernel.shape)
    if high >= shape[1] or wide >= shape[2]:
        got = "x".join(map(str, kernel.shape))
        raise out_of_range("operator.kernel", f"smaller than images of {shape[1]}x{shape[2]}", got)
    # `conv2d` correlates: the flipped kernel convolves.
    weights = kernel.flip(0, 1).to(device).expand(shape[0], 1, *kernel.shape)

    def forward(x: Tensor) -> Tensor:
        padded = F.pad(x, (wide, wide, high, high), mode="reflect")
        return F.conv2d(padded, weights.to(x.dtype), groups=shape[0])

    return forward


def _gaussian(deviation: float, largest: int) -> Tensor:
    """(n, n) a Gaussian kernel up to 3 deviations, of a radius below `largest`."""
    radius = min(math.ceil(3 * deviation), largest)
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / deviation) ** 2)
    kernel = line[:, None] * line
    return kernel / kernel.sum()


def _path_kernel(seed: int, size: int, turn: float) -> Tensor:
    """(size, size) how long a camera is at each place of a smooth random path."""
    drawn = np.random.default_rng(seed)
    points = 64 * size
    start, rates = drawn.uniform(0, 2 * np.pi), drawn.normal(size=4)
    time = np.linspace(0, 1, points)
    waves = sum(rate * np.sin((number + 1) * np.pi * time) for number, rate in enumerate(rates))
    angle = start + turn * np.asarray(waves)
    path = np.cumsum(np.stack([np.sin(angle), np.cos(angle)]), axis=1)
    path -= path.mean(axis=1, keepdims=True)
    reach = (size - 2) / 2
    path *= reach / np.abs(path).max()
    kernel = np.zeros((size, size))
    for row, column in (path + (size - 1) / 2).T:  # each point is shared by four pixels
        top, left = int(row), int(column)
        down, right = row - top, column - left
        for dy, dx, share in (
            (0, 0, (1 - down) * (1 - right)),
            (0, 1, (1 - down) * right),
            (1, 0, down * (1 - right)),
            (1, 1, down * right),
        ):
            kernel[min(top + dy, size - 1), min(left + dx, size - 1)] += share
    return torch.tensor(kernel / kernel.sum(), dtype=torch.float32)


def _kernel(path: str) -> Tensor:
    """Read a kernel."""
    values = load_array(at_home(path))
    sides = values.shape
    if len(sides) != 2 or not all(side % 2 and side < LARGEST_KERNEL for side in sides):
        raise out_of_range("operator.kernel", "(h, w) of odd sides", str(values.shape))
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise out_of_range("operator.kernel", "finite real numbers", str(values.dtype))
    return torch.tensor(values, dtype=torch.float32)


def _picture(path: str, size: tuple[int, int]) -> Tensor:
    """(1, H, W) ones where a picture is white, zeros where it is black."""
    values = Files(
        lambda _: open_regular(at_home(path), MAX_BYTES), lambda _: path, channels=1
    ).read(0)
    if tuple(values.shape[1:]) != tuple(size):
        expected, got = ("x".join(map(str, each)) for each in (size, values.shape[1:]))
        raise out_of_range("operator.mask", f"a picture of {expected}", got)
    return (values > 127).float()
