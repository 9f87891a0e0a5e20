"""A folder of repositories -> a server that speaks the protocol of the Hugging Face hub."""

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
    """A server that speaks the hub's protocol: name -> branch -> files, and what was asked."""

    held: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def has(self, name: str, files: dict[str, bytes], branch: str = "main") -> None:
        self.held.setdefault(name, {})[branch] = files

    @property
    def fetched(self) -> set[str]:
        """The names of the files whose content or size was asked for."""
        return {path.rpartition("/")[2] for path in self.asked if "/resolve/" in path}


class Speaks(BaseHTTPRequestHandler):
    """Answers for a `Hub`."""

    PATH: ClassVar[re.Pattern] = re.compile(r"(?:/api/models)?/(\w[\w.-]*/\w[\w.-]*)/(.*)")

    def __init__(self, hub: Hub, *words: Any) -> None:
        self.hub = hub
        super().__init__(*words)

    def log_message(self, *words: object) -> None:
        pass

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.hub.created.append(given)
        name = f"{given['organization']}/{given['name']}"
        if name in self.hub.gated:
            return self.refuse(403, "")
        return self.answer({"url": f"{self.hub.address}/{name}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(path)
        found = self.PATH.fullmatch(path)
        if found is None or found[1] not in self.hub.held:
            return self.refuse(401, "RepoNotFound")
        branches = self.hub.held[found[1]]
        commits = branches | {commit_of(files): files for files in branches.values()}
        part, _, rest = found[2].partition("/")
        wanted, file = (unquote(each) for each in rest.partition("/")[::2])
        if wanted not in commits:
            return self.refuse(404, "RevisionNotFound")
        files = commits[wanted]
        if part == "revision":
            siblings = [{"rfilename": each} for each in files]
            return self.answer({"id": found[1], "sha": commit_of(files), "siblings": siblings})
        if part == "tree":
            tree = [{"type": "file", "path": p, "size": len(c)} for p, c in files.items()]
            return self.answer([each | {"oid": commit_of(files)} for each in tree])
        if found[1] in self.hub.gated:
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
    """Serve a hub, which `huggingface_hub` takes for the hub, with this folder for its cache."""
    pytest.importorskip("huggingface_hub", minversion="1.0")  # before it, these are not read again
    from huggingface_hub import constants

    there = Hub()
    here = ThreadingHTTPServer(("127.0.0.1", 0), partial(Speaks, there))
    thread = threading.Thread(target=here.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    there.address = f"http://127.0.0.1:{here.server_address[1]}"
    places = (there.address + "/{repo_id}/resolve/{revision}/{filename}", there.address, str(cache))
    for name, value in zip(PLACED, (*places, False), strict=True):
        monkeypatch.setattr(constants, name, value)
    yield there
    here.shutdown()
    here.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
