"""Path, run folder, shipped, released or hub name -> model file."""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from adm.adversarial import GENERATOR
from adm.data.naming import at_home
from adm.models import hub
from adm.recipes import RECIPES
from adm.recipes.released import OWNER, PUBLIC, RELEASED
from adm.spec import SettingError
from adm.store.fetch import fetch
from adm.store.files import user_cache
from adm.training.checkpoint import FOLDER, RUN, latest
from adm.training.model_file import damaged_metadata, metadata_of

FOREIGN = (".pt", ".pth")  # suffixes of files of `torch.save`
Kind = Literal["diffusion", "classifier", "gan"]
NAMED: dict[Kind, str] = {
    "diffusion": "a diffusion model",
    "classifier": "a classifier",
    "gan": "a GAN",
}
SHIPPED = Path(__file__).parent / "shipped"
WANTED = {**NAMED, None: "a model"}
MOST_OPENED = 5  # models beside a wrong path whose kind is read


def resolve(model: str | Path, kind: Kind | None = None) -> Path:
    """Return the model file of a path, a run folder, or a shipped, released or hub name.

    A shipped model is hidden by a run folder of its name, and not by another folder, such as one of
    data. A released file, `openai/256x256-diffusion`, is downloaded once, and verified; so is that
    of a repository of the Hugging Face hub, `hf:owner/name@revision`.

    Args:
        kind: the kind of model that an error suggests; None for both. It is not checked.

    Raises:
        ValueError: there is no such file; names similar models of this kind.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise SettingError("model", "a path or a shipped name such as fashion", model)
    path = at_home(model)
    if path.is_file():
        return path
    files = sorted(SHIPPED.glob("*.safetensors"), key=lambda file: file.stem)
    shipped = {file.stem: file for file in files}
    named = str(model) in shipped
    if path.is_dir() and (not named or is_of_run(path)):
        return _in_folder(path)
    if named:
        return shipped[str(model)]
    if str(model).startswith(f"{OWNER}/"):
        return released(str(model))
    if str(model).startswith(hub.PREFIX):
        return _in_folder(hub.snapshot(hub.Repository.parsed(str(model))))
    raise ValueError(_missing(str(model), path, [*_of_kind(shipped.values(), kind)], kind))


def released(name: str, download: bool = True) -> Path:
    """Return the path of a released file by its public name, in the user's cache.

    Args:
        download: whether to download the file if it is not there.

    Raises:
        ValueError: there is no such file, or it cannot be downloaded.
    """
    if name not in PUBLIC:
        near = get_close_matches(name, PUBLIC) or ["one that `adm models` lists"]
        raise ValueError(f"no released model {name!r}; did you mean {' or '.join(near)}?")
    file, cache = PUBLIC[name], user_cache("released")
    remote = RELEASED[file].remote(file)
    return fetch(remote, cache) if download else remote.place(cache)


def kind_of(path: Path) -> Kind | None:
    """Return the kind of the model in a file, from its header; None for a file of `torch.save`.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    if path.suffix in FOREIGN:
        return None
    named = metadata_of(path).recipe.get("kind")
    for kind in get_args(Kind):
        if kind == named:
            return kind
    raise damaged_metadata(path, ValueError("its recipe is of no known kind"))


def of_another_kind(path: Path, kind: Kind, wanted: Kind) -> ValueError:
    """Return the error of a model that is not of the kind that is wanted."""
    return ValueError(f"{path} is {NAMED[kind]}; give {NAMED[wanted]}")


def beside(model: Path, name: str) -> Path:
    """Return the path of a model's `name`.json: in its run folder, or x.`name`.json beside x."""
    for folder in model.parents:
        if folder.name == FOLDER:
            return folder.parent / f"{name}.json"
    return model.with_name(f"{model.stem}.{name}.json")


def measurement(model: Path, name: str) -> Path:
    """Return the path of what a user measures for a model: `beside` it, or in the user's folder.

    What is shipped with the package or belongs to the hub's cache is never written.
    """
    path, folder = beside(model, name), user_cache("measured")
    if repository := hub.repository_of(model):
        return folder / f"{repository.replace('/', '--')}.{name}.json"
    return folder / path.name if model.parent == SHIPPED else path


def _missing(model: str, path: Path, shipped: list[Path], kind: Kind | None) -> str:
    """Say that there is no such model, and name similar ones."""
    beside = {file.name if path.suffix else name: file for name, file in _models_in(path.parent)}
    close = get_close_matches(path.name, beside, n=MOST_OPENED)
    names = [file.stem for file in shipped]
    near = [str(each) for each in _of_kind((beside[name] for name in close), kind)]
    near += get_close_matches(path.stem, names)
    if model in RECIPES:
        return (
            f"{model} is a recipe and no model; give runs/{model} after `adm train {model} --out "
            f"runs/{model}`, or the path of a released file"
        )
    wanted, shipped_names = WANTED[kind], f"one of {', '.join(names)}"
    if len(path.parts) > 1 or path.suffix:
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return f"{model} does not exist; {hint}give the path of {wanted}, or {shipped_names}"
    return f"no model {model!r}; give a path of {wanted}, or {' or '.join(near) or shipped_names}"


def _models_in(folder: Path) -> list[tuple[str, Path]]:
    """Return the run folders and the model files in a folder, with names without suffixes."""
    found: list[tuple[str, Path]] = []
    with suppress(OSError):  # there is no such folder, or it cannot be read
        for each in sorted(folder.iterdir()):
            if each.suffix in (".safetensors", *FOREIGN):
                found.append((each.stem, each))
            elif (each / "checkpoints").is_dir():
                found.append((each.name, each))
    return found


def _of_kind(models: Iterable[Path], kind: Kind | None) -> Iterable[Path]:
    """Yield the paths of the models that are of this kind, or may be."""
    for path in models:
        try:
            found = kind_of(_in_folder(path) if path.is_dir() else path)
        except (OSError, ValueError):
            continue
        if kind is None or found in (None, kind):
            yield path


def is_of_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, finished or just begun, or of a checkpoint."""
    if any((folder / name).exists() for name in (RUN, FOLDER)):
        return True
    return any(next(folder.glob(where + "model.safetensors"), None) for where in ("", "*/"))


def _in_folder(path: Path) -> Path:
    """Return the model file of a run folder's newest checkpoint, or of a checkpoint's folder."""
    folder = latest(path) or path
    for file in (folder / "model.safetensors", folder / GENERATOR / "model.safetensors"):
        if file.exists():
            hub.check_config(file)
            return file
    players = [str(found.parent) for found in sorted(folder.glob("*/model.safetensors"))]
    if players:
        raise ValueError(f"{path} holds several networks; give one of {', '.join(players)}")
    raise ValueError(f"{path} holds no checkpoint yet; give a run folder or a model file")
