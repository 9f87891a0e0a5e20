"""/proc/cpuinfo -> name of the processor, and its extensions for half precision."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux only


def processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    named = (line for line in _lines() if line.startswith("model name"))
    found = next(named, "").partition(":")[2].strip()
    return found or platform.processor() or platform.machine() or "unknown"


def half_precision() -> list[str]:
    """Return the names of the processor's extensions for half precision."""
    text = "\n".join(_lines())
    return [extension for extension in ("avx512_bf16", "amx_bf16") if extension in text]


def described() -> str:
    """Return the name with the extensions: virtual machines often share a name without a model."""
    return ", ".join([processor(), *half_precision()])


def _lines() -> list[str]:
    return CPUINFO.read_text("utf-8", "replace").splitlines() if CPUINFO.is_file() else []
