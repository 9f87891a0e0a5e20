"""Recipe -> Counts; Counts, Plan, Machine -> Step: the seconds and the bytes of a training step.

Counted are operations, parameters, bytes and collective calls; a Machine has rates. A step takes

    max(passes + state + communication that nothing hides, data) + save,

where `passes` are the forward and backward passes of all micro-batches, `state` is what optimizer
and average read and write, `data` the images that are decoded and drawn meanwhile, and `save` a
checkpoint's time divided by the steps between two. A GPU issues operators while it computes, and
communicates while it computes the passes; processes that share the cores of a CPU take the sum.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from adm.app.runs.estimates import BYTES, COPIES, step_memory
from adm.networks import Stage, recompute
from adm.recipes import ClassifierRecipe, DiffusionRecipe, build

BUCKET, FIRST_BUCKET = 25 * 2**20, 2**20  # bytes of DDP's buckets, and of the first, by default
# Bytes of a step for each parameter that a process holds. AdamW reads weight, gradient and two
# moments, and writes all but the gradient; the average reads itself and the weight, and writes; the
# gradient is written, and read for its norm.
STATE = BYTES * (7 + 3 + 2)
CAST = 6  # bytes for each parameter and pass: autocast reads 4 and writes 2
SAVED = BYTES * 4  # of a checkpoint, for each parameter: weight, average, two moments
COLUMNS = 4  # of the log's rows: level, loss, squared error, variational term
NEVER = 2**31
Collective: TypeAlias = Literal["all_reduce", "all_gather", "reduce_scatter"]


class Counts(NamedTuple):
    """Counts of a recipe's training.

    Attributes:
        forward, backward: floating point operations for an image.
        issued: operators that torch dispatches in a forward and a backward pass of any size.
        groups: parameters that FSDP gathers at once: of every `Stage`, then all others, which are
            gathered once a pass and retained.
        fixed, per_image: bytes of a step of one process (see `estimates.StepMemory`).
    """

    parameters: int
    forward: int
    backward: int
    issued: int
    groups: tuple[int, ...]
    fixed: int = 0
    per_image: int = 0

    @property
    def operations(self) -> int:
        """Floating point operations of training on an image."""
        return self.forward + self.backward

    @property
    def buckets(self) -> list[int]:
        """Bytes of the buckets that DDP averages; the first one is of the last layers."""
        total = BYTES * self.parameters
        first = min(total, FIRST_BUCKET)
        whole, part = divmod(total - first, BUCKET)
        return [first, *[BUCKET] * whole, *[part] * (part > 0)]


@dataclass(frozen=True)
class Plan:
    """How a batch is divided.

    Attributes:
        batch_size: images of a step, over all ranks.
        most: images of a pass, as `--micro-batch`.
        sharded: FSDP, as `--shard`, or DDP.
    """

    ranks: int
    batch_size: int
    most: int = NEVER
    sharded: bool = False

    @property
    def share(self) -> int:
        """The most images that a rank has."""
        return -(-self.batch_size // self.ranks)

    @property
    def micro_batch(self) -> int:
        return min(self.most, self.share)

    @property
    def passes(self) -> int:
        return -(-self.share // self.micro_batch)


def memory(counts: Counts, plan: Plan) -> int:
    """Return the bytes that a process needs.

    FSDP divides weights, moments, average and gradients. Whole are two groups in flight, the
    retained one, and their gradients; between micro-batches all gradients.
    """
    fixed = counts.fixed
    if plan.sharded and plan.ranks > 1:
        *stages, rest = counts.groups
        divided = BYTES * counts.parameters * (COPIES + 2)
        whole = BYTES * counts.parameters if plan.passes > 1 else 0
        fixed += divided // plan.ranks - divided + 2 * BYTES * (rest + 2 * max(stages)) + whole
    return fixed + plan.micro_batch * counts.per_image


def traffic(kind: Collective, size: int, ranks: int) -> float:
    """Return the bytes that a rank sends for a call on `size` bytes, in a ring.

    2 (n - 1) / n of them for an all-reduce, and half for the others (Patarasuk and Yuan 2009).
    """
    return (2 if kind == "all_reduce" else 1) * (ranks - 1) / ranks * size


class Wire(NamedTuple):
    """One way of a collective call, in a ring or in a tree.

    Attributes:
        base: seconds of any call.
        hop, far_hop: seconds of each hop in a node, and of one between nodes.
        near: bytes a second that a rank sends.
        far: bytes a second that leave a node, to which the rings through it add up.
        tree: whether the nodes form a tree, which only an all-reduce can use.
    """

    base: float
    hop: float
    near: float
    far_hop: float = 0.0
    far: float = math.inf
    tree: bool = False

    def seconds(self, kind: Collective, size: int, ranks: int, node: int = NEVER) -> float:
        """Return the seconds of a call on `size` bytes, all that is gathered or reduced."""
        if self.tree and kind != "all_reduce":
            return math.inf
        nodes, rounds = -(-ranks // node), 2 if kind == "all_reduce" else 1
        between = rounds * (math.log2(nodes) if self.tree else nodes - 1)
        within = rounds * (min(node, ranks) - 1 if self.tree else ranks - nodes)
        rate = min(self.near, self.far) if nodes > 1 else self.near
        sent = traffic(kind, size, ranks)
        return self.base + within * self.hop + between * self.far_hop + sent / rate


@dataclass(frozen=True)
class Machine:
    """The rates of a rank, and of what joins ranks.

    Attributes:
        rate: floating point operations a second that the passes reach.
        dispatch: seconds to issue an operator.
        state_rate: bytes a second that optimizer and average move.
        wires: the ways of each kind of call, of which the fastest is taken.
        asynchronous: whether issuing and communicating go on beside computing.
        hook: seconds that FSDP spends on a group besides the call.
        node: ranks of a node.
        slowdown: of all work of a rank, by how many ranks share the machine's cores; 1 for others.
        decode, draw: core seconds to decode an image, and to draw its noise, which one thread does.
        cores: of a rank, that decode.
        disk: bytes a second to which a checkpoint is written.
        memory: bytes that a step may use.
    """

    rate: float
    dispatch: float
    state_rate: float
    wires: Mapping[str, Sequence[Wire]]
    asynchronous: bool = True
    hook: float = 0.0
    node: int = NEVER
    slowdown: Mapping[int, float] = field(default_factory=dict)
    decode: float = 0.0
    draw: float = 0.0
    cores: float = 1.0
    disk: float = math.inf
    memory: float = math.inf

    def call(self, kind: Collective, size: int, ranks: int) -> float:
        """Return the seconds of a collective call, without slowdown."""
        return min(wire.seconds(kind, size, ranks, self.node) for wire in self.wires[kind])


class Step(NamedTuple):
    """The seconds of a step's parts; `exposed` is the communication that nothing hides."""

    passes: float
    state: float
    exposed: float
    data: float
    save: float

    @property
    def seconds(self) -> float:
        return max(self.passes + self.state + self.exposed, self.data) + self.save


