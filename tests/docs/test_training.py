"""docs/howto/train.md -> its blocks run, and the turns on it do what the page says."""

import json
import math
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from training import toy

from adm.app.runs import run
from adm.data import open_source
from adm.models.load import load_diffusion
from adm.recipes import recipe
from adm.recipes.schema import override
from adm.training import loop
from adm.training.batches import Augmentation, batch_at
from adm.training.players import RunState
from docs import pages

pytestmark = pytest.mark.xdist_group("training page")  # one worker makes what all of them use

PAGE = pages.DOCS / "howto" / "train.md"
SMALL = ("train.steps=3", "train.batch_size=4", "unet.channels=32", "unet.multipliers=1,1")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page defines, run in a folder with a run of a few steps in it."""
    folder: Path = tmp_path_factory.mktemp("training")
    chosen = override(recipe("digits"), SMALL)
    source = open_source("digits", split="train", size=chosen.data.size, channels=1)
    list(run.train_steps(chosen, source, folder / "runs/digits", torch.device("cpu")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield {**pages.run(PAGE), "folder": folder}


def test_the_student_is_trained_and_can_be_sampled(page):
    assert len(page["losses"]) == 3
    assert all(math.isfinite(loss) and loss > 0 for loss in page["losses"])
    assert load_diffusion(page["folder"] / "runs/student").trained_steps == 3


def test_a_student_that_is_its_teacher_has_nothing_to_learn(page):
    state, batch = page["run"].state, batch_at(page["source"], 0, 0, 4, Augmentation())
    found = []

    def learn(player, objective, given):
        found.append(objective(player.network, given).loss)

    page["run"].turn(state, batch, learn)
    state.model.network.load_state_dict(page["teacher"].network.state_dict())
    page["run"].turn(state, batch, learn)
    apart, alike = (loss.max().item() for loss in found)
    assert alike < 1e-12 < 1e-9 < apart


def test_the_discriminator_takes_several_steps_and_the_generator_one(page, tmp_path):
    critic, actor = toy.state_of(scaled=False).players.values()
    judge = toy.networks()["judge"]
    state = RunState({"generator": actor, "discriminator": critic}, {"judge": judge})
    taken = page["adversarial"](
        lambda generator: toy.criticise(generator, overflows=False),
        lambda discriminator: toy.act(discriminator, judge, overflows=False),
        rounds=3,
    )
    list(loop.train(toy.run_of(tmp_path, tiny.stripes(), state=state, taken=taken)))
    held = load_file(tmp_path / "checkpoints/step-0000006/discriminator/optimizer.safetensors")
    assert {int(count) for name, count in held.items() if name.startswith("step/")} == {18}
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert {"generator/loss", "discriminator/loss"} < first.keys()
