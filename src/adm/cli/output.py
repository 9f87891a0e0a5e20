"""Any, bool -> one JSON document, or text, on standard output; notices beside it."""

import json
import math
import sys
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from adm.notices import notice

OUT = Parameter(name=("--out", "-o"))
AsJson = Annotated[bool, Parameter(name="--json", negative="")]


def show(value: Callable[[], Any], as_json: bool, text: Callable[[], None]) -> None:
    """Print a result: as one JSON document, or by `text`.

    Args:
        value: returns the result as JSON values; NaN and infinities become null.
    """
    if as_json:
        print(json.dumps(_finite(value()), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        text()


def say(line: str, as_json: bool = False) -> None:
    """Print a notice, beside the JSON document if there is one: then on standard error."""
    notice(line, sys.stderr if as_json else sys.stdout)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
