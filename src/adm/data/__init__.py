"""Data spec string -> Source; index -> uint8 (C, H, W), label."""

from adm.data.registry import open_source
from adm.data.source import CorruptImage, NoSplit, Source, shuffled
from adm.data.split import held_out

__all__ = ["CorruptImage", "NoSplit", "Source", "held_out", "open_source", "shuffled"]
