"""a run that is scored -> distances in its log, the same after a kill; what they foretell."""

import math
import signal

import launch
import numpy as np
import pytest
import tiny
from runs import states

from adm.runs.watch import watching
from adm.runs.watch.quality import Trend
from adm.spec import SettingError

SIZE = (28, 28)  # of the features that need nothing installed
SETTINGS = (
    "data.size=28,28",
    "train.steps=6",
    "train.save_every_steps=2",
    "unet.dropout=0.1",
    "watch.images=0",
    "watch.score_every_steps=2",
    "watch.score_images=200",
    "watch.features=fashion-judge",
)


@pytest.mark.slow
def test_scores_change_no_weight_and_a_run_killed_at_one_ends_like_another(tmp_path):
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes(60, SIZE)
    whole, broken, quiet = (tmp_path / name for name in ("whole", "broken", "quiet"))
    printed = launch.finish(launch.train(tmp_path / "a", recipe, source, whole))
    assert printed.count("Fréchet distance at infinite N (fashion-judge)") == 3
    assert "step 6" in printed
    killed = launch.at_step(4, launch.itself("SIGKILL"))  # scored, and not yet in the log
    process = launch.train(tmp_path / "b", recipe, source, broken, before=killed)
    launch.finish(process, status=-signal.SIGKILL)
    launch.finish(launch.train(tmp_path / "b", recipe, source, broken))
    assert launch.outcome(broken) == launch.outcome(whole)
    unscored = tiny.diffusion(*SETTINGS, "watch.score_every_steps=null")
    launch.finish(launch.train(tmp_path / "c", unscored, source, quiet))
    assert launch.losses(quiet).equal(launch.losses(whole))


def test_a_trend_predicts_with_an_interval_and_not_from_two():
    steps = np.array([1000, 2000, 3000, 4000])
    noise = np.exp([0.01, -0.01, 0.02, -0.01])
    trend = Trend.of(steps, 50 * (steps / 1000) ** -0.5 * noise)
    assert trend is not None
    assert trend.falls
    predicted = trend.at(8000)
    assert predicted.low < 50 / math.sqrt(8) < predicted.high
    assert "still falls 10." in trend.text()
    assert "after 8,000 steps" in trend.text()
    assert Trend.of(steps[:2], np.array([50.0, 40.0])) is None
    flat = Trend.of(steps, np.array([20.0, 21.0, 19.9, 20.5]))
    assert flat is not None
    assert "does not fall" in flat.text()


def test_features_of_a_recipe_are_a_name_and_never_code():
    recipe = tiny.diffusion(*SETTINGS, "watch.features=os:getcwd")
    with pytest.raises(SettingError, match="must be one of"):
        watching(states.watched(recipe, training=tiny.stripes(60, SIZE)))
