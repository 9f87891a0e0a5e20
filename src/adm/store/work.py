"""Items 0..count - 1, made part by part by whoever is free -> their arrays, assembled once.

The images of a sampling, or the features of a data set, are made in parts: `size` items each, every
part a file that appears whole. Ranks that were launched together, processes that were not, and the
same call after an interruption make what is missing, so the result is the same by any of them.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from adm.differences import first_difference
from adm.shown import shown
from adm.spec import SettingError, literal
from adm.store.arrays import Pieces, array_names, hashes_of, load_arrays, write_npz
from adm.store.files import FULL, new_file, remove_leftovers, write_json
from adm.store.hashes import sha256_of
from adm.store.locks import locked
from adm.store.parsed import cached_json, through_json

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.processes import Devices

T = TypeVar("T")
Arrays: TypeAlias = dict[str, np.ndarray]
Report: TypeAlias = Callable[[int], object]  # receives a number of evaluations that were made
# The items of a part, the input of each if they have one, and a report -> the arrays of the part.
Make: TypeAlias = Callable[[range, Any, Report], Arrays]
FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
JOB, HASHES = "job", "hashes"  # entries of a part: what it belongs to, and hashes of its inputs
NOTE, WHOLE = "work.json", "whole.npz"  # what the parts belong to, and the arrays of all items
MOST = 1 << 26  # bytes of the note, which may hold the labels of ten million images
PREFIX = "adm-work-"  # of temporary folders


@dataclass(frozen=True)
class Share:
    """A share of the parts, for one of several processes that are not launched together.

    Attributes:
        number: that of this one, from 1 to `of`.
        of: number of shares.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read a text such as 2/4.

        Raises:
            SettingError: it has another form, or names none of the shares.
        """
        match = FORM.fullmatch(text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingError(
                "part", f"{literal(shown(text))} is no part: {{part=2/4}} is the second of four"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def among(self, parts: Sequence[T]) -> Sequence[T]:
        """Return this share of some parts: every `of`-th."""
        return parts[self.number - 1 :: self.of]


ALL = Share(1, 1)


@dataclass(frozen=True)
class Work:
    """Items 0..count - 1, made in parts of which each is a file.

    Attributes:
        folder: of the parts, on a disk that all who make them see; parts may be copied into it.
        count: number of items.
        size: items of a part; the last one may have fewer.
        identity: JSON value of what the items follow from. Parts of another one are not used.
    """

    folder: Path
    count: int
    size: int
    identity: Any

    @cached_property
    def spans(self) -> list[range]:
        """The items of each part."""
        items = range(self.count)
        return [items[start : start + self.size] for start in items[:: self.size]]

    def path(self, span: range) -> Path:
        """Return the file of a part."""
        return self.folder / f"{span.start:08d}-{span.stop:08d}.npz"

    def missing(self) -> list[range]:
        """Return the parts that nobody has made, or that are damaged: all are read."""
        return [span for span in self.spans if self._read(span) is None]

    def run(
        self,
        make: Make,
        devices: "Devices",
        report: Report = lambda evaluations: None,
        *,
        cost: int = 1,
        share: Share = ALL,
        inputs: Callable[[range], Any] | None = None,
    ) -> None:
        """Make the parts that are missing, damaged or of other inputs, each by one of the ranks.

        Args:
            make: the items of a part -> its arrays, any by name. It also receives the inputs of the
                items, None without `inputs`, and a function to call with the evaluations it made.
            devices: the ranks, all of which must call.
            report: called with the number of evaluations that need not be made, once before the
                first is, and then with those that were made; by every rank, for all of them.
            cost: evaluations that an item takes.
            share: the parts that this process makes; those of others are left out.
            inputs: reads the input of each item, (n, ...) uint8, such as an image; a part ahead of
                the one that is made. Their hashes are stored with the part.

        Raises:
            ValueError: the folder holds parts of another identity that separate processes share, or
                the ranks do not see one folder.
        """
        self._check_seen(devices)
        devices.once(lambda: self._claim(share))
        absent = set(devices.once(self.missing))
        mine = share.among(self.spans)
        due = [span for span in mine if span in absent]
        report(cost * (self.count - _items(due)))
        todo = Share(devices.rank + 1, devices.world)
        own = todo.among([*due, *(span for span in mine if span not in absent)])
        made = [span for span in own if span in absent]
        advance = _for_all(report, _items(made), _items(due))

        def act() -> None:
            for span, values in _ahead(inputs or (lambda span: None), own):
                hashes = {} if inputs is None else {HASHES: hashes_of(values)}
                stored = None if span in absent else self._read(span, [*hashes])
                if stored is not None and all(
                    np.array_equal(stored.get(name, ()), each) for name, each in hashes.items()
                ):
                    remove_leftovers(self.path(span))
                    continue
                # One that was there has been reported.
                arrays = make(span, values, advance if span in absent else lambda _: None)
                entry = np.array([self._fingerprint, *sorted({**hashes, **arrays})])
                with new_file(self.path(span), sync=False) as file:
                    write_npz(file, {JOB: entry, **hashes, **arrays})

        try:
            devices.each(act)
        finally:
            if devices.main and not self._any():
                (self.folder / NOTE).unlink(missing_ok=True)

    def arrays(self, name: str) -> Iterator[np.ndarray]:
        """Yield the array of this name of each part, in order.

        Raises:
            ValueError: a part is missing or damaged.
        """
        for span in self.spans:
            yield self._read_made(span, [name])[name]

    def assemble(self, devices: "Devices") -> Arrays:
        """Join the arrays of all parts in one file of the folder, in constant memory.

        Returns:
            (count, ...) each, memory-mapped, on every rank.

        Raises:
            ValueError: a part is missing or damaged, or has arrays of another shape.
        """
        whole = self.folder / WHOLE

        def join() -> None:
            whole_arrays = {
                name: Pieces(array.dtype, (self.count, *array.shape[1:]), self.arrays(name))
                for name, array in self._read_made(self.spans[0]).items()
            }
            with new_file(whole, sync=False) as file:
                write_npz(file, whole_arrays)

        devices.once(join)
        # No rank may return, and remove the folder, before all have opened the file.
        return devices.each(lambda: load_arrays(whole, array_names(whole)))

    @cached_property
    def _fingerprint(self) -> str:
        return sha256_of(json.dumps(self.identity, sort_keys=True).encode())

    def _read(self, span: range, names: Sequence[str] | None = None) -> Arrays | None:
        """Return arrays of a part; None if it is absent, damaged, or of another identity."""
        path = self.path(span)
        try:
            stored = array_names(path)
            arrays = load_arrays(path, stored if names is None else [JOB, *names])
        except ValueError:
            return None
        job = arrays.pop(JOB, None)
        stored = sorted(name for name in stored if name != JOB)
        return arrays if job is not None and job.tolist() == [self._fingerprint, *stored] else None

    def _read_made(self, span: range, names: Sequence[str] | None = None) -> Arrays:
        """Return arrays of a part, all or those of these names, or raise ValueError."""
        arrays = self._read(span, names)
        if arrays is None or not arrays.keys() >= set(names or ()):
            raise ValueError(
                f"{self.path(span)} is missing or damaged; run the same command again, which makes "
                "it again"
            )
        return arrays

    def _any(self) -> bool:
        return any(path.name != WHOLE for path in self.folder.glob("*.npz"))

    def _claim(self, share: Share) -> None:
        """Note what the parts belong to; refuse those of another that separate processes share."""
        note, identity, shared = self.folder / NOTE, through_json(self.identity), share != ALL
        stored = cached_json(note, MOST)
        if stored is not None:
            difference = first_difference(stored.get("identity"), identity)
            if difference and (shared or stored.get("shared")) and self._any():
                raise ValueError(
                    f"{self.folder} holds parts that were made with other settings: {difference}; "
                    "give the same settings, choose another folder, or remove that one"
                )
            shared = shared or (not difference and stored.get("shared") is True)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(note, {"shared": shared, "identity": identity})

    def _check_seen(self, devices: "Devices") -> None:
        """Raise ValueError unless all ranks see the folder, by a file that none has looked for."""
        if devices.world == 1:
            return
        files = list[Any]()

        def create() -> str:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.append(tempfile.NamedTemporaryFile(dir=self.folder))  # noqa: SIM115
            return Path(files[0].name).name

        name = devices.once(create)
        seen = devices.gather((self.folder / name).exists())
        for file in files:
            file.close()
        if not all(seen):
            raise ValueError(
                f"{self.folder} is not the same folder for processes "
                f"{[rank for rank, see in enumerate(seen) if not see]} as for process 0; choose "
                "one on a disk that all of them share"
            )


@contextmanager
def holding(folder: Path, devices: "Devices") -> Iterator[None]:
    """Hold the lock of a folder until the block ends, on rank 0 for all ranks.

    Raises:
        InUse: another process holds it; on every rank.
    """
    with ExitStack() as stack:
        devices.once(lambda: stack.enter_context(locked(folder)))
        yield


@contextmanager
def work_in(folder: Path | None, devices: "Devices") -> Iterator[Path]:
    """Yield a folder for parts that its owner has locked, or a temporary one without it.

    The temporary one is removed once all ranks have opened what is in it: mapped files remain valid
    until the last rank exits. Removal at exit is not an option: ranks of a distributed group exit
    without removing temporary folders.
    """
    if folder is not None:
        devices.each(lambda: folder.mkdir(parents=True, exist_ok=True))
        with holding(folder, devices):
            yield folder
        return
    temporary: list[tempfile.TemporaryDirectory[str]] = []
    create = partial(tempfile.TemporaryDirectory, prefix=PREFIX, ignore_cleanup_errors=True)
    devices.once(lambda: temporary.append(create()))
    with temporary[0] if temporary else nullcontext():
        try:
            yield Path(devices.gather(temporary[0].name if temporary else None)[0])
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise ValueError(
                f"the temporary folder {tempfile.gettempdir()} has no room for the numbers of all "
                "images; free space there, or set the environment variable TMPDIR to another"
            ) from None


def _items(spans: Sequence[range]) -> int:
    return sum(map(len, spans))


def _for_all(report: Report, own: int, total: int) -> Report:
    """Return a report for a rank that makes `own` of `total` items, which counts for all ranks."""
    done = reported = 0

    def advance(evaluations: int) -> None:
        nonlocal done, reported
        done += evaluations
        due = done * total // own
        report(due - reported)
        reported = due

    return advance


def _ahead(read: Callable[[range], T], spans: Sequence[range]) -> Iterator[tuple[range, T]]:
    """Yield the inputs of each part, read while the previous part is made."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        waiting = [reader.submit(read, span) for span in spans[:1]]
        for i, span in enumerate(spans):
            values = waiting.pop().result()
            waiting += [reader.submit(read, after) for after in spans[i + 1 : i + 2]]
            yield span, values
