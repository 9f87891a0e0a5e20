"""a source of labelled images -> uint8 (C, H, W), label."""

from adm.data.registry import open_source
from adm.data.source import Source, shuffled

__all__ = ["Source", "open_source", "shuffled"]
