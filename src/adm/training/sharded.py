"""Tensors by name, sharded or whole <-> folder of safetensors, one file a process.

Torch's distributed checkpoint writes the shards of every process in a thread, from a copy, so that
a step waits for the copy alone, and reads them into any number of processes.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, TypeAlias

import torch
import torch.distributed as dist
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from adm.processes import Devices
from adm.shown import reason_of
from adm.store.parsed import CLASSES, as_type, parse_json

MODULE = "torch.distributed.checkpoint.hf_storage"  # of PyTorch 2.9 and later
FEATURE = "save_distributed"

PARTS = "DCP_SHARDING_INFO"  # the entry of a header that says which parts a file has

Form: TypeAlias = tuple[tuple[int, ...], torch.dtype]
Forms: TypeAlias = dict[str, Form]  # shapes and dtypes, by name
Index: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 40)]


@dataclass(frozen=True)
class _Part:
    saved_offsets: list[Index]


def is_supported() -> bool:
    """Return whether this PyTorch writes shards as safetensors; its other form is a pickle."""
    if find_spec(MODULE) is None:
        return False
    from inspect import signature

    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    return FEATURE in signature(HuggingFaceStorageWriter).parameters


class Writer:
    """Writes one set of shards at a time behind the training; every process must call its methods.

    Used as a context manager, which waits for what is being written.
    """

    def __init__(self, devices: Devices) -> None:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        self.devices = devices
        # Of its own, because its collective calls come between those of the steps.
        self.group: Any = dist.new_group(backend="gloo")
        on_gpu = devices.device.type == "cuda"
        # Its buffers are allocated once, and are pinned for a GPU.
        self.stager = DefaultStager(StagingOptions(on_gpu, False, False, on_gpu))
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.following: Future[None] | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error, another process may be gone, and what is written would wait for it.
        self.thread.shutdown(wait=kind in (None, GeneratorExit))
        self.stager.close()

    def start(self, folder: Path, tensors: Mapping[str, Tensor]) -> Callable[[], None]:
        """Copy tensors, and begin to write them to `folder`.

        Args:
            tensors: by name; shards, or wholes that are equal on all processes.

        Returns:
            A function that waits until all processes have written theirs, and raises what happened.
        """
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        writing = async_save(
            {name: tensor.detach() for name, tensor in tensors.items()},
            storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
            process_group=self.group,
            async_stager=self.stager,
        )

        def written() -> None:
            try:
                writing.result()  # type: ignore[union-attr]
            except CheckpointException as error:  # not an `Exception`
                causes = [cause for cause, _ in error.failures.values()]
                first = next((each for each in causes if isinstance(each, Exception)), None)
                raise first or RuntimeError(str(error)) from None

        return written

    def follow(self, action: Callable[[], None]) -> None:
        """Call `action` in the background, on every process; `wait` raises its error."""
        self.following = self.thread.submit(action)

    @property
    def failed(self) -> bool:
        """Whether what this process does in the background has failed."""
        following = self.following
        return following is not None and following.done() and following.exception() is not None

    def wait(self) -> None:
        """Wait for what is done in the background; raise its first error, on every process."""
        following, self.following = self.following, None
        failure = None if following is None else following.exception()
        self.devices.share_failure(failure if isinstance(failure, Exception) else None)
        if failure is not None:
            raise failure


def forms(folder: Path) -> Forms:
    """Return the shape and the dtype of each tensor of a folder of shards.

    Raises:
        ValueError: a file is damaged, or the parts of a tensor do not make a whole.
        ImportError: this PyTorch cannot read it.
    """
    if not is_supported():
        raise ImportError(f"{folder} has shards; install PyTorch 2.9 or later to read them")
    parts = defaultdict[str, list[tuple[list[int], Tensor]]](list)
    for path, tensors in files(folder).items():
        starts = _starts(path)
        for name, tensor in tensors.items():
            if len(starts.get(name, ())) != tensor.dim() or name not in starts:
                raise ValueError(f"{path} does not say which part of {name} it has")
            parts[name].append((starts[name], tensor))
    return {name: _form(folder, name, each) for name, each in parts.items()}


def _form(folder: Path, name: str, parts: Sequence[tuple[list[int], Tensor]]) -> Form:
    """Return the form of a tensor of which these are the parts, each with its first index."""
    first = parts[0][1]
    if any(part.dim() != first.dim() or part.dtype != first.dtype for _, part in parts):
        raise ValueError(f"the parts of {name} in {folder} are of several forms")
    ends = ([s + n for s, n in zip(start, part.shape, strict=True)] for start, part in parts)
    shape = tuple(map(max, zip(*ends, strict=True)))
    filled = [tuple(start) for start, part in parts if part.numel()]
    if len({*filled}) < len(filled) or sum(p.numel() for _, p in parts) != math.prod(shape):
        raise ValueError(f"the parts of {name} in {folder} are not a whole of {shape}")
    return shape, first.dtype


def _starts(path: Path) -> dict[str, list[int]]:
    """Return the index of the first entry of each part in a file, by the name of its tensor."""
    try:
        with safe_open(path, framework="pt") as file:
            parts = parse_json((file.metadata() or {}).get(PARTS, ""), CLASSES)
        return {name: each.saved_offsets for name, each in as_type(dict[str, _Part], parts).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({reason_of(error)})") from None


def files(folder: Path) -> dict[Path, dict[str, Tensor]]:
    """Return the tensors in each file of a folder of shards, mapped from the disk.

    Raises:
        ValueError: a file is damaged.
    """
    try:
        return {path: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder} has a damaged shard ({reason_of(error)})") from None


def read(folder: Path, tensors: Mapping[str, Tensor], devices: Devices | None = None) -> None:
    """Fill tensors, sharded or whole, from a folder of shards of any number of processes.

    Args:
        devices: of the processes that all call, each for its shards; None for this one alone.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    alone = devices is None or devices.world == 1
    with warnings.catch_warnings():
        # It warns that a single process is assumed, as is meant.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        load(
            {name: tensor.detach() for name, tensor in tensors.items()},
            storage_reader=HuggingFaceStorageReader(str(folder)),
            no_dist=alone,
        )


def read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, whole, by the rest of the name.

    Of a folder of shards, in this process alone.
    """
    selected = {name: form for name, form in forms(folder).items() if name.startswith(prefix)}
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in selected.items()}
    read(folder, tensors)
    return {name.removeprefix(prefix): values for name, values in tensors.items()}
