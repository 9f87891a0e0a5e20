"""Two networks that learn and a frozen one -> one run: killed and continued, it ends the same."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import nn
from training import toy

from adm.training import checkpoint, loop
from adm.training.batches import Batch, batch_at
from adm.training.ema import EMA
from adm.training.objective import Objective, Outcome
from adm.training.players import MODEL, LossScale, Player, RunState
from adm.training.update import Learn, Skipped, StepSettings, Update, alone, reported, update

HERE = Path(__file__).parent


def stepped(run: loop.Run, count: int | None = None, micro_batch: int | None = 3) -> None:
    """Train for `count` steps, or to the end, and stop as a killed process would."""
    progress = loop.train(run, micro_batch)
    for done, _ in enumerate(progress, start=1):
        if done == count:
            break
    progress.close()  # type: ignore[attr-defined]


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def saved_state(folder: Path, step: int) -> dict:
    return json.loads((folder / f"checkpoints/step-{step:07d}/state.json").read_text())


@pytest.mark.parametrize("killed_after", [3, 5])
def test_killed_and_continued_a_run_of_two_is_uninterrupted(
    tmp_path: Path, killed_after: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stepped(toy.run_of(whole, tiny.stripes()))
    stepped(toy.run_of(killed, tiny.stripes()), killed_after)
    # The state must come from the folder: this run starts from other weights.
    run = toy.run_of(killed, tiny.stripes(), state=scrambled(toy.state_of()))
    stepped(run)
    ours, theirs = files(killed), files(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def scrambled(state: RunState) -> RunState:
    with torch.no_grad():
        for player in state.players.values():
            for tensor in (*player.network.parameters(), *player.ema.weights.values()):
                tensor.add_(1)
    return state


def test_the_first_learns_twice_a_turn_and_each_has_its_own_scale_and_rate(tmp_path: Path) -> None:
    stepped(toy.run_of(tmp_path, tiny.stripes()))
    state = saved_state(tmp_path, 6)
    assert set(state) == {"step", "micro_batch", "validation", "bad_steps", "players"}
    critic, actor = state["players"]["critic"], state["players"]["actor"]
    moments = load_file(tmp_path / "checkpoints/step-0000006/critic/optimizer.safetensors")
    # Of its 12 steps, the critic skipped the 4 of two turns.
    assert {int(count) for name, count in moments.items() if name.startswith("step/")} == {8}
    assert (critic["loss_scale"], critic["good_steps"]) == (2.0**12, 6)
    assert (actor["loss_scale"], actor["good_steps"]) == (2.0**15, 2)
    assert state["bad_steps"] == 0  # a smaller scale was the cure
    log = lines(tmp_path)
    for name, peak in toy.RATES.items():
        rates = [line[f"{name}/learning_rate"] for line in log]
        assert rates == [toy.SETTINGS.rate(step, peak) for step in range(6)]
    assert [i for i, line in enumerate(log) if "critic/skipped_gradient" in line] == [1, 2]
    assert [i for i, line in enumerate(log) if "actor/skipped_gradient" in line] == [3]


def same(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_frozen_network_is_used_and_does_not_change(tmp_path: Path) -> None:
    run = toy.run_of(tmp_path, tiny.stripes())
    judge = run.state.frozen["judge"]
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    stepped(run)
    assert same(dict(judge.state_dict()), before)
    assert all(p.grad is None and not p.requires_grad for p in judge.parameters())
    assert not any(module.training for module in judge.modules())
    assert not any("judge" in name for name in files(tmp_path))
    # Yet the actor learned from it.
    other = toy.state_of()
    with torch.no_grad():
        for parameter in other.frozen["judge"].parameters():
            parameter.mul_(2)
    stepped(toy.run_of(tmp_path / "other", tiny.stripes(), state=other))
    assert lines(tmp_path)[0]["actor/loss"] != lines(tmp_path / "other")[0]["actor/loss"]


def test_gradients_that_another_player_left_are_not_learned_from() -> None:
    batch = batch_at(tiny.stripes(), 0, 0, 8, toy.MIRRORED)
    how = StepSettings(toy.CPU, batch_size=8, micro_batch=8)
    moved = []
    for order in (("critic",), ("actor", "critic")):
        state = toy.state_of()
        objectives = {
            "critic": toy.criticise(toy.networks()["actor"], False),
            "actor": toy.act(state.players["critic"].network, state.frozen["judge"], False),
        }
        for name in order:
            update(state.players[name], objectives[name], batch, how)
        moved.append({n: p.detach() for n, p in state.players["critic"].network.named_parameters()})
    assert same(*moved)


def test_steps_that_are_not_finite_end_the_run_with_the_player_s_name(tmp_path: Path) -> None:
    run = toy.run_of(
        tmp_path,
        tiny.stripes(),
        state=toy.state_of(scaled=False),
        taken=toy.turn(actor_overflows=range(1, 6)),
    )
    with pytest.raises(FloatingPointError, match=r"step 4, actor: the loss is finite, but its"):
        stepped(run)
    report = json.loads((tmp_path / "failure.json").read_text())
    assert (report["player"], report["skipped"], len(report["worst"])) == ("actor", "gradient", 8)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


def update_of(skipped: Skipped | None, curable: bool = False) -> Update:
    return Update(torch.zeros(1), {"loss": torch.zeros(1)}, 0.0, skipped, curable)


def test_a_bad_step_of_one_is_a_bad_step_of_the_run() -> None:
    good, curable, bad = update_of(None), update_of("gradient", True), update_of("forward")
    assert loop.count_bad(2, [good, good]) == 0
    assert loop.count_bad(2, [good, curable]) == 2
    assert loop.count_bad(2, [curable, bad]) == loop.count_bad(2, [bad, good]) == 3
    assert loop.count_bad(2, [bad, bad]) == 3
    assert reported([good, bad, curable]) is bad
    assert reported([good, update_of(None)]) is not good


def test_a_trial_of_memory_takes_the_turn_and_changes_nothing(tmp_path: Path) -> None:
    tried: list[int] = []

    def full(state: RunState, batch: Batch, learn: Learn) -> dict[str, Update]:
        def limited(player: Player, objective: Objective, part: Batch) -> Update:
            def called(network: nn.Module, images: Batch) -> Outcome:
                tried.append(images.size)
                if images.size > 3 and player is state.players["actor"]:  # the second to learn
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                return objective(network, images)

            return learn(player, called, part)

        return toy.turn()(state, batch, limited)

    stepped(toy.run_of(tmp_path / "fixed", tiny.stripes(), taken=toy.turn()), micro_batch=2)
    list(loop.train(toy.run_of(tmp_path / "auto", tiny.stripes(), taken=full), "auto"))
    assert tried[:9] == [8, 8, 8, 4, 4, 4, 2, 2, 2]
    assert files(tmp_path / "auto") == files(tmp_path / "fixed")
    with pytest.raises(MemoryError, match=r"with 8 images at once; a micro-batch of 2 would fit"):
        stepped(toy.run_of(tmp_path / "full", tiny.stripes(), taken=full), micro_batch=8)


def one_player(network: nn.Module) -> RunState:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    return RunState({MODEL: Player(network, (EMA(network, 0.9),), optimizer, LossScale(), network)})


def test_buffers_of_a_network_are_saved_and_restored(tmp_path: Path) -> None:
    def counting() -> RunState:
        torch.manual_seed(0)
        return one_player(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        )

    taken = alone(toy.criticise(toy.networks()["actor"], overflows=False))
    for way, counts in {"whole": (6,), "halves": (3, 3)}.items():
        for count in counts:
            run = toy.run_of(tmp_path / way, tiny.stripes(), state=counting(), taken=taken)
            stepped(run, count, micro_batch=4)
    assert files(tmp_path / "whole") == files(tmp_path / "halves")
    for file in ("raw", "model"):
        stored = load_file(tmp_path / f"whole/checkpoints/step-0000006/{file}.safetensors")
        # 6 steps of 2 micro-batches, each of generated and of real images.
        assert stored["2.num_batches_tracked"] == 24


@pytest.mark.parametrize(("first", "then"), [("two", "one"), ("one", "two")])
def test_a_checkpoint_of_other_players_is_refused(tmp_path: Path, first: str, then: str) -> None:
    def run_of(way: str) -> loop.Run:
        if way == "two":
            return toy.run_of(tmp_path, tiny.stripes())
        taken = alone(toy.criticise(toy.networks()["actor"], overflows=False))
        state = one_player(toy.networks()["critic"])
        return toy.run_of(tmp_path, tiny.stripes(), state=state, taken=taken)

    stepped(run_of(first), 3)
    players = {"two": "critic, actor", "one": "model"}[first]
    with pytest.raises(ValueError, match=rf"step-0000003 cannot be resumed: it trains {players},"):
        stepped(run_of(then))


@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_counted_where_adamw_counts_them(fused: bool) -> None:
    network = nn.Linear(2, 2, bias=False, device="meta")
    optimizer = torch.optim.SGD(network.parameters())
    optimizer.defaults["fused"] = fused  # torch has no fused optimizer of meta tensors
    player = Player(network, (), optimizer, LossScale(), network)
    moments = {"step/weight": torch.zeros(()), "exp_avg/weight": torch.zeros(2, 2)}
    checkpoint._set_moments(player, moments)
    own = optimizer.state[network.weight]
    assert own["exp_avg"].device.type == "meta"
    assert own["step"].device.type == ("meta" if fused else "cpu")
