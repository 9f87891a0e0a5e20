"""images, features -> scores with their intervals, and everything that they follow from."""

from adm.evaluation.evaluate import evaluate, report_on
from adm.evaluation.opening import Opened, open_images, resized
from adm.evaluation.reference import (
    Reference,
    completed,
    is_reference,
    load_reference,
    make_reference,
)
from adm.evaluation.report import Report, load_report
from adm.evaluation.scores import Score, scores, title
from adm.evaluation.statistics import FeatureSet, Looking, extract

__all__ = [
    "FeatureSet",
    "Looking",
    "Opened",
    "Reference",
    "Report",
    "Score",
    "completed",
    "evaluate",
    "extract",
    "is_reference",
    "load_reference",
    "load_report",
    "make_reference",
    "open_images",
    "report_on",
    "resized",
    "scores",
    "title",
]
