"""Samples, reference, features -> Report: scores with intervals; nearest images."""

from adm.generation.inputs import Opened, open_images
from adm.metrics import Score, title
from adm.scoring.evaluate import Comparison, at_size, check_sizes, evaluate
from adm.scoring.extraction import Extraction, FeatureSet, extract, resumable
from adm.scoring.images import resize_to
from adm.scoring.reference import (
    Reference,
    cached_reference,
    complete_reference,
    is_reference,
    load_reference,
    make_reference,
)
from adm.scoring.report import Report, load_report, scores

__all__ = [
    "Comparison",
    "Extraction",
    "FeatureSet",
    "Opened",
    "Reference",
    "Report",
    "Score",
    "at_size",
    "cached_reference",
    "check_sizes",
    "complete_reference",
    "evaluate",
    "extract",
    "is_reference",
    "load_reference",
    "load_report",
    "make_reference",
    "open_images",
    "resize_to",
    "resumable",
    "scores",
    "title",
]
