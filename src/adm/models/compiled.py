"""Prepared network -> the same function, compiled by torch at its first call."""

import importlib
import logging
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from adm.shown import shown
from adm.spec import SettingError, literal

LOG = logging.getLogger(__name__)
MOST_FORMS = 256  # after so many compilations of one function torch refuses another; 8 by default
# Of a register. Unless told, torch takes code that it kept for another width, as on another machine
# with the same home folder, and compiles it for its own: that computes nonsense.
BITS = {"AVX512": 512, "AVX2": 256}
# Of each input of a call: its shape and type, and whether a gradient passes to it.
Form: TypeAlias = tuple[tuple[torch.Size, torch.dtype, bool] | None, ...]


def form_of(inputs: Iterable[Tensor | None]) -> Form:
    """Return the form of the inputs of a call."""
    return tuple(
        None if each is None else (each.shape, each.dtype, each.requires_grad) for each in inputs
    )


def check_compiles(device: torch.device) -> None:
    """Raise SettingError unless torch can compile networks for a device."""
    if device.type not in ("cpu", "cuda"):
        raise SettingError("compile", f"torch does not compile for {device}; leave {{}} out")
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise SettingError("compile", "{} needs triton; pip install triton")
        return
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", default)  # that torch runs
    if shutil.which(compiler) is None:
        raise SettingError(
            "compile",
            f"{{}} needs the C++ compiler {literal(shown(compiler))}; install it (Debian, Ubuntu: "
            "apt install g++), or name another in CXX",
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise SettingError(
            "compile",
            "{} needs the headers of Python; install them (Debian, Ubuntu: apt install "
            "python3-dev)",
        )


class Compiled:
    """A network that torch compiles for the form of its inputs, at the first call with it.

    Args:
        network: its weights stay fixed.
        name: in notices.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        self._name, self._forms = name, set[Form]()
        self._call = torch.compile(network, dynamic=False, fullgraph=True)

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        # Copies, for torch compiles again for other strides, even if they mean the same.
        copies = [
            None if each is None else each.clone(memory_format=torch.contiguous_format)
            for each in inputs
        ]
        form = form_of(copies)
        return self._call(*copies) if form in self._forms else self._compile(form, copies)

    def _compile(self, form: Form, inputs: list[Tensor | None]) -> Tensor:
        """Compile for a form of inputs, and log how long it took."""
        LOG.info(
            f"compiling the {self._name}; this takes minutes on a CPU the first time, and less "
            "than one later"
        )
        dynamo = importlib.import_module("torch._dynamo")  # takes seconds to import
        inductor = importlib.import_module("torch._inductor.config")
        width = BITS.get(torch.backends.cpu.get_cpu_capability())
        began = time.perf_counter()
        try:
            with (
                dynamo.config.patch(cache_size_limit=MOST_FORMS),
                inductor.patch({"cpp.simdlen": width}),
            ):
                output = self._call(*inputs)
                if output.requires_grad:  # the backward pass is compiled when it is first needed
                    leaves = [each for each in inputs if each is not None and each.requires_grad]
                    torch.autograd.grad(output.sum(), leaves)
                    output = self._call(*inputs)
        except dynamo.exc.TorchDynamoException as error:
            reason = literal(shown(str(error).strip()))
            raise SettingError(
                "compile", f"torch cannot compile the {self._name} ({reason}); leave {{}} out"
            ) from error
        LOG.info(f"compiled the {self._name} in {time.perf_counter() - began:.0f} s")
        self._forms.add(form)
        return output
