"""Repositories -> a server with the protocol of the Hugging Face hub."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pytest

PLACED = ("HUGGINGFACE_CO_URL_TEMPLATE", "ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE")


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@dataclass
class Hub:
    """A server with the hub's protocol: name -> branch -> files, and the paths requested."""

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def has(self, name: str, files: dict[str, bytes], branch: str = "main") -> None:
        self.repositories.setdefault(name, {})[branch] = files

    @property
    def fetched(self) -> set[str]:
        """The names of the files whose content or size was requested."""
        return {path.rpartition("/")[2] for path in self.requests if "/resolve/" in path}


class Handler(BaseHTTPRequestHandler):
    """Answer requests to a `Hub`."""

    PATH: ClassVar[re.Pattern] = re.compile(r"(?:/api/models)?/(\w[\w.-]*/\w[\w.-]*)/(.*)")

    def __init__(self, hub: Hub, *words: Any) -> None:
        self.hub = hub
        super().__init__(*words)

    def log_message(self, *words: object) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.hub.created.append(request)
        name = f"{request['organization']}/{request['name']}"
        if name in self.hub.gated:
            return self.refuse(403, "")
        return self.answer({"url": f"{self.hub.address}/{name}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(path)
        match = self.PATH.fullmatch(path)
        if match is None or match[1] not in self.hub.repositories:
            return self.refuse(401, "RepoNotFound")
        branches = self.hub.repositories[match[1]]
        commits = branches | {commit_of(files): files for files in branches.values()}
        part, _, rest = match[2].partition("/")
        revision, file = (unquote(each) for each in rest.partition("/")[::2])
        if revision not in commits:
            return self.refuse(404, "RevisionNotFound")
        files = commits[revision]
        if part == "revision":
            siblings = [{"rfilename": each} for each in files]
            return self.answer({"id": match[1], "sha": commit_of(files), "siblings": siblings})
        if part == "tree":
            tree = [{"type": "file", "path": p, "size": len(c)} for p, c in files.items()]
            return self.answer([each | {"oid": commit_of(files)} for each in tree])
        if match[1] in self.hub.gated:
            return self.refuse(403, "GatedRepo")
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        etag = hashlib.sha256(files[file]).hexdigest()
        return self.send(files[file], {"ETag": f'"{etag}"', "X-Repo-Commit": commit_of(files)})

    def answer(self, value: Any) -> None:
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str) -> None:
        self.send(b"", {"X-Error-Code": code}, status)

    def send(self, content: bytes, head: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | head).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub that `huggingface_hub` uses in place of its own, with this folder as cache."""
    pytest.importorskip("huggingface_hub", minversion="1.0")  # earlier ones read these once
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, hub))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    places = (hub.address + "/{repo_id}/resolve/{revision}/{filename}", hub.address, str(cache))
    for name, value in zip(PLACED, (*places, False), strict=True):
        monkeypatch.setattr(constants, name, value)
    yield hub
    server.shutdown()
    server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
