"""Data spec string -> Source; index -> uint8 (C, H, W), label."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adm.data.files import CorruptImage
    from adm.data.registry import open_source
    from adm.data.source import NoSplit, Source
    from adm.data.split import hold_out, shuffle

# Imported on first use, because `adm.data.naming` is used without torch.
_HOMES = {
    "CorruptImage": "adm.data.files",
    "NoSplit": "adm.data.source",
    "Source": "adm.data.source",
    "hold_out": "adm.data.split",
    "open_source": "adm.data.registry",
    "shuffle": "adm.data.split",
}
__all__ = ["CorruptImage", "NoSplit", "Source", "hold_out", "open_source", "shuffle"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'adm.data' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
