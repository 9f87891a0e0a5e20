"""Engine, DiffusionModel, precision -> Network."""

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from adm.extras import installing
from adm.models.compiled import Compiled, Form, check_compiles, form_of
from adm.models.int8 import quantized
from adm.models.trained import ClassifierModel, DiffusionModel, Logits, Network
from adm.networks import Classifier, UNet, perturbed
from adm.samplers.settings import Engine, Precision

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # OpenVINO's names
Call: TypeAlias = Callable[[list[Tensor]], Tensor]

# Networks that are ready, by what they were made from: compiling takes seconds. None of them refers
# to the network that it was made from, which would then stay in memory.
_ready: WeakKeyDictionary[UNet, dict[tuple[Engine, Precision], Network]] = WeakKeyDictionary()
_perturbed: WeakKeyDictionary[UNet, dict[tuple[Engine, Precision], Network]] = WeakKeyDictionary()
_compiled: WeakKeyDictionary[Classifier, dict[Precision, Logits]] = WeakKeyDictionary()


def check_engine(engine: Engine, model: DiffusionModel) -> None:
    """Raise ValueError unless the engine is installed and can evaluate the model's network."""
    if engine == "torch":
        return
    if engine == "torch-compiled":
        check_compiles(model.device)
        return
    if find_spec("openvino") is None:
        raise ValueError(
            f"engine={engine!r} needs the package openvino, which is not installed; "
            f"{installing('openvino')}"
        )
    if model.device.type != "cpu":
        raise ValueError(
            f"engine={engine!r} computes on the CPU, and the model is on {model.device}; pass "
            "engine='torch', or device='cpu'"
        )
    if engine == "openvino-int8" and model.student:
        raise ValueError(
            "engine='openvino-int8' is calibrated on samples of many steps, which a distilled "
            "model does not take; pass engine='openvino'"
        )
    if engine == "openvino-int8" and model.low_shape is not None:
        raise ValueError(
            "engine='openvino-int8' is calibrated on samples from noise alone, which an upsampler "
            "does not make; pass engine='openvino'"
        )


def evaluated_by(engine: Engine, model: DiffusionModel, precision: Precision) -> Network:
    """Return what evaluates the network of a model; it is compiled at the first call."""
    if engine == "torch":
        return model.prepared(precision)
    made = _ready.setdefault(model.network, {})
    if (engine, precision) in made:
        return made[engine, precision]
    if engine == "torch-compiled":
        made[engine, precision] = Compiled(model.prepared(precision), "network")
    else:
        plain = quantized(model) if engine == "openvino-int8" else copy.copy(model.network)
        made[engine, precision] = OpenVINO(plain, model.prepared(precision), precision)
    return made[engine, precision]


def perturbed_by(engine: Engine, model: DiffusionModel, precision: Precision) -> Network:
    """Return what evaluates the network of a model without its innermost attention."""
    if engine == "torch":
        return model.perturbed(precision)
    made = _perturbed.setdefault(model.network, {})
    if (engine, precision) not in made:
        whole, by_torch = evaluated_by(engine, model, precision), model.perturbed(precision)
        if isinstance(whole, OpenVINO):
            made[engine, precision] = OpenVINO(perturbed(whole.plain), by_torch, precision)
        else:
            made[engine, precision] = Compiled(by_torch, "network")
    return made[engine, precision]


def classified_by(engine: Engine, model: ClassifierModel, precision: Precision) -> Logits:
    """Return what evaluates a classifier and its gradient: torch, which may compile it."""
    if engine != "torch-compiled":
        return model.prepared(precision)
    made = _compiled.setdefault(model.network, {})
    if precision not in made:
        made[precision] = Compiled(model.prepared(precision), "classifier")
    return made[precision]


class OpenVINO:
    """A U-Net that OpenVINO evaluates on the CPU.

    It is compiled for the shapes of its inputs at the first call with them. Where a gradient with
    respect to x_t is wanted, torch evaluates the network.

    Args:
        plain: the network to compile.
        by_torch: the one that torch evaluates.
    """

    def __init__(self, plain: UNet, by_torch: Network, precision: Precision = "float32") -> None:
        self.plain, self._by_torch = plain, by_torch
        self._precision: Precision = precision
        self._compiled: dict[Form, Call] = {}

    def __call__(
        self,
        x_t: Tensor,
        timestep: Tensor,
        label: Tensor | None = None,
        low_res: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        if torch.is_grad_enabled() and x_t.requires_grad:
            return self._by_torch(x_t, timestep, label, low_res, conditions)
        inputs = (x_t.detach(), timestep, label, low_res, conditions)
        form = form_of(inputs)
        if form not in self._compiled:
            self._compiled[form] = _by_openvino(self.plain, form, self._precision)
        return self._compiled[form]([each for each in inputs if each is not None])


class _OfGiven(nn.Module):
    """The network as a function of the inputs that are not None."""

    def __init__(self, network: UNet, form: Form) -> None:
        super().__init__()
        self.network = network
        self.given = [each is not None for each in form]

    def forward(self, *inputs: Tensor) -> Tensor:
        remaining = iter(inputs)
        return self.network(*(next(remaining) if given else None for given in self.given))


@torch.inference_mode(False)
@torch.no_grad()
def _by_openvino(network: UNet, form: Form, precision: Precision) -> Call:
    """Compile the network for inputs of this form."""
    openvino = importlib.import_module("openvino")
    reading = importlib.import_module("openvino.frontend.pytorch.fx_decoder")
    examples = tuple(torch.zeros(each[0], dtype=each[1]) for each in form if each is not None)
    with _quiet(), torch.autocast("cpu", enabled=False):
        exported = torch.export.export(_OfGiven(network, form), examples)
        decoder = reading.TorchFXPythonDecoder.from_exported_program(exported)
        # Not `openvino.convert_model`, which reports its use over the internet.
        frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape({place: list(each.shape) for place, each in enumerate(examples)})
    options: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()

    def call(inputs: list[Tensor]) -> Tensor:
        arrays = [each.detach().contiguous().numpy() for each in inputs]
        return torch.from_numpy(request.infer(arrays, share_inputs=True)[0])

    return call


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, no logs: OpenVINO names operations that only other versions of torch have."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
