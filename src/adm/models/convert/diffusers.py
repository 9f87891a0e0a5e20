"""DiffusionModel, classifier <-> folder of a diffusers pipeline: U-Net, scheduler, classifier.

model_index.json                 the components, and the names of the classes
unet/                            a UNet2DModel
scheduler/                       a DDPMScheduler, from whose settings others derive theirs
classifier/                      a classifier that guides, if one is given
pipeline.py                      the pipeline
recipe.json                      our recipe, for the way back
"""

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adm.extras import installing
from adm.limits import MOST_CHARACTERS
from adm.models.convert.scheduler import (
    PREDICTIONS,
    SchedulerConfig,
    betas_of,
    has_betas,
    process_of,
    read_scheduler,
    scheduler_of,
    whole_levels,
)
from adm.models.convert.unet2d import (
    UNet2D,
    check_same,
    config_of,
    export_state,
    import_state,
    unet2d_of,
)
from adm.models.pair import check_pair
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import UNetConfig
from adm.networks.unet import with_low_res
from adm.recipes import build
from adm.recipes.schema import DataSettings, DiffusionRecipe, ProcessSettings, from_json
from adm.samplers import Even, ImageNoise, Sampling
from adm.shown import printable, reason_of, short
from adm.spec import SettingError, literal, to_json
from adm.store.files import new_folder, write_json, write_text
from adm.store.parsed import CLASSES, as_type, read_json
from adm.training.model_file import check_finite, save_tensors
from adm.training.settings import TrainSettings

log = logging.getLogger("adm")
PIPELINE = Path(__file__).with_name("pipeline.py")
OLDEST = "0.30.0"  # version of diffusers that reads the folder
NEWER = ("mid_block_type", "time_embedding_dim")  # with their defaults; unknown to the oldest
INDEX, RECIPE, CONFIG = "model_index.json", "recipe.json", "config.json"
UNET, SCHEDULER, CLASSIFIER = "unet", "scheduler", "classifier"
SCHEDULER_CONFIG, WEIGHTS = "scheduler_config.json", "diffusion_pytorch_model.safetensors"
LARGEST_ERROR = 1e-5  # of the network's outputs, relative to the largest
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


def export(
    model: DiffusionModel, folder: Path, classifier: ClassifierModel | None = None
) -> float | None:
    """Write a model as the folder of a diffusers pipeline, whole or not at all.

    Args:
        model: predicts the noise, x_0 or the velocity.
        classifier: guides the model in the pipeline; of noisy images of the same process.

    Returns:
        The largest difference of outputs of the network in the installed diffusers, relative to
        the largest output; None if it is not installed.

    Raises:
        SettingError: the model cannot be exact in diffusers; names the setting and the reason.
        ValueError: the installed diffusers does not reproduce it; nothing is written.
        FileExistsError: the folder exists and is not empty.
    """
    if model.student:
        raise SettingError(
            "model",
            f"{literal(model.name)} is a student, whose steps no scheduler of diffusers takes; "
            "give its teacher",
        )
    recipe = model.recipe
    unlabelled = _unlabelled(recipe)
    unet = unet2d_of(recipe.unet, recipe.data.size, unlabelled)
    scheduler = scheduler_of(recipe.process)
    if classifier is not None:
        check_pair(model, classifier)
    with new_folder(folder) as new:
        for place in (UNET, SCHEDULER):
            (new / place).mkdir()
        write_json(new / RECIPE, to_json(recipe))
        write_json(new / INDEX, _index(model, classifier))
        write_text(new / PIPELINE.name, PIPELINE.read_text("utf-8"))
        values = {name: each for name, each in asdict(unet).items() if name not in NEWER}
        write_json(new / UNET / CONFIG, _described("UNet2DModel", values))
        write_json(new / SCHEDULER / SCHEDULER_CONFIG, _described("DDPMScheduler", scheduler))
        weights = export_state(model.network.state_dict(), recipe.unet, unlabelled)
        save_tensors(new / UNET / WEIGHTS, weights, {"format": "pt"})
        if classifier is not None:
            _write_classifier(new / CLASSIFIER, classifier)
        if find_spec("diffusers") is not None:
            return check(new, model)
    log.warning(
        f"{folder} was not compared with diffusers, which is not installed; "
        f"{installing('diffusers')}"
    )
    return None


