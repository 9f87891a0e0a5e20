"""Diffusion Models Beat GANs on Image Synthesis (Dhariwal and Nichol 2021), in one file on torch.

    python examples/paper.py fashion-mnist    # a folder with the data set's .gz files

Read it beside the paper, https://arxiv.org/abs/2105.05233, and those that it builds on: DDPM (Ho et
al. 2020) and Improved DDPM (Nichol and Dhariwal 2021). In ten minutes of two CPU cores it trains a
diffusion model that knows no labels, and a classifier of noisy images, and draws Figure 3.
Shapes: B images of C channels and H x W pixels in [-1, 1], L = H x W positions, E embedding. Level
t, an int or (B, 1, 1, 1), is 0 for the clean image x_0 and T for pure noise.
"""

import gzip
import math
import struct
import sys
import zlib
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# 1. The process (section 2) -----------------------------------------------------------------------


class Process:
    """q(x_t | x_0) = N(signal x_0, sigma^2), with signal^2 + sigma^2 = 1 (DDPM, equation 4)."""

    def __init__(self, alpha_bar: Tensor, timestep: Tensor) -> None:
        """Take alpha_bar, float64 and 1 at level 0, and what networks are told: (T + 1,) each."""
        self.alpha_bar, self.timestep, self.last = alpha_bar, timestep, len(alpha_bar) - 1
        self.signal, self.sigma = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
        # q(x_(t-1) | x_t, x_0) = N(of_x_0 x_0 + of_x_t x_t, beta_tilde) (DDPM, equations 6 and 7).
        before = torch.cat([alpha_bar[:1], alpha_bar[:-1]])  # alpha_bar of level t - 1
        beta = 1 - alpha_bar / before
        beta_tilde = beta * (1 - before) / (1 - alpha_bar)
        beta_tilde[:2] = beta_tilde[2]  # it is 0 at level 1, and has no logarithm
        self.log_beta, self.log_beta_tilde = beta.log().float(), beta_tilde.log().float()
        self.of_x_0 = (beta * before.sqrt() / (1 - alpha_bar)).float()
        self.of_x_t = ((1 - before) * (1 - beta).sqrt() / (1 - alpha_bar)).float()

    def respaced(self, steps: int, start: int) -> "Process":
        """Keep level 0, and `steps` evenly from 1 to `start` (Improved DDPM, section 4)."""
        keep = [0, *(round(1 + i * (start - 1) / (steps - 1)) for i in range(steps))]
        return Process(self.alpha_bar[keep], self.timestep[keep])

    def diffuse(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.signal[t] * x_0 + self.sigma[t] * noise

    def mean(self, x_0: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        return self.of_x_0[t] * x_0 + self.of_x_t[t] * x_t

    def predict(self, output: Tensor, x_t: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, 2C, H, W) -> x_0, log-variance of p(x_(t-1) | x_t): (B, C, H, W) each."""
        # The paper's output is the noise. This one is v = signal noise - sigma x_0 (Salimans and Ho
        # 2022), which gives x_0 without a division by the signal, which is near 0 at T.
        v, share = output.chunk(2, dim=1)
        share = (share + 1) / 2  # of beta, against beta_tilde: the bounds (section 2.1)
        log_variance = share * self.log_beta[t] + (1 - share) * self.log_beta_tilde[t]
        return self.signal[t] * x_t - self.sigma[t] * v, log_variance


def cosine(steps: int) -> Process:
    """Return Improved DDPM's process of T = `steps` (equation 17), for small images."""
    f = ((torch.arange(steps + 1.0).double() / steps + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    alpha = torch.cat([torch.ones(1), (f[1:] / f[:-1]).clamp(min=0.001)])  # 1 - beta
    return Process(alpha.cumprod(0), torch.arange(-1.0, steps))


# 2. The network (section 3) -----------------------------------------------------------------------


class Size(NamedTuple):
    """What the paper ablates; its model of 64 x 64 has 192, (1, 2, 3, 4), 3, (2, 4, 8) and 64."""

    channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4)  # of the channels; each but the first halves H and W
    depth: int = 1  # blocks at each resolution
    attention: tuple[int, ...] = (2, 4)  # with attention where H is smaller by these factors
    head: int = 16  # channels of an attention head


class Attention(nn.Module):
    """x (B, C, H, W) -> x + what its positions read from each other."""

    def __init__(self, size: Size, width: int, out: int | None = None) -> None:
        super().__init__()
        self.heads, self.norm = width // size.head, nn.GroupNorm(8, width)
        self.qkv, self.out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, out or width, 1)
        nn.init.zeros_(self.out.weight)  # branches start near 0

    def attend(self, x: Tensor) -> Tensor:
        """(B, C, L) -> (B, out, L)."""
        q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).mT.unbind(1)  # (B, heads, L, head)
        return self.out(F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attend(self.norm(x).flatten(2)).view_as(x)


class Block(nn.Module):
    """x (B, width, H, W), embedding (B, E) -> (B, out, H', W'): BigGAN's, then attention."""

    def __init__(
        self, size: Size, width: int, out: int, factor: int = 0, resize: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.resize = resize or nn.Identity()  # halves or doubles H and W, of branch and skip
        self.norm_in, self.conv_in = nn.GroupNorm(8, width), nn.Conv2d(width, out, 3, 1, 1)
        self.embedding = nn.Linear(4 * size.channels, 2 * out)
        self.norm_out, self.conv_out = nn.GroupNorm(8, out), nn.Conv2d(out, out, 3, 1, 1)
        self.skip = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        self.attention = Attention(size, out) if factor in size.attention else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(self.resize(F.silu(self.norm_in(x))))
        y_s, y_b = self.embedding(embedding)[:, :, None, None].chunk(2, dim=1)
        h = (1 + y_s) * self.norm_out(h) + y_b  # AdaGN (section 3.1)
        return self.attention(self.skip(self.resize(x)) + self.conv_out(F.silu(h)))


class Encoder(nn.Module):
    """x_t (B, 1, H, W), timestep (B,) -> features of every block, embedding (B, E)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, wide = size.channels, 4 * size.channels
        self.rates = 10_000 ** (-torch.arange(width // 2) / (width // 2))
        self.embed = nn.Sequential(nn.Linear(width, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.conv, self.blocks = nn.Conv2d(1, width, 3, padding=1), nn.ModuleList()
        for halvings, multiplier in enumerate(size.multipliers):
            if halvings > 0:
                self.blocks.append(Block(size, width, width, resize=nn.AvgPool2d(2)))
            for _ in range(size.depth):
                self.blocks.append(Block(size, width, size.channels * multiplier, 2**halvings))
                width = size.channels * multiplier
        self.blocks.append(Block(size, width, width, size.attention[-1]))  # the middle, of two
        self.blocks.append(Block(size, width, width))

    def forward(self, x_t: Tensor, timestep: Tensor) -> tuple[list[Tensor], Tensor]:
        angles = timestep.reshape(-1, 1) * self.rates
        embedding = F.silu(self.embed(torch.cat([angles.cos(), angles.sin()], dim=1)))
        features = [self.conv(x_t)]
        for block in self.blocks:
            features.append(block(features[-1], embedding))
        return features, embedding


class UNet(nn.Module):
    """x_t (B, 1, H, W), timestep (B,) -> (B, 2, H, W), the output that `Process.predict` reads."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(size), nn.ModuleList()
        skips = [size.channels, *(block.conv_out.out_channels for block in self.encoder.blocks)]
        skips, width = skips[:-2], skips[-1]  # from all but the middle
        for halvings, multiplier in reversed([*enumerate(size.multipliers)]):
            for _ in range(size.depth + 1):
                wider, width = width + skips.pop(), size.channels * multiplier
                self.decoder.append(Block(size, wider, width, 2**halvings))
            if halvings > 0:
                self.decoder.append(Block(size, width, width, resize=nn.Upsample(scale_factor=2)))
        self.norm, self.conv = nn.GroupNorm(8, width), nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        (*skips, _, h), embedding = self.encoder(x_t, timestep)
        for block in self.decoder:
            doubles = isinstance(block.resize, nn.Upsample)
            h = block(h if doubles else torch.cat([h, skips.pop()], dim=1), embedding)
        return self.conv(F.silu(self.norm(h)))


class Classifier(nn.Module):
    """x_t (B, 1, 28, 28), timestep (B,) -> logits (B, 10): half a U-Net and a pool (section 4)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.encoder, width = Encoder(size), size.channels * size.multipliers[-1]
        self.pool = Attention(size, width, out=10)
        self.positions = nn.Parameter(torch.randn(width, 1 + 7 * 7) / 8)

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        (*_, h), _ = self.encoder(x_t, timestep)
        h = F.silu(self.pool.norm(h)).flatten(2)
        h = torch.cat([h.mean(dim=2, keepdim=True), h], dim=2) + self.positions  # (B, C, 1 + L)
        return self.pool.attend(h)[:, :, 0]


# 3. The losses (sections 2 and 4) -----------------------------------------------------------------

PROCESS = cosine(1000)  # of training; sampling visits a few of its levels


def diffusion_loss(model: UNet, x_0: Tensor, noise: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """L_simple + L_vlb / 1000 (Improved DDPM, equation 16) of a batch (B, 1, H, W), a scalar."""
    x_t = PROCESS.diffuse(x_0, noise, t)
    v, share = model(x_t, PROCESS.timestep[t]).chunk(2, dim=1)
    simple = (v - (PROCESS.signal[t] * noise - PROCESS.sigma[t] * x_0)) ** 2
    # The term of L_vlb is the divergence of q(x_(t-1) | x_t, x_0) from the model's, in bits, and
    # trains the variance alone. (At level 1 it should be the code length of 8-bit pixels.)
    guess, log_variance = PROCESS.predict(torch.cat([v.detach(), share], dim=1), x_t, t)
    error = PROCESS.mean(x_0, x_t, t) - PROCESS.mean(guess, x_t, t)
    ratio = PROCESS.log_beta_tilde[t] - log_variance
    divergence = (ratio.exp() - 1 - ratio + error**2 / log_variance.exp()) / 2 / math.log(2)
    return (simple + PROCESS.last * divergence / 1000).mean()


def classifier_loss(net: Classifier, x_0: Tensor, noise: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of noisy images, since these are what the classifier guides; a scalar."""
    return F.cross_entropy(net(PROCESS.diffuse(x_0, noise, t), PROCESS.timestep[t]), y)


# 4. Sampling with guidance (section 4) ------------------------------------------------------------


def pull(net: Classifier, process: Process, y: Tensor, s: float, x: Tensor, t: int) -> Tensor:
    """Return s times the gradient of log p(y | x_t), for labels y (B,), with respect to x = x_t."""
    x = x.detach().requires_grad_()
    log_p = -F.cross_entropy(net(x, process.timestep[t]), y, reduction="sum")
    return s * torch.autograd.grad(log_p, x)[0]


def algorithm_1(model: UNet, process: Process, gradient: Callable, noise: Callable) -> Tensor:
    """Sample images (B, C, H, W) from x_T = noise(0), with noise(t) in the step from level t."""
    x = noise(0)
    for t in range(process.last, 0, -1):
        x_0, log_variance = process.predict(model(x, process.timestep[t]), x, t)
        mean = process.mean(x_0.clamp(-1, 1), x, t) + log_variance.exp() * gradient(x, t)
        x = mean + (log_variance / 2).exp() * noise(t) if t > 1 else mean
    return x


def algorithm_2(model: UNet, process: Process, gradient: Callable, x: Tensor) -> Tensor:
    """Sample images by DDIM, from x = x_T alone: all (B, C, H, W)."""
    signal, sigma = process.signal, process.sigma
    for t in range(process.last, 0, -1):
        x_0, _ = process.predict(model(x, process.timestep[t]), x, t)
        epsilon = (x - signal[t] * x_0.clamp(-1, 1)) / sigma[t] - sigma[t] * gradient(x, t)
        x = signal[t - 1] * (x - sigma[t] * epsilon) / signal[t] + sigma[t - 1] * epsilon
    return x


# 5. Training, and Figure 3 ------------------------------------------------------------------------


def train(net: nn.Module, loss: Callable, images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """Train on images (N, 1, H, W) of 0..255, labels (N,); return the average of the weights."""
    average = deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen, t = torch.randint(len(images), (32,)), torch.randint(1, 1001, (32, 1, 1, 1))
        x_0 = images[chosen] / 127.5 - 1
        value = loss(net, x_0, torch.randn_like(x_0), t, labels[chosen])
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
        for mean, now in zip(average.parameters(), net.parameters(), strict=True):
            mean.lerp_(now, 1 - min(0.995, (1 + step) / (10 + step)))
        if step % 100 == 0:
            print(f"{type(net).__name__}, step {step} of {steps}: {value:.3f}", flush=True)
    return average


def png(grey: Tensor) -> bytes:
    """(H, W) uint8 -> a file."""
    header = struct.pack(">IIBBBBB", *reversed(grey.shape), 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(row) for row in grey.tolist()))
    chunks = b"IHDR" + header, b"IDAT" + rows, b"IEND"
    packed = (struct.pack(f">I{len(c)}sI", len(c) - 4, c, zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def main(folder: Path, out: Path = Path(), steps: int = 1900, visited: int = 50) -> None:
    """Draw ankle boots (label 9) from the same noise at scales 0, 1 and 10, one panel each."""
    torch.manual_seed(0)
    files = [gzip.decompress(file.read_bytes()) for file in sorted(folder.glob("train-*.gz"))]
    images, labels = (torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in files)
    images, labels = images[16:].view(-1, 1, 28, 28), labels[8:].long()  # after the headers
    model = train(UNet(Size()), diffusion_loss, images, labels, steps)
    classifier = train(Classifier(Size()), classifier_loss, images, labels, steps // 2)
    x_T, process, panels = torch.randn(36, 1, 28, 28), PROCESS.respaced(visited, 980), []
    for s in (0.0, 1.0, 10.0):
        gradient = partial(pull, classifier, process, torch.full((36,), 9), s)
        x = algorithm_2(model, process, gradient, x_T)
        grey = ((x + 1) * 127.5).round().clamp(0, 255).byte()
        panels.append(F.pad(grey.view(6, 6, 28, 28).transpose(1, 2).reshape(168, 168), [4] * 4))
    (out / "figure-3.png").write_bytes(png(torch.cat(panels, dim=1)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
