"""Shipped models -> their model cards in docs/models/, and pictures in docs/images/models/.

    python tools/cards.py

writes all of them again, in a minute, after a model was trained anew.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import adm
from adm.generation.pretrained import Pretrained
from adm.metrics import METRICS, Score
from adm.models.identity import identify
from adm.models.load import load_any
from adm.models.named import NamedModel, named_models
from adm.models.pair import classifier_of, weak_of
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel
from adm.scoring.report import Report
from adm.store.files import write_bytes, write_text
from adm.store.parsed import read_json

DOCS = Path(__file__).parent.parent / "docs"
COUNT, COUNT_LARGE = 16, 9  # images in a picture; those of an upsampler
PAGES = {  # model -> the pages with its measurements
    "fashion": "[results](../results/results.md) and [scale by scale](../results/sweep.md)",
    "fashion-fast": "[distillation](../howto/distil.md) and [results](../results/results.md)",
    "fashion-unlabelled": "[guidance without labels](../howto/without-labels.md)",
    "emoji": "[results](../results/results.md) and [emoji](../results/emoji.md)",
    "emoji-fast": "[distillation](../howto/distil.md) and [results](../results/results.md)",
    "emoji-upsampler": "[results](../results/results.md) and [emoji](../results/emoji.md)",
    "emoji-weak": "[guidance](../howto/guide.md#a-weak-model), of [emoji](emoji.md) with it",
}
ROWS = {  # of docs/results/results.md
    "fashion": "fashion/guided-few",
    "fashion-fast": "fashion/student",
    "emoji": "emoji/autoguided",
    "emoji-fast": "emoji/student",
    "emoji-upsampler": "emoji/cascade",
}
FEATURES = "efficientnet-lite0"  # of the scores that are shown
SAMPLING = ("sampler", "grid", "guide", "precision", "seed")  # shown with them


def describe(name: str) -> Pretrained:
    """Return what a shipped model's repository would hold; an upsampler enlarges its model's."""
    model = load_any(name, "cpu")
    if isinstance(model, ClassifierModel):
        return Pretrained(model)
    if model.recipe.data.low_res is None:
        return adm.load(name, device="cpu").pretrained(COUNT)
    base = name.removesuffix("-upsampler")
    both = adm.load(base, upsampler=name, device="cpu")
    return Pretrained(model, model.recipe.sample, samples=both.sample(count=COUNT_LARGE))


def scores(name: str) -> Report | None:
    """Return the scores of a row of results.md, if they are of the model as it is now."""
    row = DOCS / "results" / f"{ROWS.get(name)}.json"
    if not row.exists():
        return None
    stored = read_json(row)
    if stored["made"]["model"]["sha256"] != identify(SHIPPED / f"{name}.safetensors"):
        return None
    kept = {key: each for key, each in stored["scores"][FEATURES].items() if key in METRICS}
    values = {key: Score(**each) for key, each in kept.items()}
    sampling = {key: stored["made"]["sampling"][key] for key in SAMPLING}
    return Report(FEATURES, values, {"count": stored["count"], **sampling})


def write(each: NamedModel) -> None:
    pretrained = describe(each.name)
    picture = f"images/models/{each.name}.png"
    if pretrained.samples is not None:
        write_bytes(DOCS / picture, pretrained.picture())
    report = scores(each.name)
    more = f"Measured in {PAGES[each.name]}." if each.name in PAGES else ""
    if report is not None:
        more += f" [All scores](../results/{ROWS[each.name]}.json)."
    text = replace(pretrained, report=report).card(each.name, f"../{picture}", more)
    write_text(DOCS / "models" / f"{each.name}.md", text)


def index(models: list[NamedModel]) -> Iterator[str]:
    """Yield the lines of the list of all cards."""
    yield from ("# Models that are shipped", "")
    yield "`adm models` lists them, and those that others released. `make cards` writes this page."
    yield from ("", "| model | MB | what it is |", "|---|---|---|")
    for each in models:
        linked = each.use
        for guide in filter(None, (classifier_of(each.name), weak_of(each.name))):
            linked = linked.replace(str(guide), f"[{guide}]({guide}.md)")
        yield f"| [{each.name}]({each.name}.md) | {each.bytes / 1e6:.1f} | {linked} |"
    yield from ("", "<!-- adm: pages -->")  # of this folder, in the site's list


def main() -> None:
    shipped = [each for each in named_models() if (SHIPPED / f"{each.name}.safetensors").is_file()]
    for each in shipped:
        write(each)
    write_text(DOCS / "models" / "README.md", "\n".join(index(shipped)) + "\n")


if __name__ == "__main__":
    main()