def _unlabelled(recipe: DiffusionRecipe) -> bool:
    """Whether a network was trained on images without their label as well."""
    return recipe.unet.classes is not None and recipe.train.label_dropout > 0


def _described(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"_class_name": name, "_diffusers_version": OLDEST, **values}


def _index(model: DiffusionModel, classifier: ClassifierModel | None) -> dict[str, Any]:
    """Return the components of a pipeline; pipeline.py has the class of a classifier."""
    classes = model.classes or (() if classifier is None else classifier.classes)
    guide = [None, None] if classifier is None else [PIPELINE.stem, "NoisyClassifier"]
    return {
        "_class_name": [PIPELINE.stem, "ADMPipeline"],
        "_diffusers_version": OLDEST,
        UNET: ["diffusers", "UNet2DModel"],
        SCHEDULER: ["diffusers", "DDPMScheduler"],
        CLASSIFIER: guide,
        "id2label": {str(label): name for label, name in enumerate(classes)} or None,
        "channels": model.recipe.data.channels,
    }


def _write_classifier(folder: Path, classifier: ClassifierModel) -> None:
    folder.mkdir()
    write_text(folder / PIPELINE.name, PIPELINE.read_text("utf-8"))
    fields = to_json(classifier.recipe.classifier)
    write_json(folder / CONFIG, _described("NoisyClassifier", {"architecture": fields}))
    state = classifier.network.state_dict()
    weights = {f"network.{name}": tensor for name, tensor in state.items()}
    save_tensors(folder / WEIGHTS, weights, {"format": "pt"})


def read(folder: Path) -> tuple[DiffusionRecipe, dict[str, Tensor], tuple[str, ...]]:
    """Read the folder of a diffusers pipeline whose U-Net is a UNet2DModel.

    A folder that `export` has written gives the recipe that it was written from. Any other says
    nothing of its training: `data` and `train` of the recipe are placeholders.

    Returns:
        The recipe, the weights in our names as float32, and the names of the classes.

    Raises:
        ValueError: a file is missing or damaged, or our network or process would not be exactly
            that of the folder; names the setting.
    """
    with _naming(folder / UNET / CONFIG) as path:
        unet = as_type(UNet2D, _values(path))
    with _naming(folder / SCHEDULER / SCHEDULER_CONFIG) as path:
        scheduler = read_scheduler(_values(path))
        betas = betas_of(scheduler)
    if (folder / RECIPE).exists():
        with _naming(folder / RECIPE) as path:
            recipe = _stored(path, unet, scheduler, betas)
    else:
        with _naming(folder / UNET / CONFIG):
            config = config_of(unet)
        with _naming(folder / SCHEDULER / SCHEDULER_CONFIG):
            learned = config.out_channels == 2 * config.in_channels
            process = process_of(scheduler, betas, learned)
        with _naming(folder):
            recipe = _new_recipe(folder.resolve().name, unet, config, process)
    with _naming(folder / UNET / WEIGHTS) as path:
        weights = import_state(_load(path), recipe.unet, _unlabelled(recipe))
    weights = {name: tensor.float() for name, tensor in weights.items()}
    check_finite(folder / UNET / WEIGHTS, weights, "copy it again")
    if (folder / CLASSIFIER).is_dir():
        log.warning(f"the classifier in {folder / CLASSIFIER} is left out; keep the original of it")
    with _naming(folder / INDEX) as path:
        return recipe, weights, _classes(recipe.unet.classes or 0, path)


