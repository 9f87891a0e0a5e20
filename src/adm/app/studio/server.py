"""ModelCache, host, port -> a server of one page, and of the events of the orders that it sends.

An order is one request, and its answer a stream of server-sent events. To close the request is to
stop the order: there is no table of jobs, nothing to poll, and nothing left of one that nobody
reads. By default it listens on this machine alone; elsewhere all addresses begin with a token.
"""

import asyncio
import errno
import json
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from importlib import resources

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adm.app.studio import orders
from adm.app.studio.forms import forms
from adm.app.studio.model_cache import ModelCache
from adm.app.studio.worker import Full, Stream, Worker, caption
from adm.spec import SettingError, out_of_range

HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
MOST_STREAMS = 16  # orders at a time, of those that arrive and of those that are answered
PATIENCE_S = 30.0  # for a client that sends or reads nothing
BUSY = "the studio is busy with other pages; try again in a moment"
PAGE, INDEX = resources.files("adm.app.studio") / "page", "studio.html"
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guarded:
    """Adds `HEADERS` to every answer; refuses requests without the token or of another site."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            async with asyncio.timeout(PATIENCE_S):  # a client may not read
                await send(message)

        prefix = scope["path"][1 : 1 + len(self.token)]
        site = Request(scope).headers.get("sec-fetch-site", "none")
        app = self.app
        if not secrets.compare_digest(prefix.encode(), self.token.encode()):
            app = Response("give the whole address that `adm studio` has printed", 403)
        elif scope["method"] != "GET" and site not in ("none", "same-origin"):
            app = Response("of another site", 403)
        await app(scope, receive, headed)


class Events(StreamingResponse):
    """The events of an order, as long as somebody reads them."""

    def __init__(self, stream: Stream, open_: set[Stream]) -> None:
        super().__init__(self._lines(), media_type="text/event-stream")
        self.stream, self.open = stream, open_

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open.add(self.stream)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.open.discard(self.stream)
            self.stream.close()

    async def _lines(self) -> AsyncIterator[str]:
        async for name, data in self.stream.events():
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"


def application(
    models: ModelCache, worker: Worker, hosts: Sequence[str] = HERE, token: str = ""
) -> ASGIApp:
    """Return the application that serves the page, and carries out its orders.

    Args:
        hosts: names and addresses by which it may be called.
        token: with which all paths begin; none without it.
    """
    arriving, streams = set[Request](), set[Stream]()
    facts = {"models": models.names, **forms()}
    files = {each.name: each.read_bytes() for each in PAGE.iterdir()}

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", INDEX)
        if name not in files:
            return Response("there is no such page", 404)
        return Response(files[name], media_type=TYPES[name.rpartition(".")[2]])

    async def known(request: Request) -> Response:
        return JSONResponse(facts)

    async def order(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "an order is JSON")
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > orders.MOST_BODY:
            return _refused(
                413, f"an order says how long it is, of at most {orders.MOST_BODY:,} bytes"
            )
        if len(arriving) + len(streams) >= MOST_STREAMS:
            return _refused(503, BUSY)
        arriving.add(request)
        try:
            async with asyncio.timeout(PATIENCE_S):
                parsed = orders.parse(await request.body())
        except TimeoutError:
            return _refused(408, "the order did not arrive")
        except ClientDisconnect:
            return Response()
        except SettingError as error:
            return _refused(400, error.text(error.field, caption), error.field)
        except ValueError as error:
            return _refused(400, str(error))
        finally:
            arriving.discard(request)
        try:
            stream = worker.submit(lambda emit: parsed.carry_out(models, emit))
        except Full:
            return _refused(503, BUSY)
        return Events(stream, streams)

    routes = [
        Route("/", file),
        Route("/known", known),
        Route("/order", order, methods=["POST"]),
        Route("/{name}", file),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)] if token else routes)
    return TrustedHostMiddleware(Guarded(app, token), [*hosts], www_redirect=False)


def _refused(status: int, message: str, field: str = "") -> Response:
    return JSONResponse({"message": message, "field": field}, status)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        SettingError: the address is another machine's, or the port is in use.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES, None):
            raise out_of_range(
                "port", "a free one", port, f"{{port=0}} takes one ({error})"
            ) from None
        raise out_of_range("host", "a name or address of this machine", host, str(error)) from None


def hosts_of(host: str) -> tuple[str, ...]:
    """Return the names and addresses by which a host that listens there may be called."""
    if host in HERE:
        return HERE
    addresses = (each.address for cards in psutil.net_if_addrs().values() for each in cards)
    numbers = [each.partition("%")[0] for each in addresses if "." in each or "::" in each]
    return (host, socket.gethostname(), *HERE, *numbers, *(f"[{each}]" for each in numbers))


def address(host: str, port: int, token: str) -> str:
    """Return the address of the page; of a host that listens everywhere, by this machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/{token}{'/' if token else ''}"


def new_token(host: str) -> str:
    """Return the token for a host: none on this machine."""
    return "" if host in HERE else secrets.token_urlsafe(24)


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server; `run` serves on sockets that listen, until the process is asked to end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        http="h11",
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
