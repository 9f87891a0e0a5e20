"""--out in a store: the same files as on a disk, whichever machines begin and end the command."""

from collections.abc import Callable, Iterable, Iterator
from functools import partialmethod
from pathlib import Path

import pytest
import torch

fsspec = pytest.importorskip("fsspec", reason="the extra `stores` is not installed")

import launch  # noqa: E402
import tiny  # noqa: E402
from answers import Adm  # noqa: E402
from samples import archive  # noqa: E402

from adm.app.cli.stores import pushed  # noqa: E402
from adm.app.scoring.images import open_images  # noqa: E402
from adm.data import pack  # noqa: E402
from adm.generation.blocks import LARGEST  # noqa: E402
from adm.store.remote import Mirror  # noqa: E402
from adm.training import log  # noqa: E402
from adm.training.loop import Progress  # noqa: E402

ADDRESS = "memory://bucket/out"


@pytest.fixture(autouse=True)
def store() -> Iterator[Callable[[str], dict[str, bytes]]]:
    """Folder -> its files in the store, by name."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()

    def files_in(folder: str = "/bucket/out/") -> dict[str, bytes]:
        return {
            name.removeprefix(folder): memory.cat(name)
            for name in memory.store
            if name.startswith(folder)
        }

    yield files_in
    memory.store.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Switch to another machine, which has its own cache."""

    def go(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("first")
    return go


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and "checkpoints/best" not in str(path)
    }


def test_a_sample_folder_is_put_into_a_store(adm: Adm, gan, tmp_path, machine, store) -> None:
    command = ("sample", gan, "--truncation", 0.5, "--count", 5, "--batch-size", 2, "--out")
    adm.done(*command, tmp_path / "out")
    output = adm.done(*command, ADDRESS).out
    assert store() == files(tmp_path / "out")
    assert f"{ADDRESS}: 5 images" in output
    assert str(tmp_path) not in output
    machine("second")
    assert "memory://bucket/out is complete" in adm.done(*command, ADDRESS).out
    assert store("/bucket/") == {f"out/{name}": each for name, each in store().items()}
    assert not [name for name in files(tmp_path / "second") if name.endswith(".png")]
    stored, own = open_images(ADDRESS), open_images(str(tmp_path / "out"))
    assert stored.manifest == own.manifest
    assert torch.equal(stored.source.batch(range(5))[0], own.source.batch(range(5))[0])
    refused = adm("sample", gan, "--seed", 3, f"--out={ADDRESS}").refusal()
    assert "it holds other samples" in refused
    assert ADDRESS in refused
    adm.done("sample", gan, "--seed", 3, "--count", 2, "--overwrite", "-o", ADDRESS)
    adm.done("sample", gan, "--seed", 3, "--count", 2, "--out", tmp_path / "other")
    assert store() == files(tmp_path / "other")


def test_shards_of_machines_without_a_shared_disk_meet(adm, gan, tmp_path, machine, store) -> None:
    command = ("sample", gan, "--count", 3 * LARGEST, "--out")
    adm.done(*command, tmp_path / "out")
    for number in (1, 3):
        machine(f"machine-{number}")
        assert "missing" in adm.done(*command, ADDRESS, "--shard", f"{number}/3").out
        assert store() == {}
        assert len(store("/bucket/.out.parts/")) > 1
    machine("other")
    assert (
        "holds a part of other"
        in adm("sample", gan, "--count", LARGEST, "--out", ADDRESS, "--shard", "2/3").refusal()
    )
    machine("machine-2")
    adm.done(*command, ADDRESS, "--shard", "2/3")
    assert store() == files(tmp_path / "out")
    assert store("/bucket/.out.parts/") == {}
    machine("machine-1")
    adm.done(*command, ADDRESS, "--shard", "1/3")
    assert store("/bucket/") == {f"out/{name}": each for name, each in store().items()}


def test_parts_of_other_samples_are_replaced(adm, gan, tmp_path, machine, store) -> None:
    command = ("sample", gan, "--count", 2 * LARGEST)
    adm.done(*command, "--seed", 1, "--out", ADDRESS, "--shard", "1/2")
    note = fsspec.filesystem("memory").cat("/bucket/.out.parts/samples.json")
    note = note.replace(b'"shards": true', b'"shards": false')
    fsspec.filesystem("memory").pipe_file("/bucket/.out.parts/samples.json", note)
    machine("second")
    adm.done(*command, "--seed", 2, "--out", ADDRESS)
    adm.done(*command, "--seed", 2, "--out", tmp_path / "out")
    assert store("/bucket/") == {f"out/{k}": v for k, v in files(tmp_path / "out").items()}


class Killed(BaseException):
    pass


