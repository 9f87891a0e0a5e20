"""Network, Recipe, classes, pretrained model -> Started; the network is filled in place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adm.models.identity import identify
from adm.models.load import read
from adm.networks import SILENT, ClassifierConfig, UNetConfig, on_meta, shapes_of
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.shown import abbreviated, shown, shown_path
from adm.spec import SettingError, differences, literal, out_of_range, written
from adm.training.model_file import check_finite

MOST_NAMED = 12  # classes listed in one line of the report


@dataclass(frozen=True)
class Started:
    """The report of an initialization from a pretrained model.

    Attributes:
        lines: the classes kept, renamed, new and dropped, as lines to print.
        origin: the recipe's name, the SHA-256 of the file and the steps of the pretrained model.
    """

    lines: tuple[str, ...]
    origin: dict[str, Any]


class Plan(NamedTuple):
    """Classes by name; `rows` has the old row of each new class, None for a class without one."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    rows: tuple[int | None, ...]


@torch.no_grad()
def start_from(
    network: nn.Module,
    recipe: Recipe,
    classes: Sequence[str],
    model: str | Path,
    renamed: Mapping[str, str] | None = None,
) -> Started:
    """Fill a network with the weights of a pretrained model, in place.

    Rows of the U-Net's label embedding, or of the classifier's logits, are matched by the name of
    the class. A new class has the mean of the old rows, or zero if the pretrained model has no
    classes, so that every class is the pretrained model at first. A network without classes is the
    pretrained model without labels.

    Args:
        network: a network of `build.network(recipe)`.
        recipe: the recipe of the new run.
        classes: classes of the new data, in the order of the labels; ignored by a network without
            classes.
        model: a path, a run folder, a shipped name, or a released file, whose classes have the
            names "0" to "999".
        renamed: name in the pretrained model -> name in `classes`.

    Raises:
        ValueError: there is no such model, its network has another shape (names the settings that
            differ), a renamed class does not exist, or two classes get one name.
    """
    path, weights, old_recipe, metadata = read(model)
    _check_same_network(old_recipe, recipe, path)
    old, new = old_recipe.config, recipe.config
    if new.classes and len(classes) != new.classes:
        raise out_of_range("classes", f"{new.classes} names, one for each class", classes)
    old_classes = metadata.classes if old.classes else ()
    plan = match_classes(old_classes, tuple(classes) if new.classes else (), renamed or {})
    by_class = _rows_of_classes(new if new.classes else old)
    filled = dict(_fill(network, weights, by_class, plan))
    if shapes_of(filled) != shapes_of(dict(network.named_parameters())):
        raise ValueError(f"the weights in {path} do not match its recipe; the file is damaged")
    check_finite(path, filled, "copy it again, or give an earlier checkpoint")
    for name, parameter in network.named_parameters():
        parameter.copy_(filled[name])
    origin = {"model": old_recipe.name, "sha256": identify(path), "step": metadata.step}
    if renamed:
        origin["renamed"] = dict(renamed)
    lines = (
        f"starting from {path}",
        *_process_notes(old_recipe, recipe),
        *_class_notes(plan, renamed),
    )
    return Started(lines, origin)


def match_classes(old: tuple[str, ...], new: tuple[str, ...], renamed: Mapping[str, str]) -> Plan:
    """Match new classes to rows of the old ones, by name.

    Raises:
        ValueError: a renamed class does not exist, or two classes get one name.
    """
    for before, after in renamed.items():
        _check_known(before, old, "the model")
        _check_known(after, new, "the data")
    names = [renamed.get(name, name) for name in old]
    for after in renamed.values():
        if names.count(after) > 1:
            both = " and ".join(
                repr(name) for name, now in zip(old, names, strict=True) if now == after
            )
            raise SettingError(
                "renamed",
                f"{literal(f'{both} would both be {after!r}')}; rename one to another class",
            )
    return Plan(old, new, tuple(names.index(name) if name in names else None for name in new))


