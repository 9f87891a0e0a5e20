"""DiffusionModel, classifier <-> folder of a diffusers pipeline: U-Net, scheduler, classifier.

    model_index.json                 the components, and the names of the classes
    unet/                            a UNet2DModel
    scheduler/                       a DDPMScheduler, from whose settings others derive theirs
    classifier/                      a classifier that guides, if one is given
    pipeline.py                      the pipeline
    recipe.json                      our recipe, for the way back

A UNet2DModel receives whole timesteps from 0 to T - 1, and so does ours unless they are rescaled.
Then the folder has only the levels whose timesteps are whole: of 4000 every fourth, which is a
process of T = 1000.
"""

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adm.diffusion import NOISE, VELOCITY, X_0, Schedule, Target
from adm.diffusion.schedule import cosine
from adm.extras import installing
from adm.limits import MOST_CHARACTERS, MOST_LEVELS
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
from adm.shown import printable, reason_of, short, shown
from adm.spec import SettingError, literal, out_of_range, to_json
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
PREDICTIONS: dict[str, Target] = {"epsilon": NOISE, "sample": X_0, "v_prediction": VELOCITY}
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
WHOLE = 1000  # timesteps of a process whose timesteps are rescaled
CLOSE = 1e-4  # relative difference of betas in float32 and float64
LARGEST_ERROR = 1e-5  # of the network's outputs, relative to the largest
FEWEST = 20  # levels of a linear schedule, so that no beta exceeds 1
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Beta = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """The process in a scheduler's configuration, with the defaults of DDPMScheduler."""

    num_train_timesteps: Annotated[int, Field(ge=2, le=MOST_LEVELS)] = 1000
    beta_schedule: Name = "linear"
    beta_start: Beta = 0.0001
    beta_end: Beta = 0.02
    trained_betas: Annotated[tuple[Beta, ...], Field(max_length=MOST_LEVELS)] | None = None
    prediction_type: Name = "epsilon"
    variance_type: Name | None = None
    rescale_betas_zero_snr: bool = False


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
    scheduler = _scheduler_of(recipe)
    if classifier is not None:
        check_pair(model, classifier, "x_t")
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


