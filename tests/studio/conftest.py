"""A studio of tiny models, served on a free port, and the requests of its page."""

import base64
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from launch import LONGEST_S
from PIL import Image
from torch import Tensor

from adm.app.studio.model_cache import ModelCache
from adm.data.pixels import to_tensor
from adm.generation.pipeline import Pipeline

Events = list[tuple[str, dict[str, Any]]]
TINY = "tiny"
QUICK = {"steps": 4, "scale": 1.5, "precision": "float32"}


@dataclass(frozen=True)
class Studio:
    """A server in a thread of the tests, and its models."""

    models: ModelCache
    port: int
    model: str

    @property
    def pipeline(self) -> Pipeline:
        return self.models.pipeline(self.model)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("localhost", self.port, timeout=LONGEST_S)

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=named)
        return connection.getresponse()

    def post(
        self, body: bytes | dict[str, Any], path: str = "/order", **headers: str
    ) -> http.client.HTTPResponse:
        connection = self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        connection.request("POST", path, content, {"Content-Type": "application/json", **named})
        return connection.getresponse()

    def ask(self, **order: Any) -> Events:
        """The events of an order, to the last."""
        answer = self.post({"model": self.model, **order} if "of" not in order else order)
        assert answer.status == 200, answer.read()
        return list(events(answer))

    def sample(self, **order: Any) -> dict[str, Any]:
        return {"kind": "sample", "model": self.model, "settings": QUICK, **order}


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    while line := answer.readline().decode().rstrip("\n"):
        name = line.removeprefix("event: ")
        data = json.loads(answer.readline().decode().removeprefix("data: "))
        answer.readline()
        yield name, data


def named(received: Events, name: str) -> list[dict[str, Any]]:
    return [data for event, data in received if event == name]


def only(received: Events, name: str) -> dict[str, Any]:
    (data,) = named(received, name)
    return data


def opened(picture: str) -> Tensor:
    """(C, H, W) uint8 of a picture in base64."""
    return to_tensor(Image.open(io.BytesIO(base64.b64decode(picture))))


def images(received: Events) -> Tensor:
    """(N, C, H, W) uint8, all images of an order."""
    by_place = {data["place"]: opened(data["png"]) for data in named(received, "image")}
    return torch.stack([by_place[place] for place in range(len(by_place))])


def sent(picture: Image.Image) -> str:
    """A picture as a page sends it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.urlsafe_b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelCache:
    """A guided model, its student, and a data set."""
    folder = tmp_path_factory.mktemp("studio")
    recipe = tiny.diffusion("train.label_dropout=0.1")
    kinds = {TINY: recipe, f"{TINY}-fast": tiny.student()}
    for name, kind in kinds.items():
        (folder / name).mkdir()
        tiny.model(folder / name / "model.safetensors", kind)
    tiny.model(folder / TINY / "classifier.safetensors", tiny.classifier())
    pixels, labels = tiny.stripes(12).batch(range(12))
    data = folder / "data.npz"
    classes = np.array(tiny.CLASSES)
    np.savez(data, arr_0=pixels.permute(0, 2, 3, 1).numpy(), arr_1=labels.numpy(), classes=classes)
    model = str(folder / TINY)
    return ModelCache([str(folder / name) for name in kinds], {model: str(data)}, "cpu")


@pytest.fixture(scope="session")
def studio(models: ModelCache) -> Iterator[Studio]:
    for name in ("starlette", "uvicorn"):
        pytest.importorskip(name, reason="the extra [studio] is not installed")
    with serve(models) as served:
        yield served


@contextmanager
def serve(models: ModelCache) -> Iterator[Studio]:
    from adm.app.studio.server import application, listen, server

    with listen("localhost", 0) as listening:
        serving = server(application(models))
        thread = threading.Thread(target=serving.run, args=([listening],), daemon=True)
        thread.start()
        yield Studio(models, listening.getsockname()[1], models.names[0])
        serving.should_exit = True
        thread.join(LONGEST_S)


@pytest.fixture
def picture(tmp_path: Path) -> Image.Image:
    """A grey picture that has the size of no model."""
    return Image.radial_gradient("L").resize((40, 30))