def test_a_run_is_begun_on_one_machine_and_ended_on_another(
    adm: Adm, tmp_path: Path, machine, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("train.steps=6", "train.save_every_steps=2", "train.keep_last=2", "watch.images=0")
    small = tiny.diffusion(*settings, "train.ema_widths=0.1", "watch.validation_images=4")
    recipe, data = launch.files(tmp_path / "own", small, tiny.stripes())
    command = ("train", recipe, "--data", data, "--hold-out", 0.2, "--device", "cpu", "--out")
    adm.done(*command, tmp_path / "out")
    written = log.write

    def dying(lines: object, done: int, shown: dict[str, float]) -> None:
        if done == 5:
            raise Killed
        written(lines, done, shown)

    with monkeypatch.context() as once:
        once.setattr(log, "write", dying)
        once.setattr(Mirror, "push", partialmethod(at_checkpoints, Mirror.push))
        with pytest.raises(Killed):
            adm(*command, ADDRESS)
    assert "checkpoints/step-0000004/SHA256SUMS" in store()
    machine("other")
    refused = adm(*command, ADDRESS, "--set", "train.learning_rate=0.1").refusal()
    assert f"{ADDRESS} holds another run: recipe.train.learning_rate" in refused
    machine("second")
    assert f"continuing {ADDRESS} from step 4" in adm.done(*command, ADDRESS).out
    stored, whole = store(), files(tmp_path / "out")
    assert stored.keys() == whole.keys()
    assert {name for name in stored if stored[name] != whole[name]} <= {"progress.png"}
    machine("third")
    assert "diffusion" in adm.done("info", ADDRESS).out.lower()
    adm.done("sample", ADDRESS, "--count", 2, "--steps", 2, "--out", tmp_path / "samples")
    assert not any("optimizer" in name or "raw" in name for name in files(tmp_path / "third"))


def test_a_run_goes_on_while_its_store_cannot_be_reached(
    machine, store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, put = Mirror.at(ADDRESS).local, Mirror._put
    steps = [Progress(step, {}, 1.0, run / "checkpoints") for step in (1, 2, 3)]

    def progress() -> Iterator[Progress]:
        for step in steps:
            (run / f"{step.step}.json").write_text("{}")
            yield step

    def broken(mirror: Mirror, names: Iterable[str]) -> None:
        if [*names] == ["out/2.json"]:
            raise ValueError("cannot be reached")
        put(mirror, names)

    run.mkdir()
    monkeypatch.setattr(Mirror, "_put", broken)
    counts = [len(store()) for _ in pushed(progress(), run)]
    assert counts == [1, 1, 3]
    assert "cannot be reached; the next checkpoint is put with this one" in capsys.readouterr().err


def at_checkpoints(mirror: Mirror, push: Callable[..., None], sole: bool = False) -> None:
    """Push as a killed process does: never at its end."""
    if sole:
        push(mirror, sole)


def test_shards_are_packed_into_a_store(
    adm: Adm, tmp_path: Path, machine, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "data.npz", *tiny.stripes().batch(range(20)), tiny.CLASSES)
    command = ("data", "pack", tmp_path / "data.npz", "--shard-size", 6, "--out")
    adm.done(*command, tmp_path / "out")
    add, remaining = pack._add, [20]  # files of shards, of which each has twelve

    def dying(*words: object) -> None:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise Killed
        add(*words)

    with monkeypatch.context() as once:
        once.setattr(pack, "_add", dying)
        with pytest.raises(Killed):
            adm(*command, ADDRESS)
    assert sum(name.endswith(".tar") for name in store()) == 1
    machine("second")
    assert "1 of them from an earlier run" in adm.done(*command, ADDRESS).out
    assert store() == files(tmp_path / "out")
    assert not [name for name in files(tmp_path) if name.endswith(".tar") and "stores" in name]
    inspected = adm.done("data", "inspect", ADDRESS, "--json").out
    assert inspected == adm.done("data", "inspect", tmp_path / "out", "--json").out


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("--out", "s4://bucket/out"), "fsspec knows no store"),
        (("--out", "memory://out"), "memory://out is a whole bucket; give a place in it"),
    ],
)
def test_what_is_no_place_in_a_store_is_refused(adm: Adm, gan: Path, words, cure) -> None:
    assert cure in adm("sample", gan, *words).refusal()


def test_only_an_out_may_be_in_a_store(adm: Adm, gan: Path) -> None:
    words = ("convert", gan, "--out", "model.safetensors", "--scores", "memory://bucket/scores")
    assert "only --out, data and models may be" in adm(*words).refusal()


def test_a_store_without_permission_is_refused_before_any_work(
    adm: Adm, gan: Path, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self, *words: object, **options: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    message = adm("sample", gan, "--count", 2, "--out", ADDRESS).refusal()
    assert "memory://bucket/out: permission denied (Access Denied); use credentials" in message
