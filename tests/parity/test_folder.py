"""a folder of reference vectors -> every file is whole, and belongs to a test here."""

import hashlib
import re

import pytest
from parity.goldens import FOLDER, HOW, entries, located

# The structure that the folder's README gives, and nothing else: no name of any case.
PLACES = (
    r"[^/]+",
    r"manifests/.+\.json",
    r"(unet|classifier)/.+(\.json|\.(weights|io)\.safetensors)",
    r"schedules/([a-z]+_\d+\.npz|(spacing|respaced)\.(npz|json)|ddim_strides\.npz|edge_cases\.json)",
    r"process/((q|p_mean_variance|training_losses|bpd|sampling)\.(npz|json))",
    r"process/(functions\.npz|constants\.json)",
    r"guided/(guided\.json|.+\.weights\.safetensors|run_.+\.safetensors)",
    r"evaluator/(fid|inception_score|precision_recall)\.(npz|json)",
    r"resampler/loss_second_moment\.(npz|json)",
)


@pytest.mark.skipif(FOLDER is None, reason=HOW)
def test_every_file_lies_where_a_test_looks():
    assert FOLDER is not None
    files = [f.relative_to(FOLDER).as_posix() for f in FOLDER.rglob("*") if f.is_file()]
    unknown = [f for f in files if not any(re.fullmatch(place, f) for place in PLACES)]
    assert files
    assert not unknown


def test_every_file_is_the_one_that_the_index_lists():
    folder = located("index.json").parent
    for entry in entries("index.json"):
        file = folder / entry["file"]
        if file.is_file():
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert digest == entry["sha256"], f"{file} is damaged; fetch the folder again"
