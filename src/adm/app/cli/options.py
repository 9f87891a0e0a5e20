"""Options that several verbs have: str -> their types, with the help of each."""

from typing import Annotated, Literal

from cyclopts import Parameter

FLAG = Parameter(negative="", show_default=False)
DEFAULT_FEATURES = "inception"
FEATURES = Parameter(
    help="Features to compare images by: inception, efficientnet-lite0, dinov2, clip, a "
    "classifier's file or module:function; see docs/concepts/features.md."
)
THEIR_FEATURES = Parameter(
    help=f"{FEATURES.help} Those of the reference by default, if they come with adm."
)
Model = Annotated[
    str, Parameter(help="A path (a file or a run folder) or a shipped name, such as fashion.")
]
Classifier = Annotated[
    str | None,
    Parameter(
        help="Classifier for guidance: path or shipped name; by default the one that belongs to "
        "the model."
    ),
]
Weak = Annotated[
    str | None, Parameter(help="Worse model of the same images, for --guide weak:scale=1.5.")
]
Device = Annotated[
    str | None, Parameter(help="cpu, cuda, cuda:1 or mps; by default the best available.")
]
Labels = Annotated[
    str | None,
    Parameter(
        help="Source of the labels: folders (the default), prefix (as in dog_0001.png), none, or a "
        "CSV or JSON file."
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
