"""/proc/cpuinfo -> name of the processor, and its extensions for half precision."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux only
EXTENSIONS = ("avx512_bf16", "amx_bf16", "bf16")  # of x86, and of ARM


def processor() -> str:
    """Return the name of the processor, as the system reports it."""
    named = (line for line in _lines() if line.startswith("model name"))
    name = next(named, "").partition(":")[2].strip()
    return name or platform.processor() or platform.machine() or "unknown"


def half_precision() -> list[str]:
    """Return the names of the processor's extensions for bfloat16.

    Where the system reports none, torch computes in bfloat16 many times slower than in float32.
    """
    words = {word for line in _lines() for word in line.split()}
    return [extension for extension in EXTENSIONS if extension in words]


def describe_processor() -> str:
    """Return the name with the extensions: virtual machines often share a name without a model."""
    return ", ".join([processor(), *half_precision()])


def _lines() -> list[str]:
    return CPUINFO.read_text("utf-8", "replace").splitlines() if CPUINFO.is_file() else []
