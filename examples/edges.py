"""Folder of images -> folder of their edges, with the same names: data for `adm train --condition`.

    pip install "ablated-diffusion[example]"
    python examples/edges.py emoji edges

Edges are white on black, by the detector of Canny (1986) on the grey image.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.feature import canny

SIGMA = 1.0  # of the blur, in pixels; more leaves fewer edges


def edges(picture: Image.Image) -> Image.Image:
    """(W, H) of any mode -> (W, H) grey, of 0 and 255."""
    white = Image.new("RGBA", picture.size, "white")
    grey = Image.alpha_composite(white, picture.convert("RGBA")).convert("L")
    return Image.fromarray(canny(np.asarray(grey) / 255, SIGMA).astype(np.uint8) * 255)


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    for file in sorted(source.rglob("*.png")):
        target = out / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        edges(Image.open(file)).save(target)
