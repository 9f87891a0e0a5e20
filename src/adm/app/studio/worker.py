"""Order -> its events: one order at a time in a thread, while somebody reads them.

Whoever stops reading stops the order: at once if it waits for its turn, and at its next event if it
is under way, so that nothing runs that nobody reads.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from anyio import BrokenResourceError, CapacityLimiter, WouldBlock, from_thread, to_thread
from anyio.streams.memory import MemoryObjectSendStream

from adm.spec import SettingError

MOST_UNREAD = 64  # events of an order
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


# Sends an event to the page; raises an error that ends the order once nobody reads.
Emit: TypeAlias = Callable[[str, dict[str, Any]], None]
Work: TypeAlias = Callable[[Emit], None]


class Worker:
    """Carries out orders in turn."""

    def __init__(self) -> None:
        self._turn = CapacityLimiter(1)

    async def carry_out(self, work: Work, events: MemoryObjectSendStream[Event]) -> None:
        """Carry out an order in its turn, and send its events; what it raises is the last."""
        with events, suppress(BrokenResourceError):
            await to_thread.run_sync(_carry_out, work, events, limiter=self._turn)


def _carry_out(work: Work, events: MemoryObjectSendStream[Event]) -> None:
    def emit(name: str, data: dict[str, Any]) -> None:
        if name in PASSING:
            with suppress(WouldBlock):
                from_thread.run_sync(events.send_nowait, Event(name, data))
        else:
            from_thread.run(events.send, Event(name, data))

    try:
        work(emit)
    except BrokenResourceError:  # nobody reads any more
        raise
    except SettingError as error:
        message = error.text(error.field, caption)
        emit("error", {"field": error.field, "message": message})
    except (ValueError, FloatingPointError, OSError, MemoryError) as error:
        emit("error", {"field": "", "message": str(error) or "out of memory"})
    except Exception as error:  # a fault of ours
        log.exception("an order failed")
        emit("error", {"field": "", "message": f"{type(error).__name__}: {error}"})


def caption(name: str, value: str | None) -> str:
    """Return what a page calls a setting that an error refers to; see `SettingError`."""
    words = name.replace("_", " ").replace(".", " ")
    return words if value is None else f"{words} {value}"
