"""Weights -> nothing, or the name of the first that is not finite."""

from pathlib import Path

import pytest
import torch

from adm.training.model_file import check_finite

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values", [[], [3e38, 3e38], [-3e38, 3e38], [65504.0] * 9, [True], [1 << 60]], ids=str
)
@pytest.mark.parametrize("kind", [None, torch.float16, torch.bfloat16])
def test_finite_weights_pass_even_if_their_sum_is_not(
    values: list, kind: torch.dtype | None
) -> None:
    tensor = torch.tensor(values)
    if kind is not None and tensor.is_floating_point() and max(values, default=0) < 1e38:
        tensor = tensor.to(kind)
    check_finite(Path("m"), {"a": tensor}, "cure")


@pytest.mark.parametrize("value", [[NAN], [INFINITE], [1.0, -INFINITE], [INFINITE, -INFINITE]])
def test_the_first_weight_that_is_not_finite_is_named(value: list[float]) -> None:
    weights = {"a": torch.ones(2), "b": torch.tensor([value]), "c": torch.tensor(NAN)}
    with pytest.raises(ValueError, match=r"^b in m has values that are not finite; cure$"):
        check_finite(Path("m"), weights, "cure")
