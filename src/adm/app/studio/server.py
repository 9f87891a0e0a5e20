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
from collections.abc import AsyncIterator

import uvicorn
from anyio import create_memory_object_stream, create_task_group
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adm.app.studio import orders
from adm.app.studio.forms import forms
from adm.app.studio.model_cache import ModelCache
from adm.app.studio.worker import MOST_UNREAD, Event, Work, Worker, caption
from adm.spec import SettingError

HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
MOST_ORDERS = 16  # at a time
PATIENCE_S = 30.0  # for a client that sends or reads nothing
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
    """The events of an order, which is carried out while somebody reads them."""

    def __init__(self, worker: Worker, work: Work) -> None:
        self.worker, self.work = worker, work
        self.sent, self.received = create_memory_object_stream[Event](MOST_UNREAD)
        super().__init__(self._lines(), media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with create_task_group() as group:
            group.start_soon(self.worker.carry_out, self.work, self.sent)
            try:
                await super().__call__(scope, receive, send)
            finally:
                self.received.close()  # which ends an order under way
            group.cancel_scope.cancel()  # one that waits for its turn

    async def _lines(self) -> AsyncIterator[str]:
        async for name, data in self.received:
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"


class Orders:
    """Answers the orders of pages."""

    def __init__(self, models: ModelCache) -> None:
        self.models, self.worker, self.open = models, Worker(), 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.open += 1
        try:
            answer = await self.answer(Request(scope, receive))
            await answer(scope, receive, send)
        finally:
            self.open -= 1

    async def answer(self, request: Request) -> Response:
        """Return the events of an order, or why there are none."""
        if self.open > MOST_ORDERS:
            return _refused(503, "the studio is busy with other pages; try again in a moment")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _refused(415, "an order is JSON")
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > orders.MOST_BODY:
            most = f"{orders.MOST_BODY:,}"
            return _refused(413, f"an order says how long it is, of at most {most} bytes")
        try:
            async with asyncio.timeout(PATIENCE_S):
                order = orders.parse(await request.body())
        except TimeoutError:
            return _refused(408, "the order did not arrive")
        except ClientDisconnect:
            return Response()
        except SettingError as error:
            return _refused(400, error.text(error.field, caption), error.field)
        except ValueError as error:
            return _refused(400, str(error))
        return Events(self.worker, lambda emit: order.carry_out(self.models, emit))


def application(models: ModelCache, token: str = "") -> ASGIApp:
    """Return the application that serves the page, and carries out its orders.

    Args:
        token: with which all paths begin. Without one, only this machine is answered: a page of
            another site that a browser here shows could name any other host.
    """
    known = JSONResponse({"models": models.names, **forms()})
    routes = [
        Route("/known", known),
        Route("/order", Orders(models), methods=["POST"]),
        Mount("/", StaticFiles(packages=[("adm.app.studio", "page")], html=True)),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)] if token else routes)
    return TrustedHostMiddleware(Guarded(app, token), ["*"] if token else HERE, www_redirect=False)


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
            cure = "{port=0} takes a free one"
            raise SettingError("port", f"{{}} cannot be {port} ({error}); {cure}") from None
        sentence = f"{{}} must be a name or address of this machine ({error})"
        raise SettingError("host", sentence) from None


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
