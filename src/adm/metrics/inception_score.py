"""class probabilities -> Inception Score: exp of what an image tells of its class."""

import numpy as np

SPLIT_SIZE = 5000  # images, in the released evaluator


def inception_score(probabilities: np.ndarray, split_size: int = SPLIT_SIZE) -> float:
    """exp E[KL(p(y | x) || p(y))] (Salimans et al. 2016, section 4), the mean over splits.

    Every split counts the same, the last and shorter one too, as in the released evaluator. An
    exact probability of 0 adds nothing, its limit; there the released evaluator gives NaN.

    Args:
        probabilities: (N, classes), each row summing to 1.
        split_size: images a split.

    Raises:
        ValueError: not (N, classes) with N at least 1, or no positive split size.
    """
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(f"probabilities must be (N, classes), N >= 1, got {probabilities.shape}")
    if split_size < 1:
        raise ValueError(f"a split must hold at least 1 image, got {split_size}")
    wide = np.asarray(probabilities, dtype=np.float64)
    starts = range(0, len(wide), split_size)
    return float(np.mean([_score(wide[start : start + split_size]) for start in starts]))


def _score(p: np.ndarray) -> float:
    # Where p is 0 the ratio is put at 1, whose log is the 0 that 0 log 0 stands for.
    ratio = np.divide(p, p.mean(axis=0), out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))
