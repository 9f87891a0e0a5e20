"""Words of the command line -> values of the options that several verbs have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Parameter, Token, convert

from adm.data.naming import at_home


def converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert as cyclopts does, with ~ in a path expanded, which the shell leaves in --out=~/x."""
    if Path in (type_, *get_args(type_)):
        return at_home(tokens[0].value)
    return convert(type_, tokens)


def _parts(type_: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    parts = [part.strip() for token in tokens for part in token.value.split(",")]
    if not all(parts):
        raise ValueError("a value is empty; separate values by single commas")
    return tuple(parts)


def _size(type_: Any, tokens: Sequence[Token]) -> tuple[int, int]:
    sides = [int(side) for side in re.findall(r"\d+", tokens[0].value)]
    if not re.fullmatch(r"\d+([,x]\d+)?", tokens[0].value) or 0 in sides:
        raise ValueError("expected one number or two, as in 64 or 48,64")
    return sides[0], sides[-1]


Size = Annotated[tuple[int, int] | None, Parameter(converter=_size, n_tokens=1, negative="")]
SEPARATED = Parameter(converter=_parts, negative="")  # several values, with commas between
SEVERAL = Parameter(negative="", show_default=False)  # each value has the option before it
FLAG = Parameter(negative="", show_default=False)
FEATURES = Parameter(
    help="Features to compare images by; `adm help features` lists them. By default inception, or "
    "efficientnet-lite0 if that alone is installed."
)
THEIR_FEATURES = Parameter(
    help=f"{FEATURES.help} A file of `adm reference` has its own, if they come with adm."
)
Model = Annotated[
    str, Parameter(help="A path (a file or a run folder) or a shipped name, such as fashion.")
]
Device = Annotated[
    str | None, Parameter(help="cpu, cuda, cuda:1 or mps; by default the best available.")
]
Labels = Annotated[
    str | None,
    Parameter(
        help="Source of the labels: folders (the default), prefix (as in dog_0001.png), none, or a "
        "CSV file."
    ),
]
Split = Annotated[
    Literal["train", "test"],
    Parameter(help="Split of real images, if their data set has several."),
]
Resize = Annotated[
    Literal["to-reference", "none"] | None,
    Parameter(
        help="For images of another size than those of the reference or the data: to-reference "
        "resizes them; none leaves both to the preprocessing of the features."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are opened, and how their features are extracted.

    Parameters
    ----------
    size
        Image size: H,W, HxW or one number. Image files are resized and cropped to it, and smaller
        arrays of real images are padded. By default image files are of the size of the samples.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files, and unchanged for arrays.
    work
        Folder that caches the features of every image, so that the command resumes; it must be on a
        disk that all machines share. Other commands with the same folder reuse the features of the
        same images. By default it is beside --out, and removed at the end.
    batch_size
        Images per batch. It affects memory use and speed, and results only by rounding.
    """

    split: Split = "train"
    size: Size = None
    channels: int | None = None
    work: Path | None = None
    batch_size: int = 64
    device: Device = None

    @property
    def form(self) -> dict[str, Any]:
        """Arguments of `open_images`, by name."""
        return {"size": self.size, "channels": self.channels}


IMAGES = ImageOptions()
