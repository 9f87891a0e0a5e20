"""The server: its pages, whom it answers, and when it stops."""

import asyncio
import importlib
import re
import socket
import threading
import time
from importlib import resources

import pytest
from anyio import create_memory_object_stream
from launch import LONGEST_S
from studio.conftest import Studio, events, images

from adm.app.studio.model_cache import ModelCache
from adm.app.studio.orders import Sample
from adm.app.studio.worker import MOST_UNREAD, Emit, Event, Worker
from adm.spec import SettingError

for extra in ("starlette", "uvicorn"):
    pytest.importorskip(extra, reason="the extra [studio] is not installed")
library = importlib.import_module("adm.app.studio.server")

MOST_ORDERS = library.MOST_ORDERS
PAGE = resources.files("adm.app.studio") / "page"
NAMES = sorted(each.name for each in PAGE.iterdir())


@pytest.mark.parametrize("name", ["", *NAMES])
def test_the_page_is_served_whole_and_guarded(studio: Studio, name: str) -> None:
    answer = studio.get(f"/{name}")
    assert answer.status == 200
    assert answer.read() == (PAGE / (name or "index.html")).read_bytes()
    assert {key.lower(): value for key, value in library.HEADERS.items()}.items() <= dict(
        answer.getheaders()
    ).items()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for name in NAMES:
        text = (PAGE / name).read_text("utf-8")
        assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|eval\(|innerHTML|style=", text), name
        for other in re.findall(r'(?:from|src=|href=) ?"(?:\./)?([\w.]+)"', text):
            assert other in NAMES, (name, other)


@pytest.mark.parametrize(
    "path",
    [
        "/model_cache.py",
        "/../server.py",
        "/..%2fserver.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/a/b",
    ],
)
def test_no_other_file_is_served(studio: Studio, path: str) -> None:
    assert studio.get(path).status == 404


def test_only_this_machine_and_its_own_page_are_answered(studio: Studio) -> None:
    for host in ("localhost", "127.0.0.1:99", "[::1]"):
        assert studio.get("/known", host=host).status == 200
    for host in ("example.com", "localhost.example.com", "", "10.0.0.1"):
        assert studio.get("/known", host=host).status == 400
    order = studio.sample(count=1)
    for site in ("cross-site", "same-site"):
        assert studio.post(order, sec_fetch_site=site).status == 403
    assert studio.post(order, sec_fetch_site="same-origin").status == 200
    assert studio.post(order, content_type="text/plain").status == 415
    assert studio.get("/order").status == 404


def test_elsewhere_every_address_needs_the_token(models: ModelCache) -> None:
    token = library.new_token("0.0.0.0")
    assert len(token) > 20
    assert library.new_token("localhost") == ""
    assert library.address("0.0.0.0", 80, token) == f"http://{socket.gethostname()}:80/{token}/"
    assert library.address("::1", 80, "") == "http://[::1]:80/"
    with library.listen("127.0.0.1", 0) as listening:
        serving = library.server(library.application(models, token))
        thread = threading.Thread(target=serving.run, args=([listening],), daemon=True)
        thread.start()
        studio = Studio(models, listening.getsockname()[1], models.names[0])
        order = studio.sample(count=1)
        for path in ("/", "/known", "/studio.js", f"/{token[::-1]}/", "/order"):
            assert studio.get(path).status == 403
        assert studio.post(order).status == 403
        for path in (f"/{token}/", f"/{token}/known", f"/{token}/studio.js"):
            assert studio.get(path).status == 200
        answer = studio.post(order, f"/{token}/order")
        assert images(list(events(answer))).shape[0] == 1
        serving.should_exit = True
        thread.join(LONGEST_S)


def test_a_port_in_use_is_refused() -> None:
    with (
        library.listen("localhost", 0) as listening,
        pytest.raises(SettingError, match=r"port cannot be .*; port=0 takes"),
    ):
        library.listen("localhost", listening.getsockname()[1])
    with pytest.raises(SettingError, match="host must be"):
        library.listen("nowhere.invalid", 0)


def test_an_order_ends_when_its_page_goes_away(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()

    def endless(self: Sample, models: ModelCache, emit: Emit) -> None:
        try:
            while True:
                emit("step", {})
                began.set()
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(Sample, "carry_out", endless)
    answer = studio.post(studio.sample())
    assert began.wait(LONGEST_S)
    assert not ended.is_set()
    answer.close()
    assert ended.wait(LONGEST_S)


def test_a_fault_of_an_order_does_not_end_the_worker(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(self: Sample, models: ModelCache, emit: Emit) -> None:
        raise ZeroDivisionError("of ours")

    with monkeypatch.context() as patch:
        patch.setattr(Sample, "carry_out", faulty)
        (event,) = studio.ask(**studio.sample())
    assert event == ("error", {"field": "", "message": "ZeroDivisionError: of ours"})
    assert images(studio.ask(**studio.sample(count=1))).shape[0] == 1


def test_more_orders_than_it_holds_are_refused(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, released = threading.Event(), threading.Event()

    def patient(self: Sample, models: ModelCache, emit: Emit) -> None:
        began.set()
        released.wait(LONGEST_S)

    monkeypatch.setattr(Sample, "carry_out", patient)
    answers = [studio.post(studio.sample())]
    assert began.wait(LONGEST_S)
    answers += [studio.post(studio.sample()) for _ in range(MOST_ORDERS - 1)]
    assert {answer.status for answer in answers} == {200}
    assert studio.post(studio.sample()).status == 503
    answers[3].close()  # who leaves makes room for another
    while (last := studio.post(studio.sample())).status == 503:
        time.sleep(0.01)
    assert last.status == 200
    released.set()
    assert all(answer.read() == b"" for answer in [*answers[:3], *answers[4:], last])


def test_orders_that_have_not_arrived_whole_are_among_those_it_holds(models: ModelCache) -> None:
    service, stalled = library.Orders(models), list[object]()
    headers = {"content-type": "application/json", "content-length": "99"}
    scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}

    async def half() -> dict[str, object]:
        if (task := asyncio.current_task()) in stalled:
            await asyncio.Event().wait()
        stalled.append(task)
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def whole() -> dict[str, object]:
        return {"type": "http.request", "body": b"{"}

    async def status(receive: object) -> int:
        sent = list[dict[str, object]]()

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await service(scope, receive, send)
        return sent[0]["status"]  # type: ignore[return-value]

    async def ask() -> list[int]:
        halves = [asyncio.create_task(status(half)) for _ in range(MOST_ORDERS)]
        while len(stalled) < MOST_ORDERS:
            await asyncio.sleep(0)
        refused = await status(whole)
        for each in halves:
            each.cancel()
        await asyncio.gather(*halves, return_exceptions=True)
        return [refused, await status(whole)]

    assert asyncio.run(ask()) == [503, 400]


def test_a_reader_who_lags_misses_steps_and_no_images() -> None:
    done = threading.Event()

    def work(emit: Emit) -> None:
        for number in range(2 * MOST_UNREAD):
            emit("step", {"number": number})
        done.set()
        for number in range(5):
            emit("image", {"number": number})

    async def read() -> list[Event]:
        sent, unread = create_memory_object_stream[Event](MOST_UNREAD)
        carried = asyncio.create_task(Worker().carry_out(work, sent))
        assert await asyncio.to_thread(done.wait, LONGEST_S)
        received = [event async for event in unread]
        await carried
        return received

    received = asyncio.run(read())
    assert [data["number"] for name, data in received if name == "step"] == [*range(MOST_UNREAD)]
    assert [data["number"] for name, data in received if name == "image"] == [*range(5)]
