"""Model file -> SHA-256 of its weights and of the recipe by which they make images.

What was measured of a model (searched levels, times, scores) names it by this hash, which neither
other defaults of sampling nor notes on its training change.
"""

import hashlib
import json
from pathlib import Path

from adm.models.paths import FOREIGN
from adm.store.hashes import sha256
from adm.training.header import LENGTH, header_of, metadata_of

# The parts of a recipe that decide what the network computes, and how that is read.
PARTS = ("kind", "process", "unet", "classifier", "gan", "distillation", "noised")
TOGETHER = 1 << 20  # bytes read at a time


def identify(path: Path) -> str:
    """Return the hash of a model; of a foreign file that of its bytes.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    if path.suffix in FOREIGN:
        return sha256(path)
    recipe, tensors = metadata_of(path).recipe, header_of(path).tensors
    stored = {name: [each.dtype, each.shape, each.data_offsets] for name, each in tensors.items()}
    parts = {name: recipe[name] for name in PARTS if name in recipe}
    digest = hashlib.sha256(json.dumps([parts, stored], sort_keys=True).encode())
    with path.open("rb") as file:
        file.seek(LENGTH + int.from_bytes(file.read(LENGTH), "little"))
        while block := file.read(TOGETHER):
            digest.update(block)
    return digest.hexdigest()
