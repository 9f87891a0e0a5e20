"""Job, spans of images -> batch files, each written while the next batch is sampled."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from adm.generation.batches import Batch, listed, store
from adm.generation.blocks import whole_blocks
from adm.generation.generate import block_of
from adm.generation.generator import OnStep
from adm.generation.job import Images, Job
from adm.generation.shares import batches

WAITING = 2  # batches that are sampled and not yet written
LOOK_S = 1.0  # between two looks at what other processes have finished


# Seven parameters: what is made, where it is kept, and how it is told.
def make(
    job: Job,
    spans: Iterable[range],
    low_res: Images | None,
    place: Path,
    of: str,
    batch_size: int,
    on_step: OnStep | None,
) -> list[Batch]:
    """Sample images batch by batch; a thread encodes and writes each while the next is sampled.

    At most `WAITING` batches wait for that thread. What is sampled before an error or an
    interruption is written.

    Args:
        spans: their indices.
        low_res: the images that the job starts from.
        place: the folder of the batch files.
        of: fingerprint of the job.
        batch_size: images of a batch, rounded up to whole blocks.
        on_step: called after every step with the number of images in the block.
    """
    size = whole_blocks(batch_size, block_of(job.generator))
    written, waiting = list[Batch](), deque[Future[Batch]]()
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        for span in batches(spans, size):
            part = slice(span.start, span.stop)
            labels = None if job.labels is None else torch.tensor(job.labels[part])
            low = None if low_res is None else low_res[part]
            images = job.generator.images(labels, span, low, on_step)
            waiting.append(writer.submit(store, place, span, images, of))
            while len(waiting) > WAITING:
                written.append(waiting.popleft().result())
        written += [each.result() for each in waiting]
    return written


class Others:
    """Counts the batches that other processes finish, which it looks for once in `LOOK_S`.

    Args:
        on_step: told of them, and of every step of this process.
        places: returns the folders in which they write; those that exist.
        evaluations: network evaluations of an image.
        seen: images in these folders that were found before anything was sampled; another process
            may have finished a batch by now.
    """

    def __init__(
        self, on_step: OnStep, places: Callable[[], Iterable[Path]], evaluations: int, seen: int
    ) -> None:
        self._on_step, self._places, self._evaluations = on_step, places, evaluations
        self._seen, self._last = seen, time.monotonic()

    def __call__(self, amount: int) -> None:
        """Count a step of this process."""
        self._on_step(amount)
        if time.monotonic() - self._last > LOOK_S:
            self.look()

    def look(self) -> None:
        """Count what others have finished since the last look."""
        count, self._last = self._count(), time.monotonic()
        if count > self._seen:
            self._on_step((count - self._seen) * self._evaluations)
            self._seen = count

    def _count(self) -> int:
        return sum(len(batch.span) for place in self._places() for batch in listed(place))
