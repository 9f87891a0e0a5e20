"""then -> images: another class or other guides from a level down, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from oracle import four_modes, last, noise_like, normal, sampler_of

import adm
from adm.diffusion import cosine
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.pipeline import Pipeline
from adm.guidance import scaled, switched
from adm.samplers import SAMPLERS, ClassifierGuide, Even, FreeGuide, Sampling, Then
from adm.spec import SettingError, convert, text, to_json

DATA, STEPS = four_modes(), 40
SCHEDULE = cosine(1000).visiting(Even(steps=STEPS).visited(cosine(1000)))
START = normal((200, 1, 2, 2), 0)
ZERO, ONE = torch.zeros(200, dtype=torch.int64), torch.ones(200, dtype=torch.int64)
GUIDES = ("classifier:scale=2,every=2", "free:scale=3", "attention:scale=2")


def sampled(name, label, then=None, top=STEPS):
    """The oracle's images of a class, or of another from a level of the schedule down."""
    denoise = DATA.denoise(SCHEDULE, label)
    if then is not None:
        denoise = switched([(STEPS, denoise), (top, DATA.denoise(SCHEDULE, then))])
    sampler = sampler_of(name)
    return last(sampler(denoise, START, SCHEDULE, noise_like(START)))


def classified(x):
    return DATA.logits(SCHEDULE, x, 1).argmax(dim=1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_ends_are_either_class_alone(name):
    first, second = sampled(name, ZERO), sampled(name, ONE)
    assert torch.equal(sampled(name, ZERO, ONE, STEPS), second)
    assert torch.equal(sampled(name, ZERO, ONE, 0), first)
    assert torch.equal(sampled(name, ZERO, ZERO, STEPS // 2), first)


@pytest.mark.parametrize("name", ["ddim", "unipc", "ancestral"])
def test_a_change_at_a_high_level_gives_the_second_class_and_at_a_low_one_the_first(name):
    """The class of an image of few modes is decided at high levels."""
    early, late = (classified(sampled(name, ZERO, ONE, top)) for top in (STEPS - 2, 2))
    assert (early == 1).double().mean() > 0.97
    assert (late == 0).double().mean() > 0.97


def test_the_way_down_to_the_level_is_that_of_the_first_class():
    top = STEPS // 2
    parts = [DATA.denoise(SCHEDULE, label) for label in (ZERO, ONE)]
    mixed = switched([(STEPS, parts[0]), (top, parts[1])])
    ways = [
        [*sampler_of("ddim")(denoise, START, SCHEDULE, noise_like(START))]
        for denoise in (parts[0], mixed)
    ]
    for first, other in zip(*ways, strict=True):
        assert torch.equal(first.x, other.x) == (first.level >= top), first.level


def test_gradients_are_switched_as_denoisers_are():
    weak, strong = (scaled(DATA.gradient(SCHEDULE, ONE), scale) for scale in (1.0, 3.0))
    both = switched([(STEPS, weak), (20, strong)])
    prediction = DATA.denoise(SCHEDULE)(START, STEPS)
    for level, part in ((STEPS, weak), (21, weak), (20, strong), (1, strong)):
        assert torch.equal(both(START, level, prediction), part(START, level, prediction))


def test_each_stage_has_visited_levels_and_inherits_omitted_settings():
    levels = [1.0, 273.2, 500.0, 980.0]
    then = ["at:800,classes=bag", "at:500,scale=4", "at:499.5,guide=free:scale=2", "at:0.5,scale=9"]
    chosen = Sampling().change(scale=2, then=then)
    stages = chosen.stages(levels)
    assert [(stage.top, stage.classes) for stage in stages] == [(4, None), (3, "bag"), (2, "bag")]
    guides = [[text(guide) for guide in stage.sampling.guide] for stage in stages]
    assert guides == [["classifier:scale=2"], ["classifier:scale=4"], ["free:scale=2"]]
    assert not any(stage.sampling.then for stage in stages)
    assert chosen.scale == 2
    assert {text(guide) for guide in chosen.by_contrast} == {"free:scale=2"}


def test_no_change_is_stored_as_before_and_changes_as_specs():
    stored = to_json(Sampling())
    assert "then" not in stored
    nested = "at:level=500,classes=bag,guide=classifier:scale=4,interval=100-400+free:scale=2"
    chosen = Sampling().change(then=[nested, "at:20,scale=0"])
    assert to_json(chosen) == stored | {"then": [nested, "at:level=20,scale=0"]}
    assert Sampling().change(**json.loads(json.dumps(to_json(chosen)))) == chosen
    assert chosen.change(then="none") == Sampling()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("models")
    path = tiny.model(folder / "m.safetensors", tiny.diffusion("train.label_dropout=0.1"))
    return adm.load(path, tiny.model(folder / "c.safetensors", tiny.classifier()))


def images(model, *guides, classes="bag", **settings):
    settings = {"guide": guides, "steps": 5, **settings}
    return last(model.trajectory(classes, 3, **settings))


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("sampler", ["ancestral", "heun", "unipc"])
def test_the_ends_of_a_network_are_either_setting_alone(model, sampler, guide):
    settings = {"sampler": sampler}
    before, after = (
        images(model, guide, **settings),
        images(model, guide, classes="sneaker", **settings),
    )
    assert not torch.equal(before, after)
    assert torch.equal(images(model, guide, then="at:20,classes=sneaker", **settings), after)
    assert torch.equal(images(model, guide, then="at:0,classes=sneaker", **settings), before)
    if "every" not in guide:  # a stage evaluates a reused gradient anew
        assert torch.equal(images(model, guide, then="at:9,classes=bag", **settings), before)
    mixed = images(model, guide, then="at:9,classes=sneaker", **settings)
    assert not torch.equal(mixed, before)
    assert not torch.equal(mixed, after)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "splitting"])
def test_another_scale_is_that_of_guides_within_intervals(model, sampler):
    parts = ("classifier:scale=9,interval=10-20", "classifier:scale=-5,interval=0-9")
    expected = images(model, *parts, sampler=sampler)
    assert torch.equal(
        images(model, "classifier:scale=9", sampler=sampler, then="at:9,scale=-5"), expected
    )
    assert not torch.equal(images(model, "classifier:scale=9", sampler=sampler), expected)


def test_calls_of_helpers_are_counted_where_they_guide(model):
    job = model.job("bag", 1, steps=5, scale=2, then="at:9,guide=free:scale=3")
    below = sum(level <= 9 for level in Even(steps=5).visited(model.schedule))
    assert 0 < below < 5
    assert (job.cost.network, job.cost.classifier) == (5 + below, 5 - below)
    assert "then at:level=9,guide=free:scale=3" in job.generator.guidance


def test_a_classifier_may_guide_to_classes_only_then(tmp_path: Path):
    chosen = tiny.diffusion("unet.classes=null")
    path = tiny.model(tmp_path / "u.safetensors", chosen, ())
    guide = tiny.model(tmp_path / "c.safetensors", tiny.classifier())
    unlabelled = adm.load(path, guide)
    plain = last(unlabelled.trajectory(count=2))
    assert torch.equal(last(unlabelled.trajectory("bag", 2, then="at:0,scale=9")), plain)
    assert not torch.equal(last(unlabelled.trajectory("bag", 2, then="at:9,scale=9")), plain)
    with pytest.raises(SettingError, match=r"there is no class 'bag'; the model has none"):
        unlabelled.job(count=2, then="at:9,classes=bag")


def test_a_student_takes_another_class_and_scale(tmp_path: Path):
    student = adm.load(tiny.model(tmp_path / "s.safetensors", tiny.student()))
    run = lambda label, **settings: last(student.trajectory(label, 2, steps=4, **settings))  # noqa: E731
    first = run("bag")
    generator = student.generator(steps=4)
    assert isinstance(generator, DiffusionGenerator)
    top, *_, low = reversed(generator.sampling.grid.visited(student.schedule))
    for then, alone in (("classes=sneaker", run("sneaker")), ("scale=2", run("bag", scale=2))):
        assert torch.equal(run("bag", then=f"at:{top},{then}"), alone)
        mixed = run("bag", then=f"at:{low},{then}")
        assert not torch.equal(mixed, alone)
        assert not torch.equal(mixed, first)
    with pytest.raises(SettingError, match=r"^scale must be from"):
        student.job("bag", 2, then="at:9,scale=100")


def test_an_upsampler_is_conditioned_on_the_final_class(tmp_path: Path):
    base = tiny.model(tmp_path / "b.safetensors", tiny.diffusion("data.size=4,4"))
    larger = tiny.model(tmp_path / "u.safetensors", tiny.upsampler())
    whole = adm.load(base, upsampler=larger)
    settings: dict[str, Any] = {"upsampler_steps": 2, "steps": 3}
    changed = whole.sample("bag", 2, then="at:20,classes=sneaker", **settings).images
    assert torch.equal(changed, whole.sample("sneaker", 2, **settings).images)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("at:9", "then changes nothing; give it classes, scale or guide"),
        ("at:21,scale=2", r"then.level must be in 0..20, got 21"),
        ("at:9,classes=hat", r"there is no class 'hat'"),
        ("at:9,guide=free:scale=2,interval=3-21", r"guide.interval must be within levels 0..20"),
        ("at:9,guide=free:clases=bag", r"free has the parameters"),
        ("at:9,scale=2,clases=bag", r"at has the parameters level, classes"),
        ("at:9,scale=2,scale=3", r"then.scale is given twice"),
        ("on:9,scale=2", r"then must be one of at"),
        (["at:9,scale=2", "at:9,scale=3"], r"then must be in the order of sampling"),
        (9, r"then must be one of at"),
    ],
)
def test_invalid_changes_are_refused(model, then, message):
    with pytest.raises(SettingError, match=f"^{message}"):
        model.job("bag", 1, then=then)


@pytest.mark.parametrize(
    "change",
    [
        Then(level=9, scale=2),
        Then(level=273.2 / 3, classes="ankle boot", scale=-1e-5),
        Then(level=0, guide=()),
        Then(level=9, guide=(ClassifierGuide(scale=2, every=3),), scale=1),
        Then(level=9, guide=(FreeGuide(scale=-2), ClassifierGuide(scale=3, interval=(2, 5)))),
    ],
    ids=text,
)
def test_a_change_is_a_setting_like_others(change):
    assert Sampling().change(then=text(change)).then == (change,)
    assert Sampling(then=(change,)) == convert(Sampling, to_json(Sampling(then=(change,))))


def test_none_ends_all_guidance_on_the_way():
    assert Sampling().change(then="at:9,guide=none").then == (Then(level=9, guide=()),)


def test_a_level_is_a_parameter_of_a_change():
    with pytest.raises(SettingError, match=r"level is a parameter; write it as then=at:level="):
        Sampling().change(level=9)
