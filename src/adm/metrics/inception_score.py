"""class probabilities -> Inception Score: exp of what an image tells of its class."""

import numpy as np

from adm.metrics.bootstrap import LEVEL, Interval, centred_interval

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
    parts = _splits(probabilities, split_size)
    return float(np.mean([_score(np.asarray(part, dtype=np.float64)) for part in parts]))


def inception_score_interval(
    probabilities: np.ndarray,
    split_size: int = SPLIT_SIZE,
    resamples: int = 200,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """An interval for `inception_score`: images are drawn anew within each split.

    Raises:
        ValueError: as `inception_score`.
    """
    random, scores = np.random.default_rng(seed), []
    for part in _splits(probabilities, split_size):
        p, count = np.asarray(part, dtype=np.float64), len(part)
        drawn = [random.integers(count, size=count) for _ in range(resamples)]
        weights = np.stack([np.bincount(rows, minlength=count) for rows in drawn]) / count
        scores.append(np.exp(weights @ _information(p).sum(axis=1) - _surprise(weights @ p)))
    estimate = inception_score(probabilities, split_size)
    return centred_interval(estimate, np.mean(scores, axis=0), level)


def _splits(probabilities: np.ndarray, split_size: int) -> list[np.ndarray]:
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(f"probabilities must be (N, classes), N >= 1, got {probabilities.shape}")
    if split_size < 1:
        raise ValueError(f"a split must hold at least 1 image, got {split_size}")
    starts = range(0, len(probabilities), split_size)
    parts = [probabilities[start : start + split_size] for start in starts]
    if not all(np.isfinite(part).all() and (part >= 0).all() for part in parts):
        raise ValueError(
            "probabilities hold values that are negative or not finite; "
            "give probabilities and not logits, and leave broken images out"
        )
    return parts


def _score(p: np.ndarray) -> float:
    # Where p is 0 the ratio is put at 1, whose log is the 0 that 0 log 0 stands for.
    ratio = np.divide(p, p.mean(axis=0), out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))


def _information(p: np.ndarray) -> np.ndarray:
    return p * np.log(p, out=np.zeros_like(p), where=p > 0)


def _surprise(means: np.ndarray) -> np.ndarray:
    """(resamples, classes) mean probabilities -> their negative entropies."""
    return _information(means).sum(axis=1)
