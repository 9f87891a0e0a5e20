"""Job, cache folders -> Stored, its images in batch files, made by one process or several.

A cache folder is beside the sample folder, has one writer, and keeps finished batches. Processes
that share the images of a job have one each, and read those of the others. A batch that is damaged
or of another job is sampled again.
"""

import glob
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adm.app.notices import notice
from adm.cached import Cached
from adm.data.naming import BASE, MANIFEST
from adm.differences import first_difference
from adm.generation.batches import Batch, Stored, listed, read
from adm.generation.generate import block_of
from adm.generation.generator import OnStep
from adm.generation.job import Images, Job
from adm.generation.making import Others, make
from adm.generation.shares import Shard, common, without
from adm.processes import Devices
from adm.store.files import clear, write_json
from adm.store.locks import FILE as LOCK
from adm.store.locks import locked
from adm.store.parsed import cached_json, through_json

OF_SHARD = re.compile(r".*\.part\.([0-9]+)-of-([0-9]+)")


def cache_path(out: Path, shard: Shard | None = None) -> Path:
    """Return the cache folder of a sample folder, or that of one of its shards."""
    place = out.resolve()
    end = "" if shard is None else f".{shard.number}-of-{shard.of}"
    return place.with_name(f".{place.name}.part{end}")


def shard_caches(out: Path) -> list[Path]:
    """Return the cache folders of shards that there are."""
    plain = cache_path(out)
    found = sorted(plain.parent.glob(f"{glob.escape(plain.name)}.*-of-*"))
    return [each for each in found if OF_SHARD.fullmatch(each.name) and each.is_dir()]


@contextmanager
def cache_of(out: Path, shard: Shard | None = None) -> Iterator[Path]:
    """Yield the locked cache folder of a folder that is to be written, and remove what is left.

    That it can be created shows, before any work, that `out` can be written. It is removed if the
    block leaves no finished batch in it.

    Raises:
        InUse: another process writes `out`, or this shard of it.
        OSError: `out` cannot be written, or is a loop of links.
    """
    with suppress(FileNotFoundError):
        out.stat()  # refuses a loop of links
    with _held(cache_path(out, shard)) as cache:
        clear(out.resolve())
        yield cache


@contextmanager
def _held(cache: Path) -> Iterator[Path]:
    """Yield a locked cache folder; remove it if the block leaves no finished batch in it."""
    try:
        with locked(cache):
            try:
                yield cache
            finally:
                if not any(cache.rglob("*.npz")):
                    empty(cache)
    finally:
        with suppress(OSError):  # it holds finished batches, or another process has it
            cache.rmdir()


@dataclass(frozen=True, eq=False)
class Caches:
    """The cache folders of a sample folder, as they are seen by one of the processes that use them.

    Attributes:
        out: the sample folder.
        own: the folder that this process writes to.
        devices: the ranks, which hold the locks of all folders that there were when they started;
            one process if there is a shard.
        others: the folders that rank 0 holds besides its own.
        shard: which of the images this process makes, if it shares them with processes that it does
            not know; it holds its own folder only.
    """

    out: Path
    own: Path
    devices: Devices
    others: Sequence[Path] = ()
    shard: Shard | None = None

    @property
    def all(self) -> list[Path]:
        """All folders that there are, that of the whole job first."""
        return [cache_path(self.out), *shard_caches(self.out)]

    def claim(self, manifest: dict[str, Any]) -> None:
        """Note whose images are cached, and discard those of another job unless a shard made them.

        Raises:
            ValueError: a shard has made images of another job; names the first difference.
        """
        self.devices.once(lambda: self._check(manifest))
        if self.own != cache_path(self.out):
            write_json(self.own / MANIFEST, manifest)

    def _check(self, manifest: dict[str, Any]) -> None:
        for cache in shard_caches(self.out):
            if difference := _difference(cache, manifest):
                raise ValueError(
                    f"{cache} holds a part of other samples: {difference}; give the same settings, "
                    "choose another folder, or remove that one"
                )
        if self.shard is None:
            claim_cache(cache_path(self.out), manifest)

    def sampled(
        self, job: Job, low_res: Images | None, depth: int, batch_size: int, on_step: OnStep | None
    ) -> Stored:
        """Sample the images of a job that no folder has; with a shard, only its share of them.

        Args:
            low_res: the images that the job starts from.
            depth: number of jobs that start from this one.
            batch_size: images of a batch, rounded up to whole blocks.
            on_step: called after every step with the number of images in the block, with all steps
                of what is found as `Cached`, and with those of batches that others finish.

        Raises:
            ValueError: the folders of other ranks cannot be seen.
        """
        of, block, whole = job.fingerprint, block_of(job.generator), [range(job.count)]
        place = _at(self.own, depth)
        found = self._intact(job, of, depth)
        lacking = without(whole, [batch.span for batch in found])
        if self.shard is not None:
            mine = common(lacking, self.shard.share(whole, block))
        else:
            mine = _as_shard(self.devices).share(lacking, block)
        told, evaluations = None, job.generator.evaluations
        if on_step is not None:
            seen = sum(len(each.span) for each in found if each.path.parent != place)
            told = Others(on_step, lambda: self._others(depth), evaluations, seen)
            if done := job.count - sum(map(len, lacking)):
                on_step(Cached(done * evaluations))
        place.mkdir(parents=True, exist_ok=True)
        found += make(job, mine, low_res, place, of, batch_size, told)
        self.devices.meet(None if told is None else told.look)
        if self.devices.world > 1:
            found = [batch for cache in self.all for batch in listed(_at(cache, depth))]
        stored = Stored.found(found, of, job.generator.shape, job.count)
        if self.shard is None:
            self.devices.share_failure(_incomplete(self.out, without(whole, stored.spans)))
        return stored

    def empty(self, manifest: dict[str, Any]) -> None:
        """Remove what is cached of a job in the folders whose locks this process holds."""
        for cache in (self.own, *self.others):
            if cache == cache_path(self.out) or _difference(cache, manifest) is None:
                empty(cache)

    def _others(self, depth: int) -> list[Path]:
        return [_at(cache, depth) for cache in self.all if cache != self.own]

    def _intact(self, job: Job, of: str, depth: int) -> list[Batch]:
        """Return the batches of all folders; each rank reads its share of them, to check them."""
        here = [batch for cache in self.all for batch in listed(_at(cache, depth))]
        found = list[Batch]()
        for batch in here[self.devices.rank :: self.devices.world]:
            if batch.span.stop <= job.count and read(batch, of, job.generator.shape) is not None:
                found.append(batch)
                continue
            notice(f"{batch.path} is damaged, or of other samples; it is sampled again")
            if self.shard is None or batch.path.is_relative_to(self.own):
                batch.path.unlink(missing_ok=True)
        return [batch for each in self.devices.gather(found) for batch in each]


