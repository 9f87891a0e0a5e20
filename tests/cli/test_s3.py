"""adm against a server of S3 in another process -> the files of a local command, byte for byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest

for package in ("s3fs", "moto.server", "flask_cors"):
    pytest.importorskip(package, reason="the extra `stores` or the server is not installed")

import fsspec  # noqa: E402
import launch  # noqa: E402
import s3  # noqa: E402
import tiny  # noqa: E402
from answers import Adm  # noqa: E402

from adm.generation.blocks import LARGEST  # noqa: E402

pytestmark = [pytest.mark.xdist_group("s3"), pytest.mark.launcher]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3.serving() as variables:
        yield variables


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: dict[str, str]):
    """Switch to another machine, which has its own cache."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)

    def go(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("first")
    return go


def fetch(address: str, to: Path) -> Path:
    """Copy a folder of the store, as any other program would."""
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    filesystem.get(address.removeprefix("s3://"), str(to), recursive=True)
    return to


def test_a_run_killed_on_one_machine_ends_on_another_as_if_it_had_not_been(
    adm: Adm, tmp_path: Path, machine
) -> None:
    s3.make_bucket("runs")
    settings = ("train.steps=6", "train.save_every_steps=2", "watch.images=0", "train.keep_last=1")
    recipe, source = tiny.diffusion(*settings, "train.ema_widths=0.1"), tiny.stripes()
    path, data = launch.files(tmp_path / "own", recipe, source)
    words = ("data", "pack", data, "--shard-size", 8, "--out")
    adm.done(*words, tmp_path / "shards")
    adm.done(*words, "s3://runs/shards")
    command = ["train", str(path), "--device", "cpu", "--out"]
    at_home = [*command, str(tmp_path / "64"), "--data", str(tmp_path / "shards")]
    launch.finish(launch.command(tmp_path, at_home))
    away = [*command, "s3://runs/64", "--data", "s3://runs/shards"]
    launch.finish(launch.command(tmp_path, away, before=launch.at_step(4, "SIGKILL")), -9)
    machine("second")
    assert "from step 2" in launch.finish(launch.command(tmp_path, away))
    copy = fetch("s3://runs/64", tmp_path / "got")
    assert launch.outcome(copy) == launch.outcome(tmp_path / "64")
    steps = sorted(folder.name for folder in (copy / "checkpoints").iterdir())
    whole = sorted(p.name for p in (tmp_path / "64/checkpoints").iterdir() if not p.is_symlink())
    assert steps == whole
    assert adm.done("sample", "s3://runs/64", "--count", 1, "--steps", 2, "-o", tmp_path / "one")


def test_two_ranks_write_one_run(tmp_path: Path, machine) -> None:
    s3.make_bucket("ranks")
    recipe, source = tiny.diffusion("train.steps=2", "watch.images=0"), tiny.stripes()
    for out in (tmp_path / "64", "s3://ranks/64"):
        launch.finish(launch.train(tmp_path / "own", recipe, source, out, processes=2))  # type: ignore[arg-type]
    copy = fetch("s3://ranks/64", tmp_path / "got")
    assert launch.outcome(copy) == launch.outcome(tmp_path / "64")


def test_two_shards_at_a_time_meet_in_the_store(adm: Adm, gan, tmp_path: Path, machine) -> None:
    s3.make_bucket("images")
    command = ["sample", str(gan), "--count", str(2 * LARGEST), "--out"]
    adm.done(*command, tmp_path / "out")
    started = []
    for number in (1, 2):
        machine(f"machine-{number}")
        place = tmp_path / str(number)
        place.mkdir()
        words = [*command, "s3://images/out", "--shard", f"{number}/2"]
        started.append(launch.command(place, words))
    for each in started:
        launch.finish(each)
    copy = fetch("s3://images/out", tmp_path / "got")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == files
    paths = fsspec.filesystem("s3", skip_instance_cache=True).find("images")
    assert {path.split("/")[1] for path in paths} == {"out"}


def test_no_bucket_no_server_and_no_permission_are_refused(
    adm: Adm, gan: Path, tmp_path: Path, machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sample", gan, "--count", 1, "--out")
    assert "there is no such bucket" in adm(*command, "s3://nowhere/out").refusal()
    assert "there is no such bucket" in adm("data", "inspect", "s3://nowhere/data").refusal()
    with s3.serving(INITIAL_NO_AUTH_ACTION_COUNT="0") as strict:
        monkeypatch.setenv("AWS_ENDPOINT_URL", strict["AWS_ENDPOINT_URL"])
        fsspec.filesystem("s3").clear_instance_cache()
        message = adm(*command, "s3://closed/out").refusal()
        assert "s3://closed/out: permission denied" in message
        assert "use credentials that may list, read, write and remove there" in message
    fsspec.filesystem("s3").clear_instance_cache()
    assert "cannot be reached" in adm(*command, "s3://closed/out").refusal()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    assert "set AWS_ACCESS_KEY_ID" in adm(*command, "s3://closed/out").refusal()
    fsspec.filesystem("s3").clear_instance_cache()
