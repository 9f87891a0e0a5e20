"""Images -> pool_3, mixed_6/conv, logits of the 2015 Inception network, for FID and sFID.

The network (Szegedy et al. 2015) is TensorFlow's graph `classify_image_graph_def.pb`, in
torch-fidelity's port. The reference suite reads two of its tensors and one weight:

- `pool_3:0`, the mean of the last features: 2048.
- `mixed_6/conv:0`, channels [0, 7) at 17 x 17 positions, flattened with the channel fastest: 2023.
  Blocks are counted in the graph as mixed, mixed_1, ... and here as Mixed_5b, 5c, 5d, 6a, ..., so
  that mixed_6 is Mixed_6d; torch-fidelity's own converter of weights pairs `mixed_6/conv` with
  `Mixed_6d.branch1x1`. Under the scope of a convolution the graph holds Conv2D, batchnorm,
  CheckNumerics, control_dependency, and last the node that carries the scope's bare name, which
  the next layer reads: the ReLU's output. So the tensor is after normalization and ReLU.
- `softmax/logits/MatMul`'s weight, applied to pool_3: 1008 logits without their bias.
"""

import io
import logging
import os
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from adm.extras import installing
from adm.features.contract import Extracted, Features, fingerprint_of, make_features
from adm.features.preprocess import rgb, tensorflow_bilinear
from adm.models.pickled import State, read_tensors
from adm.shown import reason_of
from adm.store.hashes import sha256

NAME = "inception"
URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
SHA256_BEGINS = "6726825d"
FILES = (  # the names of the same weights in torch-fidelity and in pytorch-fid
    "weights-inception-2015-12-05-6726825d.pth",
    "pt_inception-2015-12-05-6726825d.pth",
)
SIZE = 299
POOL, SPATIAL, LOGITS = 2048, 2023, 1008
SPATIAL_CHANNELS = 7
HOW = "inception 1: TensorFlow 1 bilinear to 299 x 299, (x - 128) / 128"
ENTRY = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1")
MIDDLE = ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d")
BEFORE = (*ENTRY, *MIDDLE, "Mixed_6a", "Mixed_6b", "Mixed_6c")
AFTER = ("Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool")


def inception_features(
    device: torch.device | str = "cpu", file: str | Path | None = None, download: bool = False
) -> Features:
    """The reference suite's network.

    Args:
        file: its weights; by default they are searched in torch's download cache.
        download: download them from `URL` (91 MB) if they are not in the cache.

    Raises:
        ValueError: torch-fidelity is not installed, or the weights are missing or have another
            SHA-256.
    """
    path = _find_weights(download) if file is None else Path(os.path.expanduser(file))
    if not path.is_file():
        raise ValueError(f"no weights in {path}; {_cure()}")
    digest = sha256(path)
    if not digest.startswith(SHA256_BEGINS):
        raise ValueError(
            f"{path} is not the reference suite's Inception: its SHA-256 begins {digest[:8]}, "
            f"expected {SHA256_BEGINS}; {_cure()}"
        )
    return inception_of(read_tensors(path), device)


def inception_of(state: State, device: torch.device | str = "cpu") -> Features:
    """The network with any weights of its shape.

    Args:
        state: torch-fidelity's name -> tensor.

    Raises:
        ValueError: torch-fidelity is not installed, or the weights are of another network.
    """
    network = _build(state).to(device)
    before = nn.Sequential(*(network.get_submodule(name) for name in BEFORE))
    after = nn.Sequential(*(network.get_submodule(name) for name in AFTER))
    tapped = network.get_submodule("Mixed_6d.branch1x1")
    to_logits = network.get_submodule("fc").get_parameter("weight")

    def extract(images: Tensor) -> Extracted:
        x = (tensorflow_bilinear(rgb(images, NAME), SIZE) - 128) / 128
        x = before(x)  # (B, 768, 17, 17)
        spatial = tapped(x)[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        pool = after(x).flatten(1)
        return Extracted(pool, spatial, pool @ to_logits.T)

    return make_features(NAME, POOL, extract, fingerprint_of(HOW, state), device)


def _build(state: State) -> nn.Module:
    """torch-fidelity's network with these weights."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ValueError(
            "Inception's features need the package torch-fidelity, which is not installed; "
            f"{installing('inception')}; or choose others, such as "
            "efficientnet-lite0, whose distances are not FID"
        ) from None
    # It unpickles its weights with code execution allowed, so it gets a file that was written here.
    ours = io.BytesIO()
    torch.save(dict(state), ours)
    ours.seek(0)
    try:
        return FeatureExtractorInceptionV3(NAME, ["2048"], feature_extractor_weights_path=ours)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise ValueError(f"these are not weights of Inception ({reason}); {_cure()}") from None


def _find_weights(download: bool) -> Path:
    """Return the weights in torch's download cache, downloaded if `download`."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    path = folder / FILES[0]
    if not download:
        raise ValueError(f"Inception's weights (91 MB) have not been downloaded; {_cure()}")
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("adm").info("downloading Inception's weights (91 MB) to %s", path)
    try:
        torch.hub.download_url_to_file(URL, str(path), SHA256_BEGINS, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        reason = f"{URL} cannot be downloaded ({reason_of(error)})"
        raise ValueError(f"{reason}; {_cure(failed=True)}") from None
    return path


def _cure(failed: bool = False) -> str:
    """Say what to do without weights; not to download them where that has failed."""
    place = Path(torch.hub.get_dir()) / "checkpoints" / FILES[0]
    automatic = "" if failed else "open the features inception+download, which downloads them; or "
    return (
        f"{automatic}download {URL} yourself, on any machine, and save it as {place} or open the "
        "features inception:/PATH; or choose features without a download, such as "
        "efficientnet-lite0, whose distances are not FID"
    )