def step(counts: Counts, plan: Plan, machine: Machine, save_every: int = NEVER) -> Step:
    """Predict a training step; `save_every` is the steps between two checkpoints."""
    slow = machine.slowdown.get(plan.ranks, 1.0)
    work = plan.share * counts.operations / machine.rate
    issue = plan.passes * counts.issued * machine.dispatch
    moved = STATE * counts.parameters / (plan.ranks if plan.sharded else 1)
    exposed, forward = _small(counts, plan, machine), counts.forward / counts.operations
    beside_forward, beside_backward = _calls(counts, plan, machine)
    if machine.asynchronous:
        passes = max(work, issue)
        moved += CAST * counts.parameters * plan.passes
        exposed += _beyond(beside_forward, forward * passes)
        exposed += _beyond(beside_backward, (1 - forward) * passes / plan.passes)
    else:
        passes = work + issue
        exposed += sum(beside_forward) + sum(beside_backward)
    data = plan.share * max(machine.decode / machine.cores, machine.draw)
    save = SAVED * counts.parameters / machine.disk / save_every
    return Step(slow * passes, slow * moved / machine.state_rate, slow * exposed, data, save)


def _beyond(calls: Sequence[float], seconds: float) -> float:
    """Return the time of calls that `seconds` of computation do not hide, at least one call."""
    return max(sum(calls) - seconds, calls[-1]) if calls else 0.0


