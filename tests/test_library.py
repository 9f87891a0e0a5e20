"""The library stands alone: it needs few packages, and importing it changes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import adm

ROOT = Path(adm.__file__).parent
# A file that is copied into the folders written for diffusers, and imported there.
COPIED = ROOT / "models/convert/pipeline.py"
MODULES = sorted(
    ".".join(("adm", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in ("app", "__main__.py") and path != COPIED
)
# What these dependencies install is allowed; a run draws its curves.
PROGRAM = """
import importlib, importlib.metadata, os, re, signal, sys, warnings

allowed, waiting = set(), ["torch", "numpy", "pillow", "safetensors", "pydantic", "matplotlib"]
while waiting:
    name = re.split(r"[^A-Za-z0-9._-]", waiting.pop(), maxsplit=1)[0].lower().replace("_", "-")
    try:
        needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        continue
    if name not in allowed:
        allowed.add(name)
        waiting += [each for each in needs if "extra ==" not in each]
packages = importlib.metadata.packages_distributions()


class Absent:
    def find_spec(self, name, path=None, target=None):
        owners = packages.get(name.partition(".")[0], [])
        own = {each.lower().replace("_", "-") for each in owners}
        if own and not own & (allowed | {"ablated-diffusion"}):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


import torch, numpy  # before the comparison, for their own changes

sys.meta_path.insert(0, Absent())


def state():
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    filters = [repr(each) for each in warnings.filters]
    return dict(os.environ), filters, torch.get_num_threads(), handlers, sys.stdout, sys.stderr


before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert state() == before, "importing changed the process"
del sys.meta_path[0]
import adm, logging
adm.load, adm.train, adm.evaluate
assert state() == before, "the front door changed the process"
assert not logging.getLogger("adm").handlers
"""


def test_the_library_imports_with_its_own_dependencies_and_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *MODULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert not done.stderr


def test_a_name_that_the_package_lacks_is_refused_with_those_that_it_has() -> None:
    assert set(adm.__all__) <= set(dir(adm))
    with pytest.raises(AttributeError, match=r"no attribute 'lod'; it has .*load"):
        adm.lod  # noqa: B018
