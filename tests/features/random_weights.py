"""random weights of the shapes of published networks, in place of a download."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    """uint8 images."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).byte()


def inception_port(state: dict[str, Tensor]) -> Any:
    """torch-fidelity's network, giving pool3 and the logits without bias."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Filled(extractor.FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict: dict[str, Tensor], *args: Any, **more: Any) -> Any:
            return super().load_state_dict(state_dict, *args, **more) if state_dict else None

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    names = ["2048", "logits_unbiased"]
    return Filled("random", names, feature_extractor_weights_path=file)


def inception_state() -> dict[str, Tensor]:
    """Weights that keep activations of order one, with normalizations that all matter."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, weight in inception_port({}).state_dict().items():
        drawn = torch.randn(weight.shape, generator=generator)
        if name.endswith("running_var"):
            state[name] = 0.5 + drawn.abs()
        elif name.endswith("num_batches_tracked"):
            state[name] = weight
        elif weight.ndim == 4:
            state[name] = drawn * (2 / weight[0].numel()) ** 0.5
        elif weight.ndim == 2:
            state[name] = drawn / weight.shape[1] ** 0.5
        else:
            state[name] = 0.3 * drawn + ("bn.weight" in name)
    return state


def dinov2_network(timm: Any) -> torch.nn.Module:
    """The small network, with blocks that count: they start out scaled by 1e-5."""
    from adm.features.vision_transformers import architecture

    torch.manual_seed(0)
    network = architecture("dinov2-vits14", timm)
    for name, weight in network.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.ones_(weight)
    return network