def _scheduler_of(recipe: DiffusionRecipe) -> dict[str, Any]:
    """Return the configuration of the DDPMScheduler of a process."""
    process = recipe.process
    kinds = [kind for kind, target in PREDICTIONS.items() if target == process.prediction]
    if not kinds:
        what = "noise, x_0 or velocity, which the schedulers of diffusers know"
        raise out_of_range("process.prediction", what, process.prediction.name)
    if process.variance not in VARIANCES:
        what = f"{', '.join(VARIANCES[:-1])} or {VARIANCES[-1]}: that of diffusers is no logarithm"
        raise out_of_range("process.variance", what, process.variance)
    schedule = _whole(process)
    steps = schedule.last
    if steps < process.steps:
        betas: dict[str, Any] = {"trained_betas": schedule.beta[1:].tolist()}
    elif process.schedule == "cosine":
        betas = {"beta_schedule": "squaredcos_cap_v2"}
    else:
        betas = {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    return {
        "num_train_timesteps": steps,
        **betas,
        "prediction_type": kinds[0],
        "variance_type": process.variance,
        "clip_sample": True,
        # That of the released DDIM: equal steps, the only ones in diffusers' DDIM, and none from
        # level T, where the signal of the cosine schedule is so weak that guidance saturates.
        "timestep_spacing": "leading",
    }


def _whole(process: ProcessSettings) -> Schedule:
    """Return the process of the levels whose timesteps are whole numbers from 0."""
    schedule = build.schedule(process)
    if not process.rescale_steps or process.steps == WHOLE:
        return schedule
    if process.steps % WHOLE:
        raise SettingError(
            "process.rescale_steps",
            "the timesteps of diffusers are whole numbers: a process that rescales them must have "
            f"a multiple of {WHOLE}, and this one has {process.steps}",
        )
    return schedule.respaced(range(1, process.steps + 1, process.steps // WHOLE))


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
        scheduler = _scheduler(_values(path))
        betas = _betas(scheduler)
    if (folder / RECIPE).exists():
        with _naming(folder / RECIPE) as path:
            recipe = _stored(path, unet, scheduler, betas)
    else:
        with _naming(folder / UNET / CONFIG):
            config = config_of(unet)
        with _naming(folder / SCHEDULER / SCHEDULER_CONFIG):
            process = _process(scheduler, betas, config)
        with _naming(folder):
            recipe = _new_recipe(folder.resolve().name, unet, config, process)
    with _naming(folder / UNET / WEIGHTS) as path:
        weights = import_state(_load(path), recipe.unet, _unlabelled(recipe))
    weights = {name: tensor.float() for name, tensor in weights.items()}
    check_finite(folder / UNET / WEIGHTS, weights, "copy it again")
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


def _scheduler(values: dict[str, Any]) -> SchedulerConfig:
    if not values.keys() & {"beta_schedule"} and not values.get("trained_betas"):
        raise ValueError("it has no betas; give a model of DDPM's process, as of DDPMScheduler")
    return as_type(SchedulerConfig, values)


def _betas(scheduler: SchedulerConfig) -> Tensor:
    """Return beta of each level, (T,) float64."""
    kind, steps = scheduler.beta_schedule, scheduler.num_train_timesteps
    if scheduler.rescale_betas_zero_snr:
        raise ValueError("rescale_betas_zero_snr=true, which none of our processes has")
    if scheduler.trained_betas is not None:
        return torch.tensor(scheduler.trained_betas, dtype=torch.float64)
    if kind == "linear":
        ends = scheduler.beta_start, scheduler.beta_end
        return torch.linspace(*ends, steps, dtype=torch.float64)
    if kind == "squaredcos_cap_v2":
        return cosine(steps).beta[1:]
    raise ValueError(
        f"beta_schedule={shown(kind)}, which none of our processes has; it must be linear or "
        "squaredcos_cap_v2"
    )


def _of_process(betas: Tensor, process: ProcessSettings) -> bool:
    """Return whether these are the betas of a process, in float32."""
    exact = _whole(process).beta[1:]
    return len(exact) == len(betas) and torch.allclose(betas, exact, rtol=CLOSE, atol=CLOSE**2)


def _stored(path: Path, unet: UNet2D, scheduler: SchedulerConfig, betas: Tensor) -> DiffusionRecipe:
    """Return the recipe in a folder; raise ValueError if its U-Net or scheduler differs."""
    recipe = from_json(read_json(path))
    if not isinstance(recipe, DiffusionRecipe):
        raise ValueError("it is no recipe of a diffusion model")
    build.check(recipe)
    check_same(unet, recipe.unet, _unlabelled(recipe))
    if PREDICTIONS.get(scheduler.prediction_type) != recipe.process.prediction or not _of_process(
        betas, recipe.process
    ):
        raise ValueError("the scheduler has another process; remove the recipe to read it")
    return recipe


def _process(scheduler: SchedulerConfig, betas: Tensor, config: UNetConfig) -> ProcessSettings:
    """Return the process of ours that has these betas."""
    if scheduler.prediction_type not in PREDICTIONS:
        known = ", ".join(PREDICTIONS)
        raise ValueError(f"prediction_type={shown(scheduler.prediction_type)}, not one of {known}")
    default = "learned_range" if config.out_channels == 2 * config.in_channels else "fixed_small"
    variance = (scheduler.variance_type or default).replace("small_log", "small")  # the same
    if variance not in VARIANCES:
        raise ValueError(f"variance_type={shown(variance)}, not one of {', '.join(VARIANCES)}")
    for kind in ("linear", "cosine"):
        process = ProcessSettings(
            schedule=kind,
            steps=len(betas),
            prediction=PREDICTIONS[scheduler.prediction_type],
            variance=variance,
        )
        if (kind == "cosine" or len(betas) >= FEWEST) and _of_process(betas, process):
            return process
    raise ValueError(
        "its betas are those of no process of ours: linear from 0.1 / T to 20 / T, or cosine"
    )


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
    timestep = torch.tensor([0, _whole(model.recipe.process).last - 1], device=device)
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
