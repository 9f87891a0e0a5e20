"""losses of past batches -> the released weights of every timestep."""

from itertools import pairwise

import numpy as np
from parity.goldens import Arrays, each_entry

from adm.losses import TimestepImportance

RELATIVE = 1e-12
FILE = "resampler/loss_second_moment"


@each_entry(f"{FILE}.json")
def test_weights_after_every_batch(case):
    of = {name: array.numpy() for name, array in _arrays(case).items()}
    ours = TimestepImportance(case["num_timesteps"], case["history_per_term"], case["uniform_prob"])
    offsets = of["batch_offsets"]
    for batch, (start, end) in enumerate(pairwise(offsets)):
        ours.update(of["timesteps"][start:end] + 1, of["losses"][start:end])
        p = ours.probabilities
        np.testing.assert_allclose(ours.weights, of["weights"][batch], rtol=RELATIVE)
        np.testing.assert_allclose(p, of["probabilities"][batch], rtol=RELATIVE)
        # A uniform number in the middle of each level's share draws every level once, in order.
        drawn, importance = ours.draw(p.cumsum() - p / 2)
        assert drawn.tolist() == list(range(1, len(p) + 1))
        np.testing.assert_allclose(importance, of["importance"][batch], rtol=RELATIVE)
        assert ours.warm == of["warmed_up"][batch]
        assert ours.counts.tolist() == of["counts"][batch].tolist()
    np.testing.assert_allclose(ours.history, of["final_history"], rtol=RELATIVE)


def _arrays(case):
    arrays = Arrays(f"{FILE}.npz", case["name"])
    return {name: arrays[name] for name in arrays.names}
