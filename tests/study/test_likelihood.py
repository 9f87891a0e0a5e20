"""The intervals of a likelihood hold what they say: over images, and over probes of each."""

import numpy as np

from adm.app.study.bounds import Flow
from adm.app.study.likelihood import Estimate

IMAGES, PROBES, REPEATS = 40, 3, 2000
LEVEL = np.ones(1)


def estimate(by_probe: np.ndarray) -> Estimate:
    arrays = {"total": by_probe.mean(axis=1), "by_probe": by_probe}
    return Estimate(Flow(probes=by_probe.shape[1]), LEVEL, LEVEL, arrays)


def test_intervals_hold_the_bits_of_all_images_and_those_of_these() -> None:
    """Probes of one image are not independent images: they share its bits."""
    random = np.random.default_rng(0)
    over_images, over_probes, widths = [], [], []
    for _ in range(REPEATS):
        bits = random.normal(3, 1, size=(IMAGES, 1))
        spread = random.uniform(0.1, 0.4, size=(IMAGES, 1))  # of an image's probes
        measured = estimate(bits + spread * random.normal(size=(IMAGES, PROBES)))
        by_probes = measured.by_probes
        assert by_probes is not None
        over_images.append(measured.bits.low <= 3 <= measured.bits.high)
        over_probes.append(by_probes.low <= bits.mean() <= by_probes.high)
        widths.append((measured.bits.high - measured.bits.low, by_probes.high - by_probes.low))
    assert 0.9 < np.mean(over_images) < 0.98
    assert 0.92 < np.mean(over_probes) < 0.98
    wide, narrow = np.mean(widths, axis=0)
    assert wide > 4 * narrow  # 1 / sqrt(N), and 0.26 / sqrt(N K)


def test_a_single_probe_shows_no_spread() -> None:
    assert estimate(np.ones((IMAGES, 1))).by_probes is None
