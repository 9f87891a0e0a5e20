"""other people's weights -> our names and back."""

from adm.convert.checkpoints import RELEASED, Loaded, Released, load_released, recognise
from adm.convert.flags import config_from_flags, read_flags
from adm.convert.released import export_state, import_state, released_shapes

__all__ = [
    "RELEASED",
    "Loaded",
    "Released",
    "config_from_flags",
    "export_state",
    "import_state",
    "load_released",
    "read_flags",
    "recognise",
    "released_shapes",
]
