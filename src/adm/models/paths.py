"""Path, run folder, shipped, released or hub name -> model file."""

from difflib import get_close_matches
from pathlib import Path

from adm.data.naming import at_home
from adm.models import hub
from adm.recipes import RECIPES
from adm.recipes.released import OWNER, PUBLIC, RELEASED
from adm.spec import out_of_range
from adm.store.fetch import fetch
from adm.store.files import user_cache
from adm.training.checkpoint import FOLDER, RUN, latest

FOREIGN = (".pt", ".pth")  # suffixes of files of `torch.save`
SHIPPED = Path(__file__).parent / "shipped"


def resolve(model: str | Path) -> Path:
    """Return the model file of a path, a run folder, or a shipped, released or hub name.

    A shipped model is hidden by a run folder of its name, and not by another folder, such as one of
    data. A released file, `openai/256x256-diffusion`, is downloaded once, and verified; so is that
    of a repository of the Hugging Face hub, `hf:owner/name@revision`.

    Raises:
        ValueError: there is no such file; names similar models.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise out_of_range("model", "a path or a shipped name such as fashion", model)
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
    raise ValueError(_missing(str(model), path, list(shipped)))


def released(name: str, download: bool = True) -> Path:
    """Return the path of a released file by its public name, in the user's cache.

    Args:
        download: whether to download the file if it is not cached.

    Raises:
        ValueError: there is no such file, or it cannot be downloaded.
    """
    if name not in PUBLIC:
        near = get_close_matches(name, PUBLIC) or ["one that `adm models` lists"]
        raise ValueError(f"no released model {name!r}; did you mean {' or '.join(near)}?")
    file, cache = PUBLIC[name], user_cache("released")
    remote = RELEASED[file].remote(file)
    return fetch(remote, cache) if download else remote.place(cache)


def _missing(model: str, path: Path, shipped: list[str]) -> str:
    """Return the message for a model that does not exist, with similar names."""
    if model in RECIPES:
        return (
            f"{model} is a recipe and no model; give runs/{model} after `adm train {model} --out "
            f"runs/{model}`, or the path of a released file"
        )
    if len(path.parts) > 1 or path.suffix:
        return f"{model} does not exist; check the path, or give a name that `adm models` lists"
    near = get_close_matches(model, shipped) or ["a name that `adm models` lists"]
    return f"no model {model!r}; give a path of a model, or {' or '.join(near)}"


def is_of_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, finished or just begun, or of a checkpoint."""
    if any((folder / name).exists() for name in (RUN, FOLDER)):
        return True
    return (folder / "model.safetensors").exists()


def _in_folder(path: Path) -> Path:
    """Return the model file of a run folder's newest checkpoint, or of a checkpoint's folder."""
    folder = latest(path) or path
    file = folder / "model.safetensors"
    if file.exists():
        return file
    raise ValueError(f"{path} holds no checkpoint yet; give a run folder or a model file")
