"""Recipe -> bytes of a training step, before training.

The passes of a turn run on PyTorch's fake tensors, which have shapes and no values, in a second or
two for a network of any size. A ledger counts the bytes of every storage while it is alive.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from adm.distillation import Teach
from adm.networks import key_dropout, recompute
from adm.recipes import build
from adm.recipes.schema import Recipe
from adm.training.batches import Batch, blank
from adm.training.objective import Objective
from adm.training.players import Player, RunState, idle
from adm.training.update import Turn, Update

SMALL = 32 * 32  # pixels of an image up to which larger batches are traced
COPIES = 3  # of every weight: itself and AdamW's two moments; averages are extra
BYTES = 4  # bytes of a float32
LIBRARIES = 112 * 2**20  # bytes of the modules and CPU kernels that the first step loads
SAFE_SHARE = 0.75  # of free memory: a step needs up to 1.23 estimates (docs/reference/recipes.md)
# Operators whose CPU kernels copy inputs and outputs into a layout of their own.
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


class StepMemory(NamedTuple):
    """The peak memory of a training step: fixed + micro-batch x per_image.

    Attributes:
        fixed: bytes of weights, gradients, moments and averages, and of what a step derives from
            weights alone, such as their copies in 16 bits.
        per_image: bytes of features and their gradients, for each image of a micro-batch. Those of
            a GAN are the real images of one step of its discriminator.
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Return the bytes for a micro-batch of `images`."""
        return self.fixed + images * self.per_image


def step_memory(recipe: Recipe, device_type: str = "cpu", teach: Teach | None = None) -> StepMemory:
    """Trace steps with three batch sizes, and fit their peak memory by a line.

    The peak is convex in the number of images: it is at the largest weights for few images, and at
    the largest features for many. The line passes through the peak of one image and has the slope
    between the two larger batches, so that it overestimates. The overhead of the allocator is not
    included; docs/reference/recipes.md has measurements of it.

    Args:
        device_type: `cpu` includes the copies of its kernels and the size of its libraries. For
            other devices, neither these nor the memory of their drivers is included.
        teach: the teacher of a student, whose features are included, and not its weights.
    """
    averages = 1 + len(recipe.train.ema_others)
    copying = device_type == "cpu"
    sizes = batch_sizes(recipe)
    one, some, many = _peaks(recipe, sizes, copying, teach)
    per_image = (many - some) // (sizes[2] - sizes[1])
    base = BYTES * build.parameters(recipe) * (COPIES + averages) + (LIBRARIES if copying else 0)
    return StepMemory(base + one - per_image, per_image)


def fits_in_memory(
    recipe: Recipe, teach: Teach | None = None, ranks: int = 1
) -> Callable[[int], bool]:
    """Return a function that estimates whether a micro-batch fits in the free memory of the CPU.

    A trial would not show it, because the system swaps to the disk before an allocation fails.

    Args:
        teach: the teacher of a student.
        ranks: how many share the memory.
    """
    needed = cache(lambda: step_memory(recipe, "cpu", teach))  # takes seconds, so only on demand
    part = SAFE_SHARE / ranks
    return lambda size: needed().of(size) < part * psutil.virtual_memory().available


def batch_sizes(recipe: Recipe) -> tuple[int, int, int]:
    """Return the sizes of the three batches that are traced; the estimate holds up to the last."""
    height, width = recipe.data.size
    return (1, 32, 64) if height * width <= SMALL else (1, 4, 8)


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages that are allocated while it is active.

    Args:
        before: tensors that exist already, of which views are not counted either.

    Attributes:
        copying: whether convolutions hold a second copy of their inputs and outputs.
        alive: bytes of the storages that are alive.
        peak: the maximum of `alive`, copies included.
    """

    def __init__(self, copying: bool = False, before: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.copying, self.alive, self.peak = copying, 0, 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet(t.untyped_storage() for t in before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = [t for t in tree_iter(result) if isinstance(t, Tensor)]
        for tensor in outputs:
            self._enter(tensor.untyped_storage())
        if self.copying and func.overloadpacket in CONVOLUTIONS:
            inputs = [t for t in tree_iter(args) if isinstance(t, Tensor)]
            self.peak = max(self.peak, self.alive + sum(t.nbytes for t in (*inputs, *outputs)))
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        weakref.finalize(storage, self._leave, storage.nbytes())
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)

    def _leave(self, size: int) -> None:
        self.alive -= size


# Five parameters, of which the last two have defaults.
def walk(
    network: nn.Module,
    objective: Objective,
    batch: Batch,
    copying: bool = False,
    others: Iterable[nn.Module] = (),
) -> int:
    """Return the peak bytes of gradients, and of what a forward and a backward pass allocate.

    The gradients exist from the start, as in a later micro-batch of a step.

    Args:
        network: the network that learns.
        others: networks that the objective evaluates; their weights are not counted.
    """
    key_dropout(network, batch.draws.key)
    existing = [t for each in (network, *others) for t in (*each.parameters(), *each.buffers())]
    with Ledger(copying, existing) as ledger:
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        objective(network, batch).loss.sum().backward()
    network.zero_grad(set_to_none=True)
    return ledger.peak


def _peaks(
    recipe: Recipe, sizes: Sequence[int], copying: bool, teach: Teach | None = None
) -> list[int]:
    """Return the peak of a turn's passes for each size, that of the player that needs most."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        networks = {name: each.train() for name, each in build.networks(recipe).items()}
    for network in networks.values():
        recompute(network, recipe.train.checkpoint_activations)
    # The last step, whose stage is a student's last.
    state = RunState({n: idle(net) for n, net in networks.items()}, step=recipe.train.steps - 1)
    turn, parts = build.turn(recipe, state, torch.device("cpu"), teach), recipe.parts
    data = recipe.data
    other = (data.channels, *(data.low_res or data.size)) if data.paired else None
    batches = [blank(size * parts, (data.channels, *data.size), other) for size in sizes]
    return [_peak(turn, state, batch, fake, copying) for batch in batches]


def _peak(turn: Turn, state: RunState, batch: Batch, fake: FakeTensorMode, copying: bool) -> int:
    peaks, networks = list[int](), [player.network for player in state.players.values()]

    def walked(player: Player, objective: Objective, batch: Batch, *, parts: int = 1) -> Update:
        with fake:
            peaks.append(walk(player.network, objective, batch, copying, networks))
        return Update(torch.empty(0), {}, 0.0, None)

    turn(state, batch, walked)
    return max(peaks)
