"""Released file -> its name and weights; released state dict <-> ours: names, rows of attention.

Both directions need the configuration, because shapes do not determine the number of heads. Neither
reads values, so that networks of any size can be checked with meta tensors.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from adm.models.pickled import read_tensors
from adm.networks import Config, Shapes, UNetConfig, differing_tensors, on_meta, shapes_of
from adm.networks.blocks import Attention
from adm.recipes.released import RELEASED, public_name
from adm.shown import abbreviated, shown_path
from adm.spec import SettingError, literal, written

MOST_NAMED = 3  # tensors in a message
# Ours -> released, matched in order: PLACES at the start of a name, then LAYERS within it. The
# resize of a decoder stage is not listed: its released number depends on whether attention precedes
# it.
PLACES = (
    (r"step_embedding\.", "time_embed."),
    (r"label_embedding\.", "label_emb."),
    (r"encoder\.stages\.(\d+)\.block\.conv\.", r"input_blocks.\1.0.op."),
    (r"encoder\.stages\.(\d+)\.block\.", r"input_blocks.\1.0."),
    (r"encoder\.stages\.(\d+)\.attention\.", r"input_blocks.\1.1."),
    (r"encoder\.middle_in\.", "middle_block.0."),
    (r"encoder\.middle_attention\.", "middle_block.1."),
    (r"encoder\.middle_out\.", "middle_block.2."),
    (r"decoder\.(\d+)\.block\.", r"output_blocks.\1.0."),
    (r"decoder\.(\d+)\.attention\.", r"output_blocks.\1.1."),
    (r"head\.pool\.positions", "out.2.positional_embedding"),
    (r"head\.pool\.qkv\.", "out.2.qkv_proj."),
    (r"head\.pool\.out\.", "out.2.c_proj."),
    (r"head\.pool\.1\.", "out.3."),
    (r"head\.norm\.", "out.0."),
    (r"head\.layers\.", "out."),
    (r"head\.", "out."),
)
LAYERS = (
    (r"\.norm_in\.", ".in_layers.0."),
    (r"\.conv_in\.", ".in_layers.2."),
    (r"\.embedding\.", ".emb_layers.1."),
    (r"\.norm_out\.", ".out_layers.0."),
    (r"\.conv_out\.", ".out_layers.3."),
    (r"\.skip\.", ".skip_connection."),
    (r"\.out\.", ".proj_out."),
)

PAIRS = re.compile(r"(input_blocks|middle_block|output_blocks)\..*\.(qkv|proj_out)\.weight$")
LAST_BIASES = (
    "out.2.c_proj.bias",
    "out.3.bias",
    "out.2.bias",
)  # the last bias of every network is one of these


@lru_cache(maxsize=32)
def released_names(config: Config) -> dict[str, str]:
    """Return our name -> released name of every tensor, in the order of the released file.

    Raises:
        ValueError: the released system does not support this network.
    """
    for field, released in (("norm_groups", 32), ("rescale_residual", False)):
        if (own := getattr(config, field)) != released:
            setting = f"{'unet' if isinstance(config, UNetConfig) else 'classifier'}.{field}"
            raise ValueError(
                f"the released networks have {setting}={written(released)}, and this one has "
                f"{written(own)}; write it as .safetensors or for diffusers, or train it with "
                f"--set {setting}={written(released).lower()}"
            )
    names = list(on_meta(config).state_dict())
    attends = {
        match[1] for name in names if (match := re.match(r"decoder\.(\d+)\.attention", name))
    }
    return {name: _released(name, attends) for name in names}


def _released(name: str, attends: set[str]) -> str:
    def resize(match: re.Match[str]) -> str:
        return f"output_blocks.{match[1]}.{2 if match[1] in attends else 1}."

    renamed = re.sub(r"^decoder\.(\d+)\.resize\.", resize, name)
    for pattern, place in PLACES:
        renamed, count = re.subn(f"^{pattern}", place, renamed)
        if count:
            break
    for pattern, layer in LAYERS:
        renamed = re.sub(pattern, layer, renamed)
    return renamed


def import_state(
    state: Mapping[str, Tensor], config: Config, legacy_attention_order: bool = True
) -> dict[str, Tensor]:
    """Convert released weights to ours, for `load_state_dict`.

    Args:
        state: released names and tensors, in any order, of any dtype, on any device. Convolutions
            of attention may have one dimension or two.
        config: the configuration of the network.
        legacy_attention_order: whether the rows of every qkv are grouped by head (queries, keys and
            values of the first head, then of the second, ...) rather than all queries first. False
            for a model trained with `use_new_attention_order`. The attention pool never has the
            legacy order.

    Raises:
        ValueError: names or shapes differ from those of the network; names the settings.
    """
    names = released_names(config)
    state = flatten_attention(state)
    check(shapes_of(state), released_shapes(config))
    ours = {name: state[released] for name, released in names.items()}
    return _reorder(ours, config, by_head=True) if legacy_attention_order else ours


def flatten_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights whose convolutions of attention have one dimension, as guided-diffusion's."""
    return {
        name: tensor.squeeze(-1) if PAIRS.search(name) and tensor.ndim == 4 else tensor
        for name, tensor in state.items()
    }


