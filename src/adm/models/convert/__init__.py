"""Released state dict <-> state dict of ours; released flags -> UNetConfig, ClassifierConfig."""

from adm.models.convert.flags import network_of, read_flags, recipe_from_flags, script_flags
from adm.models.convert.released import (
    export_state,
    import_state,
    load_released,
    recognise,
    released_shapes,
)

__all__ = [
    "export_state",
    "import_state",
    "load_released",
    "network_of",
    "read_flags",
    "recipe_from_flags",
    "recognise",
    "released_shapes",
    "script_flags",
]