def _fill(
    network: nn.Module, weights: dict[str, Tensor], by_class: set[str], plan: Plan
) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of the new network that the pretrained model determines."""
    for name, parameter in network.named_parameters():
        if name in weights:
            yield name, _rows(weights[name], plan) if name in by_class else weights[name]
        elif name in by_class:
            # A zero embedding leaves the pretrained model as it is.
            yield name, torch.zeros_like(parameter)
        elif name.startswith(SILENT):
            yield name, parameter.clone()


def _rows(old: Tensor, plan: Plan) -> Tensor:
    mean = old.mean(dim=0)
    return torch.stack([mean if row is None else old[row] for row in plan.rows])


def _rows_of_classes(config: UNetConfig | ClassifierConfig) -> set[str]:
    """Return the parameters with a row per class: their shape depends on the number of classes."""
    if config.classes is None:
        return set()
    now = shapes_of(on_meta(config).state_dict())
    more = shapes_of(on_meta(replace(config, classes=config.classes + 1)).state_dict())
    return {name for name in now if now[name] != more[name]}


def _check_same_network(old: Recipe, new: Recipe, path: Path) -> None:
    """Raise ValueError for another kind of network, or weights of another shape."""
    if old.makes != new.makes:
        raise SettingError(
            "pretrained",
            f"{literal(shown_path(path))} is {old.makes}, and the recipe trains {new.makes}; give "
            "one of that kind",
        )
    free = {"classes", "dropout"}
    if getattr(new.config, "pool", None) != "attention":
        free.add("size")  # only the attention pool has positions
    if set(getattr(old.config, "conditions", ())) <= set(getattr(new.config, "conditions", ())):
        free.add("conditions")  # a new one is without effect at first
    others = [
        f"{new.section}.{name} is {written(before)} in the checkpoint and {written(now)} here"
        for name, before, now in differences(old.config, new.config)
        if name not in free
    ]
    if old.data.channels != new.data.channels:
        raise ValueError(
            f"{path} has {old.data.channels} channels and the data have {new.data.channels}; set "
            f"data.channels={old.data.channels} to convert the images"
        )
    if others:
        raise ValueError(
            f"{path} is of another network: {'; '.join(others)}. Set the fields as in the "
            "checkpoint, or give the model as the recipe"
        )


def _process_notes(
    old: DiffusionRecipe | ClassifierRecipe, new: DiffusionRecipe | ClassifierRecipe
) -> Iterator[str]:
    """Yield a line for each field of the process that differs from the pretrained model's."""
    for name, before, now in differences(old.process, new.process):
        yield (
            f"process.{name} is {written(before)} in the checkpoint and {written(now)} here: "
            "the pretrained weights were not trained for it"
        )


def _check_known(name: str, known: Sequence[str], of: str) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5) or known[:MOST_NAMED]
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "it has no classes"
        what = f"{shown(name)}, which is no class of {of}; {hint}"
        raise SettingError("renamed", f"{{}} names {literal(what)}")


def _class_notes(plan: Plan, renamed: Mapping[str, str] | None) -> Iterator[str]:
    """Yield lines on the classes that were kept, renamed, new and dropped."""
    if not plan.new:
        yield (
            "no classes here: the network starts as the model without labels"
            if plan.old
            else "no classes"
        )
        return
    if not plan.old:
        yield f"the model has no classes: each of {len(plan.new)} starts as the model itself"
        return
    matched = [name for name, row in zip(plan.new, plan.rows, strict=True) if row is not None]
    fresh = [name for name in plan.new if name not in matched]
    used = {row for row in plan.rows if row is not None}
    dropped = [name for row, name in enumerate(plan.old) if row not in used]
    pairs = [f"{before} -> {after}" for before, after in (renamed or {}).items()]
    for what, names in {
        "kept": matched,
        "renamed": pairs,
        "new, at the mean of the old": fresh,
        "dropped": dropped,
    }.items():
        if names:
            yield f"classes {what}: {abbreviated(names, MOST_NAMED)}"
    if not matched:
        yield ("no class has a name of the model's; rename some to match them")