def export_state(
    state: Mapping[str, Tensor],
    config: Config,
    legacy_attention_order: bool = True,
    flat_attention: bool = True,
) -> dict[str, Tensor]:
    """Convert our weights to released names, in the order of a released file.

    It is the inverse of `import_state`.

    Args:
        flat_attention: whether the convolutions of attention have one dimension, and not two.

    Raises:
        ValueError: the weights are not of this network, or the released system does not support it.
    """
    names = released_names(config)
    if missing := sorted(names.keys() ^ state.keys()):
        raise ValueError(
            "these weights are not of this configuration, only one of which has "
            f"{abbreviated(missing, MOST_NAMED)}; give the configuration they were trained with"
        )
    if legacy_attention_order:
        state = _reorder(state, config, by_head=False)
    exported = {released: state[name] for name, released in names.items()}
    if flat_attention:
        return exported
    return {
        name: tensor.unsqueeze(-1) if PAIRS.search(name) else tensor
        for name, tensor in exported.items()
    }


def _reorder(state: Mapping[str, Tensor], config: Config, by_head: bool) -> dict[str, Tensor]:
    """Group the rows of every qkv by part instead of by head, if `by_head`; otherwise back."""

    def regrouped(rows: Tensor, heads: int) -> Tensor:
        sizes = (heads, 3, -1) if by_head else (3, heads, -1)
        return rows.unflatten(0, sizes).transpose(0, 1).flatten(0, 2)

    heads = {
        f"{name}.qkv.{kind}": module.heads
        for name, module in on_meta(config).named_modules()
        if isinstance(module, Attention)
        for kind in ("weight", "bias")
    }
    return {
        name: regrouped(tensor, heads[name]) if name in heads else tensor
        for name, tensor in state.items()
    }


