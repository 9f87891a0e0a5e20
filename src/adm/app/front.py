"""Model -> Pipeline that shows the progress of sampling, in a terminal or a notebook."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from typing import Any

from adm.generation import pipeline
from adm.generation.generator import OnStep
from adm.generation.pipeline import Pipeline


@wraps(pipeline.load)
def load(*arguments: Any, **options: Any) -> Pipeline:
    return replace(pipeline.load(*arguments, **options), bar=bar)


def bar(what: str, total: int) -> AbstractContextManager[OnStep | None]:
    """Show progress where a person sees it; nothing if rich is not installed."""
    try:
        from adm.app.progress import watched
    except ModuleNotFoundError:  # the library alone
        return nullcontext()
    return watched(what, total, "network evaluations")