@contextmanager
def caches_of(out: Path, devices: Devices) -> Iterator[Caches]:
    """Hold all cache folders of a sample folder, each rank its own and rank 0 all others.

    Raises:
        InUse: another process writes the sample folder, or a shard of it.
        OSError: as `cache_of`.
    """
    own = _as_shard(devices) if devices.world > 1 else None
    with ExitStack() as held:
        devices.each(lambda: held.enter_context(cache_of(out, own)))
        group = [cache_path(out, _as_shard(devices, rank)) for rank in range(devices.world)]
        others = list[Path]()

        def rest() -> None:
            if devices.world > 1:
                others.append(held.enter_context(cache_of(out)))
            for cache in shard_caches(out):
                if devices.world == 1 or cache not in group:
                    others.append(held.enter_context(_held(cache)))

        devices.once(rest)
        yield Caches(out, cache_path(out, own), devices, others)


def claim_cache(cache: Path, manifest: dict[str, Any]) -> None:
    """Empty a locked folder of cached samples unless its manifest is the same."""
    path = cache / MANIFEST
    if cached_json(path) == through_json(manifest):
        return
    empty(cache)
    write_json(path, manifest)


def empty(cache: Path) -> None:
    """Remove everything in a cache folder but its lock."""
    for each in cache.iterdir():
        if each.name == LOCK:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def lacking(out: Path, job: Job, depth: int = 0) -> list[range]:
    """Return the images that no cache folder has, those of the jobs that it starts from included.

    Files are found by name, and not read.
    """
    caches = [cache_path(out), *shard_caches(out)]
    held = [batch.span for cache in caches for batch in listed(_at(cache, depth))]
    own = without([range(job.count)], held)
    before = lacking(out, job.low_res, depth + 1) if isinstance(job.low_res, Job) else []
    return without([range(job.count)], without(without([range(job.count)], own), before))


def _at(cache: Path, depth: int) -> Path:
    """Return the folder of the batches of a job in a cache folder."""
    return cache.joinpath(*[BASE] * depth)


def _as_shard(devices: Devices, rank: int | None = None) -> Shard:
    return Shard((devices.rank if rank is None else rank) + 1, devices.world)


def _difference(cache: Path, manifest: dict[str, Any]) -> str | None:
    """Say how the job of a cache folder differs; None if it does not, or is not noted yet.

    Where it is not noted, its batches say what they are of.
    """
    held = cached_json(cache / MANIFEST)
    return None if held is None else first_difference(held, through_json(manifest))


def _incomplete(out: Path, missing: list[range]) -> ValueError | None:
    if not missing:
        return None
    return ValueError(
        f"images {missing[0].start} to {missing[0].stop - 1} are not beside {out}, where another "
        "process was to write them; choose a folder on a disk that all processes share, or copy "
        "the folders *.part.* of all machines together and run the same command again"
    )
