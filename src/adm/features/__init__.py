"""images -> features: the networks in whose features sets of images are compared."""

from adm.features.contract import Extracted, Features
from adm.features.opening import open_features

__all__ = ["Extracted", "Features", "open_features"]
