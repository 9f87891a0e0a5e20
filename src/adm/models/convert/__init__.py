"""Released state dict <-> state dict of ours; released flags -> UNetConfig, ClassifierConfig."""

from adm.models.convert.flags import config_from_flags, read_flags, recipe_from_flags, script_flags
from adm.models.convert.released import (
    Loaded,
    export_state,
    import_state,
    load_released,
    recognise,
    released_shapes,
)

__all__ = [
    "Loaded",
    "config_from_flags",
    "export_state",
    "import_state",
    "load_released",
    "read_flags",
    "recipe_from_flags",
    "recognise",
    "released_shapes",
    "script_flags",
]
