"""a run that is scored -> distances in its log, the same after a kill; what they foretell."""

import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import launch
import numpy as np
import pytest
import tiny
from runs import states

from adm.models.load import load_classifier
from adm.recipes.schema import override
from adm.runs.watch import quality, watching
from adm.runs.watch.advice import advice
from adm.runs.watch.quality import MOST, PASSES, interval, watch_quality
from adm.runs.watch.trend import Trend
from adm.spec import SettingError
from adm.training.log import FILE, read_columns
from adm.training.loop import JUDGED

SIZE = (28, 28)  # of the features that need nothing installed
QUICK = "from adm.runs.watch import quality; quality.STEPS = 2\n"  # for `launch.train`
SETTINGS = (
    "data.size=28,28",
    "train.steps=6",
    "train.save_every_steps=4",
    "unet.dropout=0.1",
    "watch.images=0",
    "watch.score_every_steps=2",
    "watch.score_images=200",
    "watch.features=fashion-judge",
)


def scored(folder: Path, distances: dict[int, float], **last: float) -> Path:
    """A run folder whose log has distances after numbers of steps, each within 10%."""
    folder.mkdir(exist_ok=True)
    name = JUDGED["distance"]
    lines = [
        {"step": step, name: d, f"{name}_low": 0.9 * d, f"{name}_high": 1.1 * d, "scores/near": 0}
        for step, d in distances.items()
    ]
    lines[-1] |= {f"{name.partition('/')[0]}/{key}": value for key, value in last.items()}
    (folder / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


FALLING = {
    s: 50 * (s / 1000) ** -0.5 * math.exp(e)
    for s, e in zip((1000, 2000, 3000, 4000), (0.01, -0.01, 0.02, -0.01), strict=True)
}


@pytest.mark.slow
def test_scores_change_no_weight_and_a_run_killed_at_one_ends_like_another(tmp_path):
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes(60, SIZE)
    whole, broken, quiet = (tmp_path / name for name in ("whole", "broken", "quiet"))
    printed = launch.finish(launch.train(tmp_path / "a", recipe, source, whole, before=QUICK))
    assert printed.count("Fréchet distance at infinite N (fashion-judge)") == 3
    killed = launch.at_step(6, launch.itself("SIGKILL"))  # scored, and not yet in the log
    process = launch.train(tmp_path / "b", recipe, source, broken, before=QUICK + killed)
    launch.finish(process, status=-signal.SIGKILL)
    launch.finish(launch.train(tmp_path / "b", recipe, source, broken, before=QUICK))
    assert launch.outcome(broken) == launch.outcome(whole)
    states_ = [json.loads((run / "run.json").read_text())["trend"] for run in (whole, broken)]
    assert states_[0] == states_[1]
    distances = launch.losses(whole, JUDGED["distance"])
    best = f"step-{2 * (int(distances.argmin()) + 1):07d}"  # of which 2 is no step of saving
    for run in (whole, broken):
        assert (run / "checkpoints/best-distance").resolve().name == best
    again = launch.finish(launch.train(tmp_path / "a", recipe, source, whole))
    assert "--steps 12" in again or "Stop here" in again
    assert json.loads((whole / "run.json").read_text())["trend"] == states_[0]
    unscored = tiny.diffusion(*SETTINGS, "watch.score_every_steps=null")
    launch.finish(launch.train(tmp_path / "c", unscored, source, quiet))
    assert launch.losses(quiet).equal(launch.losses(whole))


@pytest.mark.slow
def test_two_processes_share_the_images_and_score_as_one_does(tmp_path):
    recipe = tiny.diffusion(*SETTINGS, "train.precision=float32", "train.steps=2")
    source, figures = tiny.stripes(60, SIZE), list[dict[str, float]]()
    for count in (1, 2):
        run = tmp_path / f"{count}"
        started = launch.train(tmp_path / "a", recipe, source, run, processes=count, before=QUICK)
        launch.finish(started)
        figures.append({k: v for k, v in launch.log(run)[-1].items() if "/" in k})
        assert (run / "checkpoints/best-distance").resolve().name == "step-0000002"
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)


def test_guided_samples_are_scored_beside_those_without(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "STEPS", 2)
    recipe = tiny.diffusion(*SETTINGS)
    judge = tiny.classifier("data.size=28,28", "classifier.size=28,28")
    classifier = load_classifier(tiny.model(tmp_path / "judge.safetensors", judge))
    run = replace(states.watched(recipe, None, tiny.stripes(60, SIZE)), classifier=classifier)
    words = list[str]()
    run = replace(run, folder=tmp_path)
    watch = watch_quality(run, recipe, [lambda done, name, said: words.append(said)])
    assert watch is not None
    assert watch(1, states.learner_of(recipe)) == {}
    figures = watch(2, states.learner_of(recipe))
    assert figures["guided/frechet_at_infinity"] != figures["scores/frechet_at_infinity"]
    assert ", guided " in words[0]


