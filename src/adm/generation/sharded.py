"""Job, Shard -> the cache folder of its share of the images; the last shard -> sample folder."""

import time
from pathlib import Path

import torch

from adm.cached import Cached
from adm.generation.cache import Caches, cache_of, cache_path, empty, lacking
from adm.generation.folder import check_free, holds, sample_into, sampled
from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.shares import Shard
from adm.processes import Devices
from adm.store.locks import InUse
from adm.store.locks import check_free as check_unlocked

ATTEMPTS, AGAIN_S = 10, 0.2  # of a shard to write the folder, and seconds between them


# Seven parameters: as `sample_into`.
def sample_shard(
    out: Path,
    job: Job,
    shard: Shard,
    *,
    batch_size: int = 64,
    on_step: OnStep | None = None,
    overwrite: bool = False,
    animate: bool = False,
) -> list[range]:
    """Sample a share of the images, into a cache folder beside `out`.

    Shards may run at the same time or one after another, on one machine or on several whose cache
    folders are copied together. The one that finds all images beside `out` writes the sample
    folder; so does `sample_into`.

    Args:
        shard: which share this is.
        on_step: as for `sample_into`; counts what all processes do that write beside `out`.

    Returns:
        The images that are still missing; none if `out` is complete, or is completed by another
        process.

    Raises:
        InUse: another process samples this shard, or all images.
        FileExistsError, ValueError, FloatingPointError: as `sample_into`.
    """
    with cache_of(out, shard) as own:
        check_unlocked(cache_path(out))  # which one process holds that samples all images
        if overwrite:
            check_free(out, overwrite)
        elif holds(out, job):
            empty(own)
            return []
        caches = Caches(out, own, Devices(torch.device("cpu")), shard=shard)
        caches.claim(job.manifest())
        sampled(job, caches, batch_size, on_step)
    for attempt in range(ATTEMPTS):
        if missing := lacking(out, job):
            return [] if not overwrite and holds(out, job) else missing
        try:
            told = None if on_step is None else _without_cached(on_step)
            sample_into(
                out,
                job,
                batch_size=batch_size,
                on_step=told,
                overwrite=overwrite,
                animate=animate,
            )
            break
        except InUse:  # another shard ends at this moment, and tries as well
            if attempt + 1 < ATTEMPTS:
                time.sleep(AGAIN_S)
    return []


def _without_cached(on_step: OnStep) -> OnStep:
    """Return a callback that is not told again of what this process has counted already."""
    return lambda amount: None if isinstance(amount, Cached) else on_step(amount)
