"""uint8 images -> features, by published, trained or user-defined extractors."""

from adm.features.contract import Extracted, Features
from adm.features.opening import open_features, recorded_features

__all__ = ["Extracted", "Features", "open_features", "recorded_features"]
