"""name of a file or folder that an example reads, Path -> a small one of its kind.

Sizes are such that a command takes seconds: released files hold zeros of the released shapes, runs
are of small networks, and data sets have some dozen images. The weights of Inception are not free
to copy, so `stand_in.py` computes features of their name and number, by which files of the released
layout can be used.
"""

import csv
import gzip
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import tiny
import torch
from PIL import Image

from adm.app.scoring import make_reference, open_images
from adm.data import Source
from adm.data.fashion import STEMS, fashion_mnist
from adm.data.idx import FASHION_CLASSES
from adm.features import open_features
from adm.models.convert import released_shapes
from adm.recipes.released import RELEASED

STAND_IN = '''"""uint8 images (B, C, H, W) -> features (B, 2048), instead of Inception's."""

import torch
from torch.nn.functional import interpolate


def features(images):
    small = interpolate(images.float(), size=(8, 8), mode="area").mean(1).flatten(1) / 255
    weights = torch.randn(64, 2048, generator=torch.Generator().manual_seed(0))
    return (small.cpu() @ weights).relu()


features.name, features.dim, features.fingerprint = "inception", 2048, "stand-in"
'''
RUN = ("train.save_every_steps=20", "train.steps=20", "watch.images=0", "watch.validation_images=0")
GREY, COLOUR = "L", "RGB"
IMAGES_OF_A_CLASS = 12


class Given(NamedTuple):
    """What lies in the folder of a reader before a command.

    Attributes:
        name: of the file or folder, relative to the reader's folder.
        make: writes it to a path.
        beside: pattern that the command must contain, where a name stands for different things.
    """

    name: str
    make: Callable[[Path], object]
    beside: str = ""


class World:
    """The files that examples read, made when they are first needed."""

    def __init__(self, store: Path) -> None:
        """Keep them in `store`, to which folders of readers link."""
        self.store = store
        self._lock = Lock()

    def place(self, command: str, folder: Path, made: set[str]) -> None:
        """Put what `command` reads into `folder`, except for what earlier commands made there."""
        words = {part.rstrip("/") for word in command.split() for part in (word, *word.split(":"))}
        for name in sorted(words - made):
            fitting = [given for given in GIVEN if given.name == name]
            chosen = next((one for one in fitting if re.search(one.beside, command)), None)
            if chosen is not None:
                link = folder / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(self._made(chosen))

    def _made(self, given: Given) -> Path:
        path = self.store / str(GIVEN.index(given)) / Path(given.name).name
        with self._lock:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                given.make(path)
        return path


def released(path: Path) -> None:
    """A file of zeros under a released name: every tensor is one stored number, expanded."""
    shapes = released_shapes(RELEASED[path.name].config)
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, path)