@lru_cache(maxsize=32)
def released_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return released name -> shape, in the order of the released file."""
    shapes = shapes_of(on_meta(config).state_dict())
    return {released: shapes[name] for name, released in released_names(config).items()}


def check(got: Shapes, expected: Shapes) -> None:
    """Raise ValueError, naming the settings that differ, unless names and shapes are equal."""
    if differing := differences(got, expected):
        raise ValueError(
            f"these weights belong to another network: {'; '.join(differing)}; "
            "give the flags they were trained with"
        )


def differences(got: Shapes, expected: Shapes) -> list[str]:
    """Describe the settings in which two networks differ, or else their tensors."""
    if got == expected:
        return []
    ours, theirs = visible_settings(got), visible_settings(expected)
    return [
        f"{name}: {ours[name]}, expected {theirs[name]}"
        for name in ours
        if ours[name] != theirs[name]
    ] or [differing_tensors(got, expected)]


def visible_settings(shapes: Shapes) -> dict[str, object]:
    """Return the settings that the names and shapes of a released network determine.

    The number of heads is not among them.

    Raises:
        ValueError: the names are not those of a released network.
    """
    if "time_embed.0.weight" not in shapes or "input_blocks.0.0.weight" not in shapes:
        raise ValueError(
            "not the weights of a released network: they hold "
            f"{abbreviated(sorted(shapes), MOST_NAMED) or 'nothing'}; give a .pt file of "
            "guided-diffusion"
        )
    blocks = {
        int(match[1]): _side(shapes, name, 0)
        for name in shapes
        if (match := re.fullmatch(r"input_blocks\.(\d{1,4})\.0\.out_layers\.3\.weight", name))
    }
    embedding = _side(shapes, "middle_block.0.emb_layers.1.bias", 0) or 0
    unet = any(name.startswith("output_blocks.") for name in shapes)
    last = next((name for name in LAST_BIASES if name in shapes), "")
    return {
        "kind": "U-Net" if unet else "classifier",
        "channels": _side(shapes, "time_embed.0.weight", -1),
        "input channels": _side(shapes, "input_blocks.0.0.weight", 1),
        "outputs": _side(shapes, last, 0),
        "label classes": _side(shapes, "label_emb.weight", 0),
        "block widths": tuple(width for _, width in sorted(blocks.items())),
        "attention after block": tuple(
            i for i in blocks if f"input_blocks.{i}.1.qkv.weight" in shapes
        ),
        "AdaGN": embedding == 2 * (_side(shapes, "middle_block.0.out_layers.0.bias", 0) or 0),
        "learned resampling": any(".0.op." in name for name in shapes),
    }


def _side(shapes: Shapes, name: str, dimension: int) -> int | None:
    """Return a side of a tensor, or None if there is none."""
    shape = shapes.get(name, ())
    return shape[dimension] if -len(shape) <= dimension < len(shape) else None


def recognise(shapes: Shapes) -> tuple[str, ...]:
    """Return the released files that have exactly these names and shapes.

    There may be several: the unconditional ImageNet model and the four LSUN models have the same
    shapes, and differ only in dropout, which sampling does not use. The number of heads does not
    affect shapes, so a custom network that differs only in it is taken for the released one.

    Raises:
        ValueError: there is none; names the nearest and the settings in which it differs.
    """
    expected = {name: released_shapes(known.config) for name, known in RELEASED.items()}
    if names := tuple(name for name in RELEASED if expected[name] == shapes):
        return names
    differing = {name: differences(shapes, expected[name]) for name in RELEASED}
    nearest = min(differing, key=lambda name: len(differing[name]))
    raise ValueError(
        f"no released file has these weights; compared with {nearest}: "
        f"{'; '.join(differing[nearest])}; give the flags they were trained with"
    )


def load_released(path: Path, file: str | None = None) -> tuple[str, dict[str, Tensor]]:
    """Read a released file, without running code from it.

    Args:
        path: a `.pt` file with a state dict.
        file: its name among the released files; by default what the weights determine.

    Returns:
        Its name among the released files, and its weights by our names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds anything but weights, the weights of another
            network, or those of one of several that differ in more than their weights.
    """
    try:
        state = flatten_attention(read_tensors(path))
    except ValueError:
        check_whole(path, file or path.name)
        raise
    file = file or one_of(recognise(shapes_of(state)), path)
    known = RELEASED[file]
    return file, import_state(state, known.config, known.legacy_attention_order)


def check_whole(path: Path, file: str) -> None:
    """Raise ValueError if a file has the name of a released one, and fewer bytes than its weights.

    Truncated downloads are a known trouble (openai/guided-diffusion, issue 149).
    """
    if file not in RELEASED or not path.is_file():
        return
    least, size = RELEASED[file].least_bytes, path.stat().st_size
    if size < least:
        raise ValueError(
            f"{path} was cut off: it has {size:,} bytes, and {file} has {least:,} or more; "
            f"download it again, or use the name {public_name(file)}"
        )


def one_of(names: tuple[str, ...], path: Path) -> str:
    """Return the released file that a file is: that of its own name, or the first of those alike.

    Raises:
        SettingError: they are sampled in different ways, and the file has another name.
    """
    if path.name in names:
        return path.name
    ways = {(RELEASED[name].process, RELEASED[name].legacy_attention_order) for name in names}
    if len(ways) > 1:
        files = " or ".join(map(public_name, names))
        raise SettingError(
            "as",
            f"{literal(shown_path(path))} may be {files}, which are sampled in different ways; "
            "name the file as it was released, or convert it: adm convert FILE --as NAME",
        )
    return names[0]
