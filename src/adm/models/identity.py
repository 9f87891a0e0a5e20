"""Model file -> SHA-256 of its weights and of the recipe by which they make images.

What was measured of a model (times, scores) names it by this hash, which neither
other defaults of sampling nor notes on its training change.
"""

import hashlib
import json
from pathlib import Path

from adm.models.paths import FOREIGN
from adm.store.hashes import sha256
from adm.store.parsed import parse_json
from adm.training.model_file import MOST_HEADER, metadata_of

# The parts of a recipe that decide what the network computes, and how that is read.
PARTS = ("kind", "process", "unet", "classifier", "distillation", "noised")
KEYS = ("dtype", "shape", "data_offsets")  # of a tensor in the header of safetensors
TOGETHER = 1 << 20  # bytes read at a time


def identify(path: Path) -> str:
    """Return the hash of a model; of a foreign file that of its bytes.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    if path.suffix in FOREIGN:
        return sha256(path)
    recipe = metadata_of(path).recipe  # after which the header is known to be sound
    parts = {name: recipe[name] for name in PARTS if name in recipe}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(length), MOST_HEADER)
        tensors = {name: each for name, each in header.items() if name != "__metadata__"}
        stored = {name: [each[key] for key in KEYS] for name, each in tensors.items()}
        digest = hashlib.sha256(json.dumps([parts, stored], sort_keys=True).encode())
        while block := file.read(TOGETHER):
            digest.update(block)
    return digest.hexdigest()
