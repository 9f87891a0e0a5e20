"""Bad clients -> a studio that answers as before, and holds nothing of theirs."""

import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch
from launch import LONGEST_S
from studio.conftest import QUICK, Studio, images

from adm.app.studio.model_cache import ModelCache
from adm.app.studio.orders import MOST_BODY

CLIENTS, TOGETHER, ATTACKS = 100, 20, 8
BODIES = MOST_BODY * CLIENTS // 5  # bytes that one attack sends in valid or oversized bodies
HEAD = b"POST /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def send(studio: Studio, content: bytes, read: int = 1 << 16, reset: bool = False) -> bytes:
    """Send bytes, read some, and go away: in order, or by a reset in the middle."""
    with socket.create_connection(("localhost", studio.port), timeout=LONGEST_S) as wire:
        try:
            wire.sendall(content)
            answer = wire.recv(read) if read else b""
        except OSError:  # the server has had enough
            return b""
        if reset:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return answer


def request(body: bytes) -> bytes:
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def order(studio: Studio, **changes: object) -> bytes:
    return request(json.dumps(studio.sample(**changes)).encode())


def oversized(studio: Studio, chance: random.Random) -> None:
    answer = send(studio, request(b"0" * (MOST_BODY + chance.randrange(1, 1 << 16))))
    assert answer[:12] in (b"", b"HTTP/1.1 413")


def large(studio: Studio, chance: random.Random) -> None:
    assert send(studio, request(b'"' * MOST_BODY))[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 503")


def endless(studio: Studio, chance: random.Random) -> None:
    piece = b"100000\r\n" + b"[" * (1 << 20) + b"\r\n"
    send(studio, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 21)


def promised(studio: Studio, chance: random.Random) -> None:
    send(studio, HEAD + b"Content-Length: 1000\r\n\r\n{", read=0)


def malformed(studio: Studio, chance: random.Random) -> None:
    body = bytearray(json.dumps(studio.sample()).encode())
    for _ in range(chance.randrange(1, 8)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    assert send(studio, request(bytes(body))).startswith(b"HTTP/1.1 ")


def deep(studio: Studio, chance: random.Random) -> None:
    assert send(studio, request(b"[" * 100_000))[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 503")


def no_http(studio: Studio, chance: random.Random) -> None:
    send(studio, chance.randbytes(chance.randrange(1, 4096)), read=0)


def hasty(studio: Studio, chance: random.Random) -> None:
    content = order(studio, count=64)
    send(studio, content, read=chance.choice((0, 1, 300, 4000)), reset=chance.random() < 0.5)


def half(studio: Studio, chance: random.Random) -> None:
    content = order(studio)
    send(studio, content[: chance.randrange(len(content))], read=0, reset=True)


def elsewhere(studio: Studio, chance: random.Random) -> None:
    content = order(studio).replace(b"Host: localhost", b"Host: evil.example")
    assert send(studio, content).startswith(b"HTTP/1.1 400")


BAD: tuple[Callable[[Studio, random.Random], None], ...] = (
    oversized,
    large,
    endless,
    promised,
    malformed,
    deep,
    no_http,
    hasty,
    half,
    elsewhere,
)


def attack(studio: Studio, count: int) -> None:
    def client(number: int) -> None:
        BAD[number % len(BAD)](studio, random.Random(number))

    with ThreadPoolExecutor(TOGETHER) as clients:
        assert len([*clients.map(client, range(count))]) == count


@pytest.fixture
def running(studio: Studio, models: ModelCache) -> Iterator[tuple[Studio, psutil.Process]]:
    """The command itself, in its own process."""
    words = ("-m", "adm", "studio", models.names[0], "--port", "0", "--device", "cpu")
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.match(r"http://localhost:(\d+)/: ", process.stdout.readline())
        assert match is not None
        yield Studio(models, int(match[1]), models.names[0]), psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(LONGEST_S) == 0


@pytest.mark.slow
def test_after_bad_clients_it_answers_as_before_and_has_not_grown(
    running: tuple[Studio, psutil.Process],
) -> None:
    studio, process = running
    expected = images(studio.ask(**studio.sample(count=3)))
    assert torch.equal(expected, studio.pipeline.sample(count=3, **QUICK).images)
    held = [process.memory_info().rss]
    # What is kept of each client is kept in every attack; what is allocated once, in some of them.
    for _ in range(ATTACKS):
        attack(studio, CLIENTS)
        assert torch.equal(images(studio.ask(**studio.sample(count=3))), expected)
        held.append(process.memory_info().rss)
        if held[-1] - held[-2] < BODIES / 10:
            break
    else:
        pytest.fail(f"bytes after each attack: {held}")
    assert studio.get("/").status == 200
    while len(process.net_connections()) > TOGETHER:
        time.sleep(0.01)