@contextmanager
def _naming(path: Path) -> Iterator[Path]:
    """Yield a path, and let a ValueError about it name it."""
    try:
        yield path
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{path} does not exist; give the folder of a diffusers pipeline"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _values(path: Path) -> dict[str, Any]:
    """Return the settings in a configuration, without the names of class and version."""
    values = read_json(path, CLASSES)
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _stored(path: Path, unet: UNet2D, scheduler: SchedulerConfig, betas: Tensor) -> DiffusionRecipe:
    """Return the recipe in a folder; raise ValueError if its U-Net or scheduler differs."""
    recipe = from_json(read_json(path))
    if not isinstance(recipe, DiffusionRecipe):
        raise ValueError("it is no recipe of a diffusion model")
    build.check(recipe)
    check_same(unet, recipe.unet, _unlabelled(recipe))
    if PREDICTIONS.get(scheduler.prediction_type) != recipe.process.prediction or not has_betas(
        recipe.process, betas
    ):
        raise ValueError("the scheduler has another process; remove the recipe to read it")
    return recipe


def _new_recipe(
    name: str, unet: UNet2D, config: UNetConfig, process: ProcessSettings
) -> DiffusionRecipe:
    """Return the recipe of a model, with placeholders for the settings that are unknown."""
    size = unet.sample_size
    if size is None:
        raise ValueError("sample_size of unet/config.json must be given, the side of the images")
    recipe = DiffusionRecipe(
        name=name,
        data=DataSettings(
            source=name,
            size=(size, size) if isinstance(size, int) else size,
            channels=config.in_channels,
        ),
        process=process,
        unet=config,
        train=TrainSettings(steps=100_000, batch_size=64, learning_rate=1e-4),
        loss="hybrid" if process.variance == "learned_range" else "simple",
        sample=Sampling(grid=Even(steps=min(250, process.steps))),
    )
    build.check(recipe)
    return recipe


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError("there is no such file; save the U-Net as one safetensors file") from None
    except (SafetensorError, OSError) as error:
        reason = short(printable(reason_of(error)))
        raise ValueError(f"it is damaged ({reason}); copy it again") from None


def _classes(count: int, path: Path) -> tuple[str, ...]:
    """Return the names of the classes; their numbers, unless each has one in model_index.json."""
    numbers = tuple(map(str, range(count)))
    stored = _values(path).get("id2label") if path.exists() else None
    names = as_type(dict[str, Name], stored or {})
    return tuple(names[label] for label in numbers) if names.keys() == {*numbers} else numbers


@torch.no_grad()
def check(folder: Path, model: DiffusionModel) -> float:
    """Compare the network of an exported folder, in the installed diffusers, with its model.

    Returns:
        The largest difference of their outputs, relative to the largest output.

    Raises:
        ValueError: it is more than `LARGEST_ERROR`.
    """
    diffusers = importlib.import_module("diffusers")
    unet = diffusers.UNet2DModel.from_pretrained(folder / UNET).to(model.device)
    classes, device = model.network.config.classes, model.device
    x, low_res = ImageNoise(0, (0, 1), model.shape, device).start(), None
    if model.low_shape is not None:
        low_res = ImageNoise(1, (0, 1), model.low_shape, device).start()
    timestep = torch.tensor([0, whole_levels(model.recipe.process).last - 1], device=device)
    labels = None if classes is None else torch.tensor([0, classes - 1], device=device)
    pairs = [(labels, labels)]  # ours, theirs
    if _unlabelled(model.recipe):
        pairs.append((None, torch.full((2,), classes or 0, device=device)))
    errors = list[float]()
    with torch.backends.cudnn.flags(allow_tf32=False):  # which rounds products to 10 bits
        for ours, theirs in pairs:
            expected = model.network(x, timestep.float(), ours, low_res)
            got = unet(with_low_res(x, low_res), timestep, theirs).sample
            errors.append(float((got - expected).abs().max() / expected.abs().max()))
    if not max(errors) <= LARGEST_ERROR:  # nor NaN
        raise ValueError(
            f"diffusers {diffusers.__version__} does not reproduce the model: outputs of the "
            f"network differ by {max(errors):.2g}, over {LARGEST_ERROR:g}; use another version"
        )
    return max(errors)