def pictures(count: int, size: tuple[int, int], mode: str) -> list[Image.Image]:
    """Noise on blocks of different brightness."""
    random = np.random.default_rng(count)
    channels = len(mode)
    blocks = random.integers(0, 200, (count, 4, 4, channels), dtype=np.uint8)
    repeated = blocks.repeat(-(-size[0] // 4), axis=1).repeat(-(-size[1] // 4), axis=2)
    arrays = repeated[:, : size[0], : size[1]]
    arrays = arrays + random.integers(0, 50, arrays.shape, dtype=np.uint8)
    return [Image.fromarray(each.squeeze() if mode == GREY else each) for each in arrays]


def folder_of(
    classes: Sequence[str], size: tuple[int, int], mode: str, splits: Sequence[str] = ("",)
) -> Callable[[Path], None]:
    """A folder for each class, in train/ and test/ if these are the splits."""

    def make(path: Path) -> None:
        for split in splits:
            for name in classes:
                place = path / split / name
                place.mkdir(parents=True)
                for number, picture in enumerate(pictures(IMAGES_OF_A_CLASS, size, mode)):
                    picture.save(place / f"{number}.png")

    return make


def photos(path: Path) -> None:
    """Colour JPEG files of three classes, with a test split."""
    for split in ("train", "test"):
        for name in ("cat", "coffee", "galaxies"):
            place = path / split / name
            place.mkdir(parents=True)
            for number, picture in enumerate(pictures(40, (72, 64), COLOUR)):
                picture.save(place / f"{name}-{number:03d}.jpg")


def emoji(path: Path) -> None:
    """Colour images of two groups in two splits, and a list of their styles."""
    rows = [("file", "label")]
    for number, picture in enumerate(pictures(40, (64, 64), COLOUR)):
        style, split = ("google", "twitter")[number % 2], "test" if number % 5 == 0 else "train"
        place = path / split / ("flags" if number % 3 else "objects")
        place.mkdir(parents=True, exist_ok=True)
        rows.append((f"{style}-{number}.png", style))
        picture.save(place / rows[-1][0])
    with (path / "styles.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def archive(path: Path) -> None:
    """JPEG files whose names begin with their class."""
    with zipfile.ZipFile(path, "w") as file:
        for number, picture in enumerate(pictures(30, (72, 64), COLOUR)):
            with file.open(_photo(number), "w") as entry:
                picture.save(entry, "JPEG")


def labels_of_archive(path: Path) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows((_photo(number), number % 3) for number in range(30))


def _photo(number: int) -> str:
    return f"{('cat', 'dog', 'owl')[number % 3]}_{number:04d}.jpg"


def fashion_files(path: Path) -> None:
    """Some of Fashion-MNIST, as IDX files."""
    path.mkdir()
    for split, stem in STEMS.items():
        images, labels = fashion_mnist(split=split).batch(range(300))
        for what, array in (("images-idx3", images[:, 0].numpy()), ("labels-idx1", labels.numpy())):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            (path / f"{stem}-{what}-ubyte.gz").write_bytes(gzip.compress(content))


def images(count: int, size: tuple[int, int], mode: str, classes: int = 3) -> Callable:
    """An .npz file of images with labels, as samples are stored."""

    def make(path: Path) -> None:
        arrays = np.stack([np.array(each) for each in pictures(count, size, mode)])
        arrays = arrays[..., None] if mode == GREY else arrays
        np.savez(path, arr_0=arrays, arr_1=np.arange(count) % classes)

    return make


def sample_folder(
    size: tuple[int, int], mode: str, classes: Sequence[str] = ()
) -> Callable[[Path], None]:
    """The part of a sample folder by which it is recognised, and the names of its classes."""

    def make(path: Path) -> None:
        path.mkdir()
        images(24, size, mode, len(classes) or 3)(path / "samples.npz")
        if classes:
            (path / "samples.json").write_text(json.dumps({"classes": classes}))

    return make


def released_reference(side: int, mode: str = COLOUR) -> Callable[[Path], None]:
    """A reference in the released layout: Inception's statistics, and images."""

    def make(path: Path) -> None:
        features = np.random.default_rng(0).normal(size=(100, 2048)) ** 2
        spatial = features[:, :2023]
        arrays = np.stack([np.array(each) for each in pictures(40, (side, side), mode)])
        np.savez(
            path,
            arr_0=arrays[..., None] if mode == GREY else arrays,
            mu=features.mean(0).astype(np.float32),
            sigma=np.cov(features.T),
            mu_s=spatial.mean(0).astype(np.float32),
            sigma_s=np.cov(spatial.T),
        )

    return make


def reference(features: str) -> Callable[[Path], None]:
    """A reference file made of some of Fashion-MNIST."""

    def make(path: Path) -> None:
        files = path.parent / "fashion-files"
        fashion_files(files)
        source = open_images(f"fashion-mnist:{files}", split="test").source
        make_reference(source, open_features(features)).save(path)

    return make


def run_of(make_recipe: Callable, *settings: str, classes: int = 3, side: int = 8) -> Callable:
    """A run folder of a small network, with stored averages if the settings say so."""
    part = {tiny.classifier: "classifier", tiny.gan: "gan"}.get(make_recipe, "unet")

    def make(path: Path) -> None:
        names = FASHION_CLASSES if classes == 10 else tuple(map(str, range(classes)))
        noise = torch.randint(0, 256, (60, 1, side, side), generator=torch.Generator())
        source = Source(
            "noise", names, torch.arange(60) % classes, lambda index: noise[index].to(torch.uint8)
        )
        recipe = make_recipe(f"{part}.classes={classes}", f"data.size={side}", *RUN, *settings)
        tiny.steps(recipe, source, path)

    return make


_fashion_upsampler = run_of(
    lambda *settings: tiny.upsampler(*settings, "data.low_res=14"), classes=10, side=28
)
# Of several of one name, the first that suits the command is placed.
GIVEN = (
    *(Given(name, released) for name in RELEASED),
    Given("photos", photos),
    Given("emoji", emoji),
    Given("photos.zip", archive),
    Given("photos.csv", labels_of_archive),
    Given("garments", folder_of(("sneaker", "handbag", "dress"), (28, 28), GREY)),
    Given("mine", folder_of(("sneaker", "bag", "hat"), (28, 28), GREY)),
    Given("shoes", folder_of(("boot", "slipper", "sneaker"), (28, 28), GREY)),
    Given("imagenet", folder_of(("0", "1", "2"), (300, 320), COLOUR)),
    Given("fashion-files", fashion_files),
    Given("fashion-14.npz", images(60, (14, 14), GREY, classes=10)),
    Given("samples.npz", images(40, (256, 256), COLOUR), beside="imagenet256"),
    Given("samples.npz", images(40, (64, 64), COLOUR), beside="photos|imagenet"),
    Given("samples.npz", images(40, (28, 28), GREY)),
    Given("64_samples.npz", images(1, (64, 64), COLOUR)),
    Given("out/samples", sample_folder((64, 64), COLOUR), beside="photos|imagenet"),
    Given("out/samples", sample_folder((28, 28), GREY)),
    *(
        Given(f"out/{name}", sample_folder((28, 28), GREY, ("sandal", "bag")), beside="adm compare")
        for name in ("gan", "guided", "a", "b")
    ),
    Given("samples", sample_folder((28, 28), GREY)),
    Given("out/small", folder_of(("bag", "coat"), (14, 14), GREY)),
    Given("VIRTUAL_imagenet64_labeled.npz", released_reference(64)),
    Given("VIRTUAL_imagenet256_labeled.npz", released_reference(256)),
    Given("imagenet64.npz", released_reference(64)),
    Given("ref.npz", released_reference(28, GREY)),
    Given("fashion.npz", reference("efficientnet-lite0")),
    Given("a.npz", reference("efficientnet-lite0")),
    Given("b.npz", reference("fashion-judge")),
    Given("stand_in.py", lambda path: path.write_text(STAND_IN)),
    Given("runs/digits", run_of(tiny.diffusion, "train.ema_widths=0.05,0.1")),
    Given("runs/digits-classifier", run_of(tiny.classifier)),
    Given("runs/fashion-upsampler", _fashion_upsampler),
    Given("runs/fashion-14", run_of(tiny.diffusion, classes=10, side=14)),
    Given("runs/a", run_of(tiny.diffusion, classes=10, side=28)),
    Given("runs/biggan", run_of(tiny.gan, "gan.size=28", classes=10, side=28)),
    Given("runs/a-classifier", run_of(tiny.classifier, "classifier.size=28", classes=10, side=28)),
)
