"""Shape, device -> training step of this package, of the released code or of diffusers.

A step is the forward pass, the loss, the backward pass, the optimizer and the average of weights.
Each is run as in the training script of its project, except that the batch is already in memory.
"""

import importlib
import math
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm import losses
from adm.diffusion import LEARNED_RANGE, NOISE, Parameterization, cosine
from adm.models.convert import released
from adm.networks import HeadWidth, UNet, UNetConfig
from adm.processes import Devices
from adm.training.batches import Batch, Draws
from adm.training.ema import EMA
from adm.training.learner import Learner, LossScale
from adm.training.objective import diffusion
from adm.training.optimizers import AdamW
from adm.training.update import StepSettings, update

STEPS = 1000  # of the process
RATE, DECAY = 1e-4, 0.999
Step = Callable[[Batch], Tensor]  # -> the mean loss
Precision = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Shape:
    """A network configuration, its image size and its batch size."""

    network: UNetConfig
    size: int
    batch_size: int


def _unet(**changes: Any) -> UNetConfig:
    base = {"depth": 2, "classes": 10, "norm_groups": 32}
    return UNetConfig(**{**base, **changes})


SHAPES = {
    # The network of the recipe `fashion`, in the 32 normalisation groups of the released code.
    "28": Shape(
        _unet(
            in_channels=1,
            out_channels=2,
            channels=32,
            multipliers=(1, 2, 2),
            attention_factors=(4,),
            heads=HeadWidth(32),
        ),
        size=28,
        batch_size=128,
    ),
    # The paper's 64x64 network with a third of its channels and two blocks a level.
    "64": Shape(
        _unet(out_channels=6, channels=64, multipliers=(1, 2, 3, 4), attention_factors=(2, 4, 8)),
        size=64,
        batch_size=8,
    ),
}


