"""ranks of an attempt -> their own store, whatever earlier attempts have left."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from adm.processes import of_attempt

WORLD = 3
LIMIT = timedelta(minutes=10)


def attempt(server: dist.TCPStore) -> list[dist.Store]:
    """Let ranks join, each with its own connection, rank 0 first."""
    asked = threading.Event()

    class Connection(dist.TCPStore):
        def check(self, keys: list[str]) -> bool:
            found = super().check(keys)
            asked.set()
            return found

    def join(rank: int) -> dist.Store:
        if rank:
            asked.wait()
        own = Connection("127.0.0.1", server.port, is_master=False, timeout=LIMIT)
        return of_attempt(own, rank, WORLD, LIMIT)

    with ThreadPoolExecutor(WORLD) as pool:
        return list(pool.map(join, range(WORLD)))


@pytest.fixture
def server() -> dist.TCPStore:
    """The store of a launcher, which outlives the attempts."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=LIMIT)


def test_ranks_of_an_attempt_share_a_store_without_the_keys_of_others(server):
    first = attempt(server)
    first[1].set("address", "of a rank that has ended")
    assert first[2].get("address") == b"of a rank that has ended"
    second = attempt(server)
    assert not any(store.check(["address"]) for store in second)
    second[2].set("address", "new")
    assert [store.get("address") for store in second] == [b"new"] * WORLD


def test_an_attempt_that_broke_off_does_not_disturb_the_next(server):
    """Its ranks have sent greetings, and rank 0 has not answered."""
    for rank in range(1, WORLD):
        server.set(f"adm/attempt/{rank}", "a greeting of one that has ended")
    stores = attempt(server)
    stores[0].set("address", "new")
    assert [store.get("address") for store in stores] == [b"new"] * WORLD


def test_a_rank_that_does_not_start_is_named(server):
    with pytest.raises(TimeoutError, match="process 1 of 3 has not started in 0 s"):
        of_attempt(server, 0, WORLD, timedelta(seconds=0.2))
