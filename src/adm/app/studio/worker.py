"""Order -> Stream of events: a bounded queue, and one thread that carries out one order at a time.

An order lives as long as its stream. Whoever closes the stream stops the order, at once if it is in
the queue and at its next event if it is under way, so that nothing runs that nobody reads.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from adm.spec import SettingError

MOST_WAITING = 8  # orders in the queue
MOST_UNREAD = 64  # events of a stream
PATIENCE_S = 20.0  # for a reader who does not read
PASSING = ("step", "progress")  # events that a reader may miss
log = logging.getLogger("adm")


class Event(NamedTuple):
    """An event for a page.

    Attributes:
        name: such as `step`, `image`, `done`.
        data: JSON values.
    """

    name: str
    data: dict[str, Any]


# Sends an event to the page; raises `Gone` once nobody reads.
Emit: TypeAlias = Callable[[str, dict[str, Any]], None]
Work: TypeAlias = Callable[[Emit], None]


class Gone(Exception):
    """Raised in an order whose stream is closed."""


class Full(Exception):
    """Raised for an order if the queue is full."""


def caption(name: str, value: str | None) -> str:
    """Return what a page calls a setting that an error refers to; see `SettingError`."""
    words = name.replace("_", " ").replace(".", " ")
    return words if value is None else f"{words} {value}"


class Stream:
    """The events of one order, from the worker's thread to the event loop of the server.

    Args:
        work: the order.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._room = threading.Semaphore(MOST_UNREAD)
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether nobody reads any more."""
        return self._closed.is_set()

    def close(self) -> None:
        """Stop the order."""
        self._closed.set()
        self._room.release()  # for a worker that waits for room

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events as they come; whoever stops reading closes the stream."""
        try:
            while (event := await self._events.get()) is not None:
                self._room.release()
                yield event
        finally:
            self.close()

    def emit(self, name: str, data: dict[str, Any]) -> None:
        """Send an event, in the worker's thread.

        Without room, one of `PASSING` is dropped, and for any other the worker waits.

        Raises:
            Gone: the stream is closed, or nobody reads it.
        """
        room = self._room.acquire(timeout=0 if name in PASSING else PATIENCE_S)
        if self.closed or not (room or name in PASSING):
            raise Gone
        if room:
            self._put(Event(name, data))

    def carry_out(self) -> None:
        """Carry out the order, in the worker's thread; what it raises is its last event."""
        try:
            if not self.closed:
                self._work(self.emit)
        except Gone:
            pass
        except SettingError as error:
            sentence = error.text(error.field, caption)
            self._put(Event("error", {"field": error.field, "message": sentence}))
        except (ValueError, FloatingPointError, OSError, MemoryError) as error:
            self._put(Event("error", {"field": "", "message": str(error) or "out of memory"}))
        except Exception as error:  # a fault of ours must not end the thread of all orders
            log.exception("an order failed")
            self._put(Event("error", {"field": "", "message": f"{type(error).__name__}: {error}"}))
        finally:
            self._put(None)

    def _put(self, event: Event | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)


class Worker:
    """One worker, and the queue before it."""

    def __init__(self) -> None:
        self._waiting: deque[Stream] = deque()
        self._changed = threading.Condition()
        self._current: Stream | None = None
        self._open = True
        self._worker = threading.Thread(target=self._serve, name="studio", daemon=True)
        self._worker.start()

    def submit(self, work: Work) -> Stream:
        """Queue an order, in the event loop of the server.

        Raises:
            Full: there are `MOST_WAITING` before it.
        """
        stream = Stream(work)
        with self._changed:
            self._waiting = deque(each for each in self._waiting if not each.closed)
            if len(self._waiting) >= MOST_WAITING:
                raise Full
            self._waiting.append(stream)
            self._changed.notify()
        return stream

    def close(self) -> None:
        """Stop all orders, and wait for the worker."""
        with self._changed:
            self._open = False
            for each in filter(None, (self._current, *self._waiting)):
                each.close()
            self._changed.notify()
        self._worker.join(PATIENCE_S)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                self._current = self._waiting.popleft()
            self._current.carry_out()
            self._current = None
