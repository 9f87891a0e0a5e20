"""Text such as 2/4 -> Shard; Shard, spans of images -> its share of them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from adm.spec import SettingError
from adm.store.spans import union

FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """One of several processes that share the images of a job.

    Attributes:
        number: that of this one, from 1 to `of`.
        of: number of shards.
    """

    number: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> "Shard":
        """Read a text such as 2/4.

        Raises:
            SettingError: it has another form, or names none of the shards.
        """
        match = FORM.fullmatch(text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingError(
                "shard",
                "a number from 1 to that of all shards, such as 2/4",
                text,
                "number four shards 1/4, 2/4, 3/4 and 4/4",
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, spans: Iterable[range], block: int) -> list[range]:
        """Return this shard's part of spans: whole blocks, as many as any other's or one more."""
        whole = union(spans)
        numbers = [range(span.start // block, -(-span.stop // block)) for span in whole]
        total, before, parts = sum(map(len, numbers)), 0, list[range]()
        first, last = (total * i // self.of for i in (self.number - 1, self.number))
        for span, blocks in zip(whole, numbers, strict=True):
            own = blocks[max(0, first - before) : max(0, last - before)]
            before += len(blocks)
            own_span = range(own.start * block, own.stop * block)
            parts.append(range(max(span.start, own_span.start), min(span.stop, own_span.stop)))
        return union(parts)
