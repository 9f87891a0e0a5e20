"""Options of sampling -> settings by the names of the library."""

import pytest

from adm.app.cli.sampling import SamplingOptions


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({}, None),
        ({"compile": True}, "torch-compiled"),
        ({"compile": True, "engine": "torch-compiled"}, "torch-compiled"),
        ({"engine": "openvino"}, "openvino"),
    ],
)
def test_compile_is_short_for_an_engine(options: dict, engine: str | None) -> None:
    assert SamplingOptions(**options).settings["engine"] == engine


def test_compile_and_another_engine_are_refused() -> None:
    with pytest.raises(ValueError, match="and --engine is openvino; leave one of them out"):
        SamplingOptions(compile=True, engine="openvino")
