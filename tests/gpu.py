"""name of a device -> tensors that say that they are on it, with values that a CPU computes.

The stand-in for a GPU refuses what a GPU refuses: tensors of several devices, NumPy, a generator of
another device, and float64 where Metal has none. It counts what makes the host wait for a device.
It rounds as a CPU does, and says nothing about speed.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READ = {  # operations whose result depends on values that the host must know
    *("_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "is_nonzero"),
    *("unique_dim", "unique_consecutive", "repeat_interleave.Tensor"),
}
MASKED = {"index.Tensor", "index_put.default", "index_put_.default", "_index_put_impl_.default"}
COPIES = {"copy_", "_to_copy", "_copy_from"}
PINNED = "pinned"  # attribute of a tensor in page-locked memory


class OnDevice(Tensor):
    """A tensor on the stand-in.

    Attributes:
        on_cpu: the same tensor on the CPU.
        gpu: the device that it is on.
    """

    on_cpu: Tensor
    gpu: "GPU"

    @staticmethod
    def __new__(cls, values: Tensor, gpu: "GPU") -> "OnDevice":
        shape = torch.empty_strided(
            values.shape, values.stride(), dtype=values.dtype, device="meta"
        )
        if offset := values.storage_offset():
            whole = torch.empty(offset + _reach(values), dtype=values.dtype, device="meta")
            shape = whole.as_strided(values.shape, values.stride(), offset)
        # For autograd it is on meta, which has no streams; for Python and autocast on the device.
        made: Any = Tensor._make_subclass(  # type: ignore[attr-defined]
            cls, shape, device_for_backend_keys=gpu.device
        )
        made.on_cpu, made.gpu = values, gpu
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        gpu = next(each.gpu for each in _tensors(args, kwargs) if isinstance(each, cls))
        return gpu.compute(func, args, kwargs)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.gpu.device

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return self.device.type == "cuda"

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_listed(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_listed(index), value)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:
        return f"{self.on_cpu!r} on {self.device}"


class GPU(TorchDispatchMode):
    """The stand-in, which is there while it is entered.

    Attributes:
        device: such as cuda:0 or mps:0; without its number torch would look for the real one.
        waits: how often the host waited, by operation.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.device, self.waits = torch.device(name), Counter[str]()
        self._patch = pytest.MonkeyPatch()

    def __deepcopy__(self, memo: Any) -> "GPU":
        return self

    def __enter__(self) -> "GPU":
        self._patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        self._patch.setattr(torch.cuda, "is_available", lambda: self.device.type == "cuda")
        self._patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        self._patch.setattr(Tensor, "pin_memory", _pinned)
        self._differently(True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._differently(False)
        self._patch.undo()

    def _differently(self, on: bool) -> None:
        """Let torch make tensors on the CPU and then copy them, and replace parameters whole."""
        torch._C._set_only_lift_cpu_tensors(on)  # type: ignore[attr-defined]
        torch.__future__.set_swap_module_params_on_conversion(on)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        named = kwargs.get("device")
        if self._names(named) or _on(_tensors(args, kwargs)):
            return self.compute(func, args, kwargs)
        return func(*args, **kwargs)

    def _names(self, device: Any) -> bool:
        """Whether an operation asks for this device, which operators in C++ take to be meta."""
        if device is None or (kind := torch.device(device).type) == "cpu":
            return False
        meant = kind == "meta" and torch.get_default_device().type != "meta"
        return meant or kind == self.device.type

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation on the CPU, as the device would, or refuse it."""
        named, tensors = kwargs.get("device"), _tensors(args, kwargs)
        name = func._schema.name.removeprefix("aten::")
        copies = name in COPIES
        self._check(func, name, args, kwargs, tensors, copies)
        here = {id(each.on_cpu): each for each in tensors if isinstance(each, OnDevice)}
        values = lambda t: t.on_cpu if isinstance(t, OnDevice) else t  # noqa: E731
        others = {key: _mapped(values, each) for key, each in kwargs.items() if key != "pin_memory"}
        if named is not None:
            others["device"] = torch.device("cpu")
        result = func(*_mapped(values, args), **others)
        if named is not None and not self._names(named):
            return result
        if name == "copy_" and not isinstance(args[0], OnDevice):
            return args[0]

        def placed(value: Any) -> Any:
            known = here.get(id(value))
            return self.holding(value) if known is None else known

        return _mapped(placed, result)

    def holding(self, values: Tensor) -> OnDevice:
        """Return a tensor on the device that has these values."""
        if self.device.type == "mps" and values.dtype == torch.float64:
            raise TypeError("the MPS framework has no float64")
        return OnDevice(values, self)

    def _check(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        copies: bool,
    ) -> None:
        form = f"{name}.{func._overloadname}"
        if kwargs.get("generator") is not None:
            raise RuntimeError(f"expected a {self.device} generator, found one of the CPU")
        elsewhere = [each for each in tensors if not isinstance(each, OnDevice)]
        if copies:
            source = args[1] if name == "copy_" else args[0]
            to_host = isinstance(source, OnDevice)
            crosses = elsewhere or (kwargs.get("device") is not None)
            crosses = crosses and not (to_host and self._names(kwargs.get("device")))
            free = not to_host and getattr(source, PINNED, False)
            free = free and bool(kwargs.get("non_blocking") or True in args[2:])
            if crosses and not free and not (name == "copy_" and source.dim() == 0 and not to_host):
                self.waits[f"{form} {'to' if to_host else 'from'} the host"] += 1
            return
        if form in MASKED:
            inner = isinstance(args[0], OnDevice)
            indices = [each for each in args[1] if each is not None]
            if any(each.dtype in (torch.bool, torch.uint8) for each in indices):
                self.waits[f"{form} by a mask"] += 1
            if inner and any(not isinstance(each, OnDevice) for each in indices):
                self.waits[f"{form} by an index of the host"] += 1
                elsewhere = [each for each in elsewhere if all(each is not i for i in indices)]
        if name in READ or form in READ:
            self.waits[name] += 1
        if any(each.dim() or each.is_meta for each in elsewhere):
            raise RuntimeError(
                f"{form}: expected all tensors on the same device, found {self.device} and cpu"
            )


def _tensors(args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    found = list[Tensor]()
    _mapped(found.append, (args, *kwargs.values()))
    return found


def _mapped(function: Any, values: Any) -> Any:
    """Apply a function to the tensors of an operation's arguments or results."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, list | tuple):
        return type(values)([_mapped(function, each) for each in values])
    return values


def _reach(values: Tensor) -> int:
    """Return the number of elements of memory from the first of a tensor to its last."""
    if not values.numel():
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(values.shape, values.stride(), strict=True))


def _listed(index: Any) -> Any:
    """Return an index with tensors in place of lists, which torch would put on meta."""
    if isinstance(index, tuple):
        return tuple(map(_listed, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _on(values: list[Tensor]) -> bool:
    return any(isinstance(each, OnDevice) for each in values)


def _pinned(tensor: Tensor) -> Tensor:
    if isinstance(tensor, OnDevice):
        raise RuntimeError(f"cannot pin a tensor of {tensor.device}")
    copy = tensor.clone()
    setattr(copy, PINNED, True)
    return copy
