"""log.jsonl -> columns, then a picture; a truncated last line is ignored, other damage an error."""

import json
from pathlib import Path

import numpy as np
import pytest

from adm.runs.watch.curves import smooth
from adm.training.log import Column, read_columns


def full_log(path: Path) -> Path:
    lines = [{"step": step, "loss": 1 / step} for step in range(1, 121)]
    lines[49] |= {"loss": None, "skipped_forward": 1.0}
    for step in (40, 80, 120):
        lines[step - 1]["validation/loss"] = 0.5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_columns_hold_values_at_the_steps_that_measured_them(tmp_path: Path) -> None:
    log = read_columns(full_log(tmp_path / "log.jsonl").parent)
    assert log["validation/loss"].steps.tolist() == [40, 80, 120]
    assert log["loss"].values[3] == 0.25
    assert np.isnan(log["loss"].values[49])
    assert log["skipped_forward"].steps.tolist() == [50]
    assert "step" not in log


def test_a_line_cut_by_a_kill_is_left_out_and_damage_within_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_columns(tmp_path)["loss"].steps.tolist() == [1]
    path.write_text('{"step": 1, "loss": 2.0}\n{"st\n{"step": 3, "loss": 1.0}\n')
    with pytest.raises(ValueError, match="damaged in line 2"):
        read_columns(tmp_path)
    path.write_text("")
    assert read_columns(tmp_path) == {}


def test_smoothing_keeps_the_mean_of_each_stretch_and_the_last_step() -> None:
    values = np.arange(1000, dtype=float)
    values[17] = np.nan
    steps, mean, low, high = smooth(Column(np.arange(1, 1001), values))
    assert len(steps) == 99
    assert steps[-1] == 1000
    assert ((low <= mean) & (mean <= high)).all()
    assert mean[-1] == pytest.approx(values[-10:].mean())
    assert len(smooth(Column(np.arange(3), np.ones(3)))[0]) == 3
    assert len(smooth(Column(np.arange(1), np.array([np.nan])))[0]) == 0