def _calls(counts: Counts, plan: Plan, machine: Machine) -> tuple[list[float], list[float]]:
    """Return the seconds of the calls beside the forward passes, and beside the last backward one.

    DDP averages its buckets in the last backward pass. FSDP gathers every group in a forward pass,
    all but the retained one in a backward pass again, and scatters the gradients in the last. The
    gathers of an earlier backward pass are counted among those of the forward ones.
    """
    if plan.ranks == 1:
        return [], []
    call = partial(machine.call, ranks=plan.ranks)
    if not plan.sharded:
        return [], [call("all_reduce", size) for size in counts.buckets]
    gather = [call("all_gather", BYTES * group) + machine.hook for group in counts.groups]
    scatter = [call("reduce_scatter", BYTES * group) + machine.hook for group in counts.groups]
    earlier = (plan.passes - 1) * (gather + gather[:-1])
    return [*earlier, *gather], [*gather[:-1], *scatter]


def _small(counts: Counts, plan: Plan, machine: Machine) -> float:
    """Return the seconds of the log's rows, of whether a rank must stop, and of FSDP's norm."""
    if plan.ranks == 1:
        return 0.0
    rows = BYTES * COLUMNS * plan.share * plan.ranks
    flags = (1 + plan.sharded) * machine.call("all_reduce", BYTES, plan.ranks)
    return machine.call("all_gather", rows, plan.ranks) + flags


class _Issued(TorchDispatchMode):
    """Counts the operators that are dispatched."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def count(recipe: DiffusionRecipe, *, traced: bool = True) -> Counts:
    """Count a recipe's step on meta tensors, which have shapes and no values.

    Args:
        traced: whether to trace the bytes of a GPU's step as well.
    """
    with torch.device("meta"):
        network = recompute(build.network(recipe).train(), recipe.train.checkpoint_activations)
        inputs = _inputs(recipe)
        with _Issued() as issued:
            network(*inputs).sum().backward()
        with FlopCounterMode(display=False) as counter:
            output = network(*inputs)
            forward = counter.get_total_flops()
            output.sum().backward()
    backward = counter.get_total_flops() - forward
    sizes = [_size(module) for module in network.modules() if isinstance(module, Stage)]
    total = _size(network)
    bytes_of = step_memory(recipe, "cuda") if traced else (0, 0)
    groups = (*sizes, total - sum(sizes))
    return Counts(total, forward, backward, issued.count, groups, *bytes_of)


def count_call(recipe: DiffusionRecipe, guide: ClassifierRecipe) -> int:
    """Return the operations of a guided call for an image: network, and classifier's gradient."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x, time, *others = _inputs(recipe)
        network, classifier = (build.network(each).eval() for each in (recipe, guide))
        network.requires_grad_(False)(x, time, *others)
        classifier.requires_grad_(False)(x.requires_grad_(), time).sum().backward()
    return counter.get_total_flops()


def _inputs(recipe: DiffusionRecipe) -> list[Any]:
    data, low = recipe.data, recipe.data.low_res
    label = torch.zeros(1, dtype=torch.long) if recipe.unet.classes else None
    small = None if low is None else torch.empty(1, data.channels, *low)
    return [torch.empty(1, data.channels, *data.size), torch.zeros(1), label, small]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def nccl(near: float, far: float) -> dict[str, tuple[Wire, ...]]:
    """Return NCCL's ways: ring and tree, each by its protocols Simple and LL.

    The latencies, the shares of the rate that LL and the tree reach, and the tree's highest rate,
    that of several A100 nodes, are those by which NCCL chooses (its src/graph/tuning.cc).

    Args:
        near: bytes a second of a rank over NVLink.
        far: bytes a second of a node.
    """
    us, most = 1e-6, min(80e9, 0.9 * near, 0.9 * far)
    ring = (
        Wire(8.4 * us, 3.4 * us, near, 9.6 * us, far),
        Wire(3.6 * us, 0.85 * us, near / 4, 2.7 * us, far / 4),
    )
    tree = (
        Wire(0.0, 28 * us, most, 50 * us, most, tree=True),
        Wire(4.4 * us, 0.94 * us, most / 3.8, 5.0 * us, most / 3.8, tree=True),
    )
    return {"all_reduce": ring + tree, "all_gather": ring, "reduce_scatter": ring}
