"""uint8 images -> features, by published, trained or user-defined extractors."""

from adm.features.contract import Extracted, Features
from adm.features.opening import FORMS, open_features, recorded_features

__all__ = ["FORMS", "Extracted", "Features", "open_features", "recorded_features"]
