# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportPrivateImportUsage=false, reportArgumentType=false
"""UNet2DModel, scheduler, classifier -> images: the pipeline of an exported model.

This file stands in the folder of every model that `adm convert --to diffusers` has written:

    DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)

It needs diffusers alone; the network of a classifier is that of the package adm. Each estimate of
the clean image is clipped, and then guided by Algorithm 2 of Dhariwal and Nichol (2021), whatever
the scheduler.
"""

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    ConfigMixin,
    DDPMParallelScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    ImagePipelineOutput,
    ModelMixin,
    SchedulerMixin,
    UNet2DModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from torch.nn import functional as F


class NoisyClassifier(ModelMixin, ConfigMixin):
    """The classifier of noisy images that guides: x_t, timestep -> logits.

    Args:
        architecture: the fields of `adm.networks.ClassifierConfig`.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        try:
            networks, spec = (
                importlib.import_module(f"adm.{each}") for each in ("networks", "spec")
            )
        except ImportError:
            raise ImportError(
                "the classifier's network is that of the package adm, which is not installed; "
                "install it, or pass classifier=None"
            ) from None
        self.network = networks.Classifier(
            spec.convert(networks.ClassifierConfig, dict(architecture))
        )

    def forward(self, x_t: Tensor, timestep: Tensor | float) -> Tensor:
        """(B, C, H, W), one timestep -> (B, classes) logits."""
        timesteps = torch.as_tensor(timestep, dtype=torch.float32, device=x_t.device)
        # In float32, whatever the pipeline is loaded in: its gradient is too small for float16.
        return self.network.float()(x_t, timesteps.expand(len(x_t)))


class ADMPipeline(DiffusionPipeline):
    """Sampling with any scheduler of a variance-preserving process, guided by a classifier.

    Args:
        unet: predicts what the scheduler's `prediction_type` says, and, in further channels, the
            variance, which DDPM alone uses.
        scheduler: such as DDPM, DDIM, DPM-Solver++ or UniPC.
        classifier: of noisy images; None for no guidance.
        id2label: the name of each class.
        channels: of the images.
    """

    model_cpu_offload_seq = "unet"
    _optional_components = ["classifier"]  # noqa: RUF012

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        classifier: ModelMixin | None = None,
        id2label: dict | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, classifier=classifier)
        self.register_to_config(id2label=id2label, channels=channels)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | str | Sequence[int | str] | None = None,
        guidance_scale: float | None = None,
        batch_size: int = 1,
        num_inference_steps: int = 250,
        low_res: Tensor | None = None,
        clip_sample: bool = True,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Sample images.

        Args:
            class_labels: the class of each image, by number or name; None for images without a
                label, of a model that has been trained on such.
            guidance_scale: factor of the classifier's gradient; 1 by default with a classifier.
            batch_size: number of images without `class_labels`.
            num_inference_steps: number of steps of the scheduler.
            low_res: (B, C, h, w) in [-1, 1], the images that an upsampler enlarges.
            clip_sample: clip each estimate of the clean image to [-1, 1], before guidance.
            eta: of DDIM.
            generator: of the noise.
            latents: (B, C, H, W) standard normal noise to start from.
            output_type: "pil", "np" (B, H, W, C) or "pt" (B, C, H, W), the latter two in [0, 1].

        Raises:
            ValueError: a class is unknown, or the classifier or the labels are missing.
        """
        labels = self._labels(class_labels)
        scale = (
            (0.0 if self.classifier is None else 1.0) if guidance_scale is None else guidance_scale
        )
        if guidance_scale and (self.classifier is None or labels is None):
            raise ValueError("guidance_scale needs a classifier and class_labels")
        count = batch_size if labels is None else len(labels)
        scheduler, extra = self._prepared(num_inference_steps, generator, eta)
        size = self.unet.config.sample_size
        shape = (count, self.config.channels, *((size, size) if isinstance(size, int) else size))
        x = (
            randn_tensor(shape, generator, self.device)
            if latents is None
            else latents.to(self.device)
        )
        x = x.float() * scheduler.init_noise_sigma
        unet_labels = self._unet_labels(labels, count)
        low = (
            None
            if low_res is None
            else F.interpolate(low_res.to(x), shape[2:], mode="bilinear", align_corners=False)
        )
        for i, timestep in enumerate(self.progress_bar(scheduler.timesteps)):
            x_t = scheduler.scale_model_input(x, timestep)
            inputs = x_t if low is None else torch.cat([x_t, low], dim=1)
            raw = self.unet(inputs.to(self.unet.dtype), timestep, unet_labels).sample.float()
            signal, sigma = _level(scheduler, i, timestep)
            output, variance = raw[:, : shape[1]], raw[:, shape[1] :]
            kind = scheduler.config.prediction_type
            x_0 = _to_x_0(kind, output, x_t, signal, sigma)
            x_0 = x_0.clamp(-1, 1) if clip_sample else x_0
            if scale and labels is not None:
                # Algorithm 2: the noise is shifted by -sigma times the scaled gradient.
                pull = self._gradient(x_t, timestep, labels)
                x_0 = x_0 + sigma**2 / signal * scale * pull
            output = _from_x_0(kind, x_0, x_t, signal, sigma)
            if _learns_variance(scheduler):
                output = torch.cat([output, variance], dim=1)
            x = scheduler.step(output, timestep, x, **extra).prev_sample
        images = (x / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        images = self.numpy_to_pil(images) if output_type == "pil" else images
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _labels(self, classes: int | str | Sequence[int | str] | None) -> Tensor | None:
        """Return the number of each class, (B,) int64."""
        if classes is None:
            return None
        names = {name: int(number) for number, name in (self.config.id2label or {}).items()}
        requested = [classes] if isinstance(classes, int | str) else classes
        if unknown := [one for one in requested if isinstance(one, str) and one not in names]:
            raise ValueError(f"no class {unknown[0]!r}; the classes are {', '.join(names)}")
        labels = [names[one] if isinstance(one, str) else int(one) for one in requested]
        if not all(0 <= label < len(names) for label in labels):
            raise ValueError(f"class_labels must be from 0 to {len(names) - 1}, got {labels}")
        return torch.tensor(labels, device=self.device)

    def _unet_labels(self, labels: Tensor | None, count: int) -> Tensor | None:
        """Return the labels of the U-Net; its last embedding, zero, is that of no label."""
        embeddings = self.unet.config.num_class_embeds
        if embeddings is None:
            return None
        if labels is not None:
            return labels
        if embeddings == len(self.config.id2label or {}):
            raise ValueError("this model has no unconditional embedding; give class_labels")
        return torch.full((count,), embeddings - 1, device=self.device)

    def _prepared(
        self, steps: int, generator: torch.Generator | list[torch.Generator] | None, eta: float
    ) -> tuple[Any, dict[str, Any]]:
        """Return a scheduler that does not clip, and the keyword arguments of its steps."""
        ancestral = isinstance(self.scheduler, DDPMScheduler | DDPMParallelScheduler)
        # Other schedulers receive no variance, and must not split it off.
        changes = {"clip_sample": False} | ({} if ancestral else {"variance_type": None})
        scheduler = type(self.scheduler).from_config(self.scheduler.config, **changes)
        scheduler.set_timesteps(steps, device=self.device)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)  # not found where the first timestep occurs twice
        accepted = inspect.signature(scheduler.step).parameters
        options = {"generator": generator, "eta": eta}
        return scheduler, {name: value for name, value in options.items() if name in accepted}

    def _gradient(self, x_t: Tensor, timestep: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of log p(label | x_t) with respect to x_t."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            log_p = self.classifier(x, timestep).float().log_softmax(dim=1)
            return torch.autograd.grad(log_p.gather(1, labels[:, None]).sum(), x)[0]


def _learns_variance(scheduler: Any) -> bool:
    ancestral = isinstance(scheduler, DDPMScheduler | DDPMParallelScheduler)
    return ancestral and scheduler.config.variance_type == "learned_range"


def _level(scheduler: Any, i: int, timestep: Tensor) -> tuple[float, float]:
    """Return the factors of image and noise in x_t; a solver's levels may be between timesteps."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:
        alpha_bar = float(scheduler.alphas_cumprod[int(timestep)])
    else:
        alpha_bar = 1 / (1 + float(sigmas[i]) ** 2)
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


def _to_x_0(kind: str, output: Tensor, x_t: Tensor, signal: float, sigma: float) -> Tensor:
    if kind == "epsilon":
        return (x_t - sigma * output) / signal
    return signal * x_t - sigma * output if kind == "v_prediction" else output


def _from_x_0(kind: str, x_0: Tensor, x_t: Tensor, signal: float, sigma: float) -> Tensor:
    noise = (x_t - signal * x_0) / sigma
    if kind == "epsilon":
        return noise
    return signal * noise - sigma * x_0 if kind == "v_prediction" else x_0
