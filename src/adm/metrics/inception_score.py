"""Class probabilities -> Inception Score."""

import numpy as np

from adm.metrics.bootstrap import Interval, centred_interval
from adm.metrics.metric import Metric, Score, Sets

SPLIT_SIZE = 5000  # images, in the released evaluator
RESAMPLES = 200  # at most; each is a product of (5,000,) and (5,000, classes)


def inception_score(probabilities: np.ndarray, split_size: int = SPLIT_SIZE) -> float:
    """exp E[KL(p(y | x) || p(y))] (Salimans et al. 2016, section 4), averaged over splits.

    All splits have the same weight, a shorter last one too, as in the released evaluator. A
    probability of exactly 0 contributes 0, its limit, where the released evaluator gives NaN.

    Args:
        probabilities: (N, classes), each row summing to 1.
        split_size: images per split.

    Raises:
        ValueError: not (N, classes) with N at least 1, or a split size below 1.
    """
    parts = _splits(probabilities, split_size)
    return float(np.mean([_of_split(np.asarray(part, dtype=np.float64)) for part in parts]))


def inception_score_interval(
    probabilities: np.ndarray,
    split_size: int = SPLIT_SIZE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """An interval for `inception_score`, with images resampled within each split.

    Raises:
        ValueError: as `inception_score`.
    """
    random, scores = np.random.default_rng(seed), []
    for part in _splits(probabilities, split_size):
        p, count = np.asarray(part, dtype=np.float64), len(part)
        drawn = [random.integers(count, size=count) for _ in range(resamples)]
        weights = np.stack([np.bincount(rows, minlength=count) for rows in drawn]) / count
        scores.append(np.exp(weights @ _p_log_p(p).sum(axis=1) - _p_log_p(weights @ p).sum(axis=1)))
    estimate = inception_score(probabilities, split_size)
    return centred_interval(estimate, np.mean(scores, axis=0))


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Softmax in float64: (N, K) logits -> (N, K) float32."""
    probabilities = np.empty(logits.shape, np.float32)
    for start in range(0, len(logits), 4096):
        part = np.asarray(logits[start : start + 4096], np.float64)
        raised = np.exp(part - part.max(axis=1, keepdims=True))
        probabilities[start : start + 4096] = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


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
            "give probabilities, not logits, and leave broken images out"
        )
    return parts


def _of_split(p: np.ndarray) -> float:
    # Where p is 0 the ratio is set to 1, so that 0 log 0 is 0.
    ratio = np.divide(p, p.mean(axis=0), out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(axis=1).mean()))


def _p_log_p(p: np.ndarray) -> np.ndarray:
    return p * np.log(p, out=np.zeros_like(p), where=p > 0)


def _score(sets: Sets) -> Score | None:
    if sets.logits is None:
        return None
    p, resamples = probabilities_of(sets.logits), min(sets.resamples, RESAMPLES)
    interval = inception_score_interval(p, resamples=resamples, seed=sets.seed)
    return Score(inception_score(p), *interval)


INCEPTION_SCORE = Metric(
    key="inception_score",
    title="class score",
    of_inception="Inception Score",
    lower_is_better=False,
    score=_score,
)
