"""a trained model, new classes -> a network that starts from it, each class by its name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adm.files import sha256
from adm.models.load import read
from adm.networks import ClassifierConfig, UNetConfig, on_meta, shapes_of
from adm.recipes.schema import Recipe

MOST_NAMED = 12  # classes listed in a line of the report


@dataclass(frozen=True)
class Started:
    """How a network came to its start.

    Attributes:
        lines: what was kept, new, dropped and renamed, to be shown.
        origin: the model, for the record: its recipe's name, its file's sha256, its steps.
    """

    lines: tuple[str, ...]
    origin: dict[str, Any]


class Plan(NamedTuple):
    """Classes by name; `rows` has the old row of each new class, None where it had none."""

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
    """Fill a network with a model's weights, in place.

    Rows of classes that the model knows by name are kept: of the U-Net's label embedding, or of the
    classifier's logits. A new class starts at the mean of the old ones; where the old model had no
    classes, at zero, so that every class starts as the old model. A network without classes starts
    as the old model without labels.

    Args:
        network: as `build.network(recipe)` makes it.
        classes: of the new data, in the order of its labels; ignored by a network without any.
        model: a path, a run's folder, a shipped name, or a released file, whose classes are called
            by their numbers, "0" to "999".
        renamed: name in the old model -> name in `classes`.

    Raises:
        ValueError: no such model, a network of another shape (names the settings that differ), or
            a class renamed that is not there, or two to one name.
    """
    path, weights, old_recipe, metadata = read(model)
    old, new = old_recipe.config, recipe.config
    _check_same_network(old_recipe, recipe, path)
    if new.classes and len(classes) != new.classes:
        raise ValueError(f"{len(classes)} classes for a network of {new.classes}; set both alike")
    old_classes = tuple(metadata["classes"]) if old.classes else ()
    plan = planned(old_classes, tuple(classes) if new.classes else (), renamed or {})
    by_class = _rows_of_classes(new if new.classes else old)
    filled = dict(_filled(network, weights, by_class, plan))
    if shapes_of(filled) != shapes_of(dict(network.named_parameters())):
        raise ValueError(f"the weights in {path} are not those of its own recipe; it is damaged")
    for name, parameter in network.named_parameters():
        parameter.copy_(filled[name])
    step = metadata.get("step")
    origin = {"model": old_recipe.name, "sha256": sha256(path), "step": step}
    if renamed:
        origin["renamed"] = dict(renamed)
    lines = (f"starting from {path}", *_differences_told(old_recipe, recipe), *_told(plan, renamed))
    return Started(lines, origin)


def planned(old: tuple[str, ...], new: tuple[str, ...], renamed: Mapping[str, str]) -> Plan:
    """Which row of the old classes each new one starts from.

    Raises:
        ValueError: a renamed class is not there, or two are to have one name.
    """
    for before, after in renamed.items():
        _check_known(before, old, f"the model has no class {before!r} to rename")
        _check_known(after, new, f"the data has no class {after!r} to rename {before!r} to")
    names = [renamed.get(name, name) for name in old]
    for after in renamed.values():
        if names.count(after) > 1:
            both = " and ".join(
                repr(name) for name, now in zip(old, names, strict=True) if now == after
            )
            raise ValueError(
                f"{both} would both be called {after!r}; rename one of them to another class"
            )
    return Plan(old, new, tuple(names.index(name) if name in names else None for name in new))


def _filled(
    network: nn.Module, weights: dict[str, Tensor], by_class: set[str], plan: Plan
) -> Iterator[tuple[str, Tensor]]:
    """Every parameter of the new network, as far as the old model tells it."""
    for name, parameter in network.named_parameters():
        if name not in by_class:
            if name in weights:
                yield name, weights[name]
        elif name in weights:
            yield name, _rows(weights[name], plan)
        else:  # no labels before: adding zero changes nothing
            yield name, torch.zeros_like(parameter)


def _rows(old: Tensor, plan: Plan) -> Tensor:
    mean = old.mean(dim=0)
    return torch.stack([mean if row is None else old[row] for row in plan.rows])


def _rows_of_classes(config: UNetConfig | ClassifierConfig) -> set[str]:
    """The parameters that have a row a class: those that change with their number."""
    if config.classes is None:
        return set()
    now = shapes_of(on_meta(config).state_dict())
    more = shapes_of(on_meta(replace(config, classes=config.classes + 1)).state_dict())
    return {name for name in now if now[name] != more[name]}


def _check_same_network(old: Recipe, new: Recipe, path: Path) -> None:
    """Raise ValueError where weights would mean something else, or have another shape."""
    if old.makes != new.makes:
        raise ValueError(
            f"{path} is {old.makes} and the recipe trains {new.makes}; start from another model"
        )
    free = {"classes", "dropout"}
    if getattr(new.config, "pool", None) != "attention":
        free.add("size")  # only the attention pool knows positions
    differences = [
        f"{new.section}.{name} is {_plain(before)} in the checkpoint and {_plain(now)} here"
        for name, before, now in _differences(old.config, new.config)
        if name not in free
    ]
    if differences:
        raise ValueError(
            f"{path} is of another network: {'; '.join(differences)}. Set them as in the "
            "checkpoint, or give the model itself as the recipe"
        )


def _differences(old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two settings of one type differ."""
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now:
            yield field.name, before, now


def _differences_told(old: Recipe, new: Recipe) -> Iterator[str]:
    """Settings that weights of the same shape were not trained for."""
    for name, before, now in _differences(old.process, new.process):
        yield (
            f"process.{name} is {_plain(before)} in the checkpoint and {_plain(now)} here: "
            "the network has to learn it anew"
        )


def _plain(value: Any) -> str:
    """Return a value in the form that `override` parses."""
    if is_dataclass(value):
        (field,) = fields(value)
        return f"{getattr(value, field.name)} {field.name}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def _check_known(name: str, known: Sequence[str], refusal: str) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5) or known[:MOST_NAMED]
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "there are none"
        raise ValueError(f"{refusal}; {hint}")


def _told(plan: Plan, renamed: Mapping[str, str] | None) -> Iterator[str]:
    """What became of the classes, a line each."""
    if not plan.new:
        yield "no classes here: the model as it is without labels" if plan.old else "no classes"
        return
    if not plan.old:
        yield f"the model had no classes: each of {len(plan.new)} starts as the model itself"
        return
    kept = [name for name, row in zip(plan.new, plan.rows, strict=True) if row is not None]
    fresh = [name for name in plan.new if name not in kept]
    used = {row for row in plan.rows if row is not None}
    dropped = [name for row, name in enumerate(plan.old) if row not in used]
    pairs = [f"{before} -> {after}" for before, after in (renamed or {}).items()]
    for what, names in {
        "kept": kept,
        "renamed": pairs,
        "new, at the mean of the old": fresh,
        "dropped": dropped,
    }.items():
        if names:
            yield f"classes {what}: {_listed(names)}"
    if not kept:
        yield ("no class has a name of the model's; pass renamed={'old': 'new'} to match them")


def _listed(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
