"""Folder -> crops of scikit-image's pictures in it: a small data set of colour photographs.

    pip install scikit-image
    python tools/example.py --out photos

The images are 2,200 of six classes, 64x64, in train/CLASS and test/CLASS; nothing is downloaded.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from adm.store.files import new_folder

# Class -> the function of `skimage.data` whose picture scikit-image contains; none is downloaded.
PICTURES = {
    "astronaut": "astronaut",
    "cat": "chelsea",
    "coffee": "coffee",
    "galaxies": "hubble_deep_field",
    "retina": "retina",
    "tissue": "immunohistochemistry",
}
SHORT = 384  # pixels of the shorter side of a picture, before it is cut
CROP, SIDE = 96, 64  # pixels of a crop, as cut and as written
STRIDE = 12  # pixels between crops
TEST_EVERY = 3  # of the bands of a picture, each `CROP` pixels wide, the third is for testing
QUALITY = 92  # of the JPEG files


def write_example(out: Path) -> int:
    """Write the folders train/CLASS and test/CLASS of JPEG files, 64x64, in colour.

    The crops of a picture overlap, but those of train do not overlap with those of test.

    Args:
        out: the folder to create; absent or empty.

    Returns:
        The number of images.

    Raises:
        ValueError: scikit-image is not installed.
        FileExistsError: `out` is a file, or contains files.
    """
    try:
        from skimage import data
    except ImportError:
        raise ValueError(
            "the example is cut from the pictures of scikit-image, which is not installed; "
            "pip install scikit-image"
        ) from None
    count = 0
    with new_folder(out) as folder:
        for name, function in PICTURES.items():
            whole = Image.fromarray(np.asarray(getattr(data, function)())).convert("RGB")
            factor = SHORT / min(whole.size)
            size = (round(whole.width * factor), round(whole.height * factor))
            picture = whole.resize(size, Image.Resampling.LANCZOS)
            for split, left, top in places(picture.width, picture.height):
                place = folder / split / name
                place.mkdir(parents=True, exist_ok=True)
                crop = picture.crop((left, top, left + CROP, top + CROP))
                crop = crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                crop.save(place / f"{name}-{left:03d}-{top:03d}.jpg", quality=QUALITY)
                count += 1
    return count


def places(width: int, height: int) -> Iterator[tuple[str, int, int]]:
    """Yield split, left and top of every crop of a picture.

    The picture is cut into bands from left to right, as wide as a crop. A crop for testing lies
    within one band, and a crop for training within the bands between two of those.
    """
    for left in range(0, width - CROP + 1, STRIDE):
        first, last = left // CROP, (left + CROP - 1) // CROP
        tests = [band for band in range(first, last + 1) if band % TEST_EVERY == TEST_EVERY - 1]
        if tests and first != last:
            continue
        for top in range(0, height - CROP + 1, STRIDE):
            yield "test" if tests else "train", left, top


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    try:
        count = write_example(args.out)
    except (ValueError, OSError) as error:
        print(f"example: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {count:,} images of {len(PICTURES)} classes, in train/ and test/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