@pytest.mark.parametrize("once", [0, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.03, 0.5])
@pytest.mark.parametrize("steps", [10, 1000, 12_345, 500_000])
def test_scorings_cost_at_most_their_share_and_are_few(steps, share, once):
    settings = ("train.batch_size=16", "train.save_every_steps=250", f"train.steps={steps}")
    recipe = tiny.diffusion(*settings, f"watch.score_share={share}")
    every = interval(recipe, 3000, once)
    if every is None:
        assert once + 3 * 3000 > share * PASSES * 16 * steps
        return
    assert every % 250 == 0
    count = -(-steps // every)
    assert count <= MOST
    assert once + 3000 * count <= share * PASSES * 16 * steps


def test_a_run_that_affords_no_scores_opens_no_features(monkeypatch):
    monkeypatch.setattr(quality, "open_features", lambda *_: pytest.fail("opened"))
    recipe = tiny.diffusion()
    assert watch_quality(states.watched(recipe), recipe) is None
    condition = tiny.upsampler("watch.score_share=1", "train.steps=1000000")
    assert watch_quality(states.watched(condition), condition) is None


def test_by_default_features_that_are_not_installed_leave_scores_out(monkeypatch, caplog):
    def missing(spec: str | None, device: object) -> None:
        raise ValueError("neither is installed; pip install efficientnet")

    monkeypatch.setattr(quality, "open_features", missing)
    rich = tiny.diffusion("train.steps=1000000", "watch.images=0")
    with caplog.at_level("INFO", "adm"):
        assert watch_quality(states.watched(rich), rich) is None
    assert "samples are not scored: neither is installed" in caplog.text
    for chosen in ("watch.score_every_steps=2", "watch.features=fashion-judge"):
        with pytest.raises(SettingError, match="neither is installed"):
            watching(states.watched(override(rich, [chosen])))


def test_a_run_that_can_afford_it_is_scored_by_default():
    settings = ("watch.score_every_steps=null", "watch.score_share=0.2", "train.batch_size=64")
    recipe = tiny.diffusion(*SETTINGS, *settings, "train.steps=100000", "unet.channels=64")
    assert watch_quality(states.watched(recipe, None, tiny.stripes(60, SIZE)), recipe) is not None


def test_patience_by_distances_needs_scores():
    recipe = tiny.diffusion("train.patience=2", "train.patience_of=distance")
    with pytest.raises(SettingError, match="are not scored"):
        watching(states.watched(recipe))


def test_a_trend_predicts_with_an_interval_and_not_from_two(tmp_path):
    trend = Trend.of(read_columns(scored(tmp_path, FALLING)))
    assert trend is not None
    assert trend.falls
    predicted = trend.at(8000)
    assert predicted.low < 50 / math.sqrt(8) < predicted.value < 50 / math.sqrt(4) < predicted.high
    assert "still falls 7." in trend.text()
    assert trend.text(0.9).endswith("after 8,000 steps, about 60 min")
    assert trend.text(9).endswith("after 8,000 steps, about 10 h")
    few = {step: FALLING[step] for step in (1000, 2000)}
    assert Trend.of(read_columns(scored(tmp_path, few))) is None
    steady = dict(zip(FALLING, (20.0, 21.0, 19.9, 20.5), strict=True))
    flat = Trend.of(read_columns(scored(tmp_path, steady)))
    assert flat is not None
    assert "does not fall" in flat.text()


def test_the_interval_holds_what_a_curve_with_a_floor_or_without_comes_to(tmp_path):
    noise = np.random.default_rng(0)
    steps = np.arange(100, 601, 100)
    for floor in (0.0, 3.0, 10.0):
        curve = lambda s, floor=floor: floor + 2000 / s  # noqa: E731
        for _ in range(20):
            seen = curve(steps) * np.exp(0.03 * noise.normal(size=6))
            trend = Trend.of(
                read_columns(scored(tmp_path, dict(zip(steps.tolist(), seen, strict=True))))
            )
            assert trend is not None
            low, high = trend.at(1200)[1:]
            assert low < curve(1200) < high


def test_advice_is_to_train_on_to_stop_or_to_get_more_data(tmp_path):
    recipe = tiny.diffusion()
    on = advice(scored(tmp_path, FALLING), recipe, 1.0)
    assert on is not None
    assert on.startswith("Train on, by the same command with --steps 8000: it still falls")
    assert on.endswith("about 67 min.")
    copied = advice(scored(tmp_path, FALLING, near=0.08), recipe)
    assert copied is not None
    assert "too few: 8% of the samples" in copied
    steady = dict(zip(FALLING, (20.0, 21.0, 19.9, 20.5), strict=True))
    stop = advice(scored(tmp_path, steady), recipe)
    assert stop is not None
    assert stop.startswith("Stop here")
    (tmp_path / FILE).write_text('{"step": 1, "loss": 1.0}\n')
    assert advice(tmp_path, recipe) is None


@pytest.mark.parametrize(
    ("losses", "gap", "words"),
    [
        ((2.0, 1.0, 3.0), 0.3, "overfits: it is right about 30% more"),
        ((3.0, 2.0, 1.0), 0.3, "train on, by the same command with --steps 6"),
        ((2.0, 1.0, 1.1), 0.0, "lowest after 2 steps"),
    ],
)
def test_advice_on_a_classifier_is_by_its_held_out_loss(tmp_path, losses, gap, words):
    lines = [
        json.dumps({"step": step, "validation/loss": loss, "validation/gap": gap}) + "\n"
        for step, loss in enumerate(losses, start=1)
    ]
    (tmp_path / FILE).write_text("".join(lines))
    said = advice(tmp_path, tiny.classifier())
    assert said is not None
    assert words in said


def test_features_of_a_recipe_are_a_name_and_never_code():
    recipe = tiny.diffusion(*SETTINGS, "watch.features=os:getcwd")
    with pytest.raises(SettingError, match="must be one of"):
        watching(states.watched(recipe, training=tiny.stripes(60, SIZE)))
