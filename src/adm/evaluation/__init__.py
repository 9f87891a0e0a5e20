"""Source -> FeatureSet, Reference; FeatureSet, Reference -> Report: scores with intervals."""

from adm.evaluation.evaluate import at_size, check_size, evaluate, report_on
from adm.evaluation.opening import Opened, open_images, resized
from adm.evaluation.reference import (
    Reference,
    complete_reference,
    is_reference,
    load_reference,
    make_reference,
)
from adm.evaluation.report import Report, load_report
from adm.evaluation.scores import Score, scores, title
from adm.evaluation.statistics import Extraction, FeatureSet, extract

__all__ = [
    "Extraction",
    "FeatureSet",
    "Opened",
    "Reference",
    "Report",
    "Score",
    "at_size",
    "check_size",
    "complete_reference",
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
