"""Model name -> Pipeline -> Samples; Recipe -> run folder; Samples, reference -> Report.

Diffusion models that sample images, guided by a classifier.

train:   data -> diffusion.process -> networks -> losses
sample:  noise -> samplers (networks + guidance) -> images -> metrics

>>> import adm
>>> model = adm.load("fashion")
>>> samples = model.sample({"sneaker": 8, "bag": 4}, scale=2.0, seed=7)
>>> samples.save("out/pairs")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adm.app.study.likelihood import likelihood as likelihood
    from adm.app.study.sweep import sweep as sweep
    from adm.generation.pipeline import Pipeline as Pipeline
    from adm.generation.pipeline import load as load
    from adm.generation.samples import Samples as Samples
    from adm.models.load import load_classifier as load_classifier
    from adm.runs.run import train as train
    from adm.samplers.settings import Sampling as Sampling
    from adm.scoring.evaluate import evaluate as evaluate

    __version__: str

# Imported on first use, so that `import adm` is fast and does not load torch.
_HOMES = {
    "Pipeline": "adm.generation.pipeline",
    "Samples": "adm.generation.samples",
    "Sampling": "adm.samplers.settings",
    "evaluate": "adm.scoring.evaluate",
    "likelihood": "adm.app.study.likelihood",
    "load": "adm.generation.pipeline",
    "load_classifier": "adm.models.load",
    "sweep": "adm.app.study.sweep",
    "train": "adm.runs.run",
}
__all__ = [
    "Pipeline",
    "Samples",
    "Sampling",
    "evaluate",
    "likelihood",
    "load",
    "load_classifier",
    "sweep",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("ablated-diffusion")
    if name not in _HOMES:
        raise AttributeError(f"module 'adm' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    _display_progress()
    return getattr(import_module(_HOMES[name]), name)


def _display_progress() -> None:
    """Display progress in a terminal or a notebook, unless something displays it already."""
    progress = import_module("adm.progress")
    if progress.is_silent():
        progress.display(import_module("adm.app.progress").watched)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "__version__"])