def batches(shape: Shape, count: int, device: torch.device, seed: int = 0) -> list[Batch]:
    """Return batches of smooth random images, with labels, levels and noise."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(count):
        b, c = shape.batch_size, shape.network.in_channels
        labels = torch.randint(10, (b,), generator=generator)
        coarse = torch.rand(b, c, 4, 4, generator=generator) * (labels[:, None, None, None] / 9)
        images = F.interpolate(coarse, (shape.size, shape.size), mode="bilinear")
        uniform = torch.rand(3, b, generator=generator, dtype=torch.float64).numpy()
        noise = torch.randn(b, c, shape.size, shape.size, generator=generator)
        keys = torch.randint(2**62, (b,), generator=generator)
        draws = Draws(*uniform, crop=uniform.T, key=keys, scale=uniform[0], noise=noise)
        drawn.append(Batch((images * 255).round().to(torch.uint8), labels, draws).to(device))
    return drawn


def weights(shape: Shape) -> dict[str, Tensor]:
    """Return initial weights for both U-Nets; layers that start at zero get small random ones."""
    torch.manual_seed(0)
    network = UNet(shape.network)
    for parameter in network.parameters():
        if parameter.abs().max() == 0 and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    return network.state_dict()


def ours(
    shape: Shape,
    device: torch.device,
    precision: Precision,
    half: bool = False,
    change: Callable[[UNet], object] = lambda network: None,
) -> Step:
    """Return the step of this package, as `adm train` takes it.

    Args:
        half: whether the loss is scaled, as for float16.
        change: what is done to the network before its first step.
    """
    network = UNet(shape.network)
    network.load_state_dict(weights(shape))
    network.to(device).train()
    change(network)
    how = StepSettings(Devices(device), shape.batch_size, shape.batch_size)
    objective = diffusion(
        cosine(STEPS),
        Parameterization(NOISE, LEARNED_RANGE),
        losses.hybrid(STEPS / 1000),
        autocast=precision,  # type: ignore[arg-type]
    )
    learner = Learner(
        network,
        network,
        lambda step: objective,
        AdamW().of(network, RATE, 0.0),
        (EMA(network, DECAY),),
        LossScale.of("float16" if half else "float32"),
    )
    return lambda batch: update(learner, batch, how).rows["loss"].mean()


def released_code(checkout: Path) -> SimpleNamespace:
    """Import the modules of a checkout of openai/guided-diffusion that a training step needs."""
    if not (checkout / "guided_diffusion" / "unet.py").exists():
        raise ValueError(f"{checkout} is no checkout of github.com/openai/guided-diffusion")
    sys.path.insert(0, str(checkout))
    names = ("logger", "unet", "gaussian_diffusion", "fp16_util", "nn")
    code = {n: importlib.import_module(f"guided_diffusion.{n}") for n in names}
    code["logger"].configure(dir=tempfile.gettempdir(), format_strs=[])  # it would print otherwise
    return SimpleNamespace(**code)


def theirs(
    shape: Shape, device: torch.device, precision: Precision, checkout: Path, half: bool = False
) -> Step:
    """Return the step of the released code, in the order of its `TrainLoop.run_step`.

    Args:
        half: whether it has its own float16, as the paper's models had.
    """
    code, config = released_code(checkout), shape.network
    network = code.unet.UNetModel(
        image_size=shape.size,
        in_channels=config.in_channels,
        model_channels=config.channels,
        out_channels=config.out_channels,
        num_res_blocks=config.depth,
        attention_resolutions=config.attention_factors,
        channel_mult=config.multipliers,
        num_classes=config.classes,
        num_head_channels=_head_width(config),
        use_scale_shift_norm=True,
        resblock_updown=True,
        use_fp16=half,
    )
    network.load_state_dict(released.export_state(weights(shape), config))
    network.to(device).train()
    kinds = code.gaussian_diffusion
    process = kinds.GaussianDiffusion(
        betas=kinds.get_named_beta_schedule("cosine", STEPS),
        model_mean_type=kinds.ModelMeanType.EPSILON,
        model_var_type=kinds.ModelVarType.LEARNED_RANGE,
        loss_type=kinds.LossType.RESCALED_MSE,
    )
    trainer = code.fp16_util.MixedPrecisionTrainer(model=network, use_fp16=half)
    optimizer = torch.optim.AdamW(trainer.master_params, lr=RATE, weight_decay=0.0)
    average = [p.detach().clone() for p in trainer.master_params]

    def step(batch: Batch) -> Tensor:
        x_0, level, noise = _floats(batch)
        trainer.zero_grad()
        with precision():
            terms = process.training_losses(
                network, x_0, level, model_kwargs={"y": batch.labels}, noise=noise
            )
            loss = terms["loss"].mean()
            trainer.backward(loss)  # its attention runs again here, and must see autocast
        trainer.optimize(optimizer)
        code.nn.update_ema(average, trainer.master_params, rate=DECAY)
        return loss.detach()

    return step


def diffusers(shape: Shape, device: torch.device, precision: Precision) -> Step:
    """Return the step of diffusers' training example, with its U-Net of this shape.

    Blocks, widths and attention are the same. The weights are its own, and the loss is the mean
    squared error alone.
    """
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    config = shape.network
    attends = [2**i in config.attention_factors for i in range(len(config.multipliers))]
    network = UNet2DModel(
        sample_size=shape.size,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.widths,
        layers_per_block=config.depth,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=_head_width(config),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=config.norm_groups,
        num_class_embeds=config.classes,
    )
    network.to(device).train()
    scheduler = DDPMScheduler(STEPS, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    average = EMAModel(network.parameters(), decay=DECAY)

    def step(batch: Batch) -> Tensor:
        x_0, level, noise = _floats(batch)
        with precision():
            raw = network(scheduler.add_noise(x_0, noise, level), level, batch.labels).sample
        loss = F.mse_loss(raw.float()[:, : x_0.shape[1]], noise)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), math.inf)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        return loss.detach()

    return step


def _floats(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return images in [-1, 1], the indices of levels in tables without level 0, and the noise."""
    level = torch.from_numpy((batch.draws.level * STEPS).astype("int64"))
    return batch.images.float() / 127.5 - 1, level.to(batch.images.device), batch.draws.noise


def _head_width(config: UNetConfig) -> int:
    assert isinstance(config.heads, HeadWidth)
    return config.heads.channels_per_head


def bfloat16(device: torch.device) -> Precision:
    return lambda: torch.autocast(device.type, torch.bfloat16)


def float16(device: torch.device) -> Precision:
    return lambda: torch.autocast(device.type, torch.float16)


def float32() -> AbstractContextManager[Any]:
    return nullcontext()
