"""x_t, timestep, label -> raw output; x_t, timestep -> class logits."""

from adm.networks.blocks import HeadCount, HeadWidth
from adm.networks.classifier import Classifier, ClassifierConfig
from adm.networks.dropout import Dropout, key_dropout
from adm.networks.inference import Prepared, prepared
from adm.networks.perturbed import perturbed
from adm.networks.recompute import recompute
from adm.networks.shapes import Config, Shapes, differing_tensors, on_meta, parameters_of, shapes_of
from adm.networks.unet import (
    CONDITIONS,
    NO_LABEL,
    SILENT,
    Condition,
    UNet,
    UNetConfig,
)

__all__ = [
    "CONDITIONS",
    "NO_LABEL",
    "SILENT",
    "Classifier",
    "ClassifierConfig",
    "Condition",
    "Config",
    "Dropout",
    "HeadCount",
    "HeadWidth",
    "Prepared",
    "Shapes",
    "UNet",
    "UNetConfig",
    "differing_tensors",
    "key_dropout",
    "on_meta",
    "parameters_of",
    "perturbed",
    "prepared",
    "recompute",
    "shapes_of",
]
