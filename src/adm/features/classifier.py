"""uint8 images -> last features and logits of a classifier that `adm train` trained."""

from pathlib import Path

import torch
from torch import Tensor

from adm.features.contract import Extracted, Features, check_shape, fingerprint_of, make_features
from adm.images import to_float
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED

HOW = "classifier 1: x / 127.5 - 1 at the size it was trained on, least noise that it knows"


def classifier_features(model: str | Path, device: torch.device | str = "cpu") -> Features:
    """The last features of a classifier before its logits.

    A classifier of noisy images is conditioned on level 1, its lowest; no noise is added.

    Args:
        model: a file, a run folder or a shipped name.

    Raises:
        ValueError: no such classifier.
    """
    loaded = load_classifier(model, device)
    network, recipe = loaded.network, loaded.recipe
    name = loaded.path.stem if loaded.path.parent == SHIPPED else recipe.name
    shape = (recipe.data.channels, *recipe.data.size)
    level = 1 if recipe.noised else 0

    def extract(images: Tensor) -> Extracted:
        check_shape(name, images, shape)
        x_0 = to_float(images)
        step = network.step_embedding(loaded.schedule.timestep(level, x_0))
        features = network.encoder(x_0, step)
        return Extracted(network.head.embed(features), logits=network.head(features))

    with torch.no_grad():
        blank = torch.zeros(1, *shape, dtype=torch.uint8, device=device)
        dim = extract(blank).pool.shape[1]
    how = f"{HOW} ({level}, {loaded.schedule.timesteps[level].item():g})"
    return make_features(name, dim, extract, fingerprint_of(how, network.state_dict()), device)
