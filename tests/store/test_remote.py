"""A mirror: what is here and what is in the store are equal after each call, whoever is killed."""

import shutil
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest

fsspec = pytest.importorskip("fsspec", reason="the extra `stores` is not installed")

from adm.spec import SettingError  # noqa: E402
from adm.store import remote  # noqa: E402
from adm.store.files import is_address  # noqa: E402
from adm.store.hashes import SUMS, damaged_parts, seal  # noqa: E402
from adm.store.parts import Parts  # noqa: E402
from adm.store.remote import Mirror  # noqa: E402

ADDRESS = "memory://bucket/runs/64"


@pytest.fixture(autouse=True)
def store() -> Iterator[dict[str, object]]:
    """What is in the store, by path."""
    held = fsspec.filesystem("memory").store
    held.clear()
    yield held
    held.clear()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """machine -> its mirror of ADDRESS, with a cache of its own."""

    def mirror(machine: str) -> Mirror:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        return Mirror.at(ADDRESS)

    return mirror


def write(folder: Path, files: dict[str, bytes], sealed: bool = False) -> None:
    """Make a folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if sealed:
        seal(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".store")
    }


OLD = {"a.png": b"1", "b.png": b"2", "deep/c.png": b"3"}
NEW = {"a.png": b"one", "d.png": b"4"}


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_pushed_is_pulled_elsewhere(elsewhere, sealed: bool) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    for files in (OLD, NEW):
        write(here.local, files, sealed)
        here.push()
        there.pull()
        assert tree(there.local) == tree(here.local)


def test_a_work_folder_and_a_file_beside_go_along_and_locks_stay(elsewhere) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    write(here.root / ".64.parts", {"00000000-00000008.npz": b"1", "shard.lock": b"", "new/x": b""})
    write(here.root / ".64.work", {"features.npz": b"2"})
    (here.root / "64.json").write_bytes(b"3")
    here.push()
    there.pull()
    assert set(tree(there.root)) == {".64.parts/00000000-00000008.npz", ".64.work/features.npz"}
    assert fsspec.filesystem("memory").cat("/bucket/runs/64.json") == b"3"


def test_a_second_push_of_the_same_moves_nothing(elsewhere, monkeypatch) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    for machine in (here, there):  # as two shards that both found all parts
        write(machine.local, OLD, sealed=True)
    here.push()
    moved = list[str]()
    monkeypatch.setattr(Mirror, "_put", lambda self, names: moved.extend(names))
    monkeypatch.setattr(Mirror, "_remove", lambda self, names: moved.extend(names))
    here.push()
    there.push()
    assert moved == []


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    """Let the process die before the `turn`-th change of the store."""
    kind, left = type(fsspec.filesystem("memory")), [turn]

    def dying(self, real, *words, **options):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(self, *words, **options)

    for name in ("pipe_file", "put_file", "rm_file"):
        monkeypatch.setattr(kind, name, partialmethod(dying, getattr(kind, name)))


def whole(files: dict[str, bytes], machine: Mirror) -> bool:
    """Whether a machine has these files, as they were sealed."""
    found = tree(machine.local)
    return found.pop(SUMS, None) is not None and found == files


def test_killed_between_two_objects_a_reader_finds_old_new_or_none(elsewhere, monkeypatch) -> None:
    seen, turn = set[str](), 0
    while "ended" not in seen:
        fsspec.filesystem("memory").store.clear()
        here = elsewhere(f"here-{turn}")
        write(here.local, OLD, sealed=True)
        here.push()
        write(here.local, NEW, sealed=True)
        with monkeypatch.context() as dying:
            kill_at(dying, turn)
            try:
                here.push()
                seen.add("ended")
            except Killed:
                pass
        reader = elsewhere(f"reader-{turn}")
        reader.pull()
        kinds = {
            "old": whole(OLD, reader),
            "new": whole(NEW, reader),
            "none": tree(reader.local) == {},
        }
        assert sum(kinds.values()) == 1, (turn, tree(reader.local))
        seen |= {kind for kind, is_it in kinds.items() if is_it}
        again = elsewhere(f"again-{turn}")  # the same command, begun again elsewhere
        again.pull()
        write(again.local, NEW, sealed=True)
        again.push()
        assert {name.rpartition("runs/")[2] for name in fsspec.filesystem("memory").store} == {
            f"64/{name}" for name in (*NEW, SUMS)
        }
        turn += 1
    assert seen == {"old", "new", "none", "ended"}


def test_killed_while_a_checkpoint_is_replaced_one_is_always_whole(elsewhere, monkeypatch) -> None:
    seen, turn = set[tuple[str, ...]](), 0
    while True:
        fsspec.filesystem("memory").store.clear()
        here = elsewhere(f"here-{turn}")
        write(here.local / "checkpoints/step-1", OLD, sealed=True)
        here.push(sole=True)
        shutil.rmtree(here.local / "checkpoints/step-1")
        write(here.local / "checkpoints/step-2", NEW, sealed=True)
        with monkeypatch.context() as dying:
            kill_at(dying, turn)
            try:
                here.push(sole=True)
                ended = True
            except Killed:
                ended = False
        reader = elsewhere(f"reader-{turn}")
        reader.pull()
        found = sorted((reader.local / "checkpoints").iterdir())
        assert found
        for folder in found:
            assert (folder / SUMS).exists()
            assert damaged_parts(folder) == []
        seen.add(tuple(folder.name for folder in found))
        reader.push(sole=True)  # removes what was left unfinished
        left = {name.split("/")[5] for name in fsspec.filesystem("memory").store if "step" in name}
        assert left == {folder.name for folder in found}
        if ended:
            break
        turn += 1
    assert seen == {("step-1",), ("step-1", "step-2"), ("step-2",)}


def test_what_was_removed_here_or_there_is_removed(elsewhere) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    write(here.local, OLD)
    here.push()
    there.pull()
    (there.local / "a.png").unlink()
    there.push()
    here.pull()
    assert set(tree(here.local)) == {"b.png", "deep/c.png"}


def test_what_was_not_fetched_stays_and_goes_with_its_folder(elsewhere) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    write(here.local / "old", OLD, sealed=True)
    here.push()
    there.pull(lambda names: [name for name in names if name.endswith(SUMS)])
    there.push()
    here.pull()
    assert set(tree(here.local / "old")) == {*OLD, SUMS}
    (there.local / "old" / SUMS).unlink()
    there.push()
    assert Mirror.at(ADDRESS).there() == {}


def test_a_copy_that_a_user_removes_is_fetched_again(elsewhere) -> None:
    here = elsewhere("here")
    write(here.local, OLD, sealed=True)
    here.push()
    shutil.rmtree(here.local)
    here.begin()
    here.pull(lambda names: [name for name in names if name.endswith(SUMS)])
    here.push()
    here.pull()
    assert set(tree(here.local)) == {*OLD, SUMS}


def test_a_file_of_several_machines_is_refused_in_a_store_alone(elsewhere, tmp_path: Path) -> None:
    here = elsewhere("here")
    remote.check_machines(here.local, several=False)
    remote.check_machines(tmp_path / "out", several=True)
    with pytest.raises(SettingError, match=r"on a disk that all machines see.*memory://bucket"):
        remote.check_machines(here.local, several=True)


def test_only_what_is_put_belongs_to_a_mirror(elsewhere) -> None:
    here = elsewhere("here")
    for name in ("64", "64/run.json", ".64.parts", ".64.parts/00000000-00000008.npz", ".64.work/a"):
        assert Mirror.of(here.root / name) == here
    for name in ("64/.x.parts", "64/points/.x.parts/samples.json", ".65.parts", ".64.parts/new"):
        assert Mirror.of(here.root / name) is None


def test_a_part_that_cannot_be_put_now_is_put_at_the_end(elsewhere, monkeypatch, caplog) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    parts = Parts(here.root / ".64.parts", "job")
    with monkeypatch.context() as broken:
        broken.setattr(Mirror, "_put", partialmethod(refuse))
        parts.write(range(4), images=np.zeros(4))
    assert "cannot be reached; this part is put with a later one" in caplog.text
    here.push()
    other = Parts(there.root / ".64.parts", "job")
    assert other.spans() == [range(4)]
    held = other.read(range(4))
    assert held is not None
    assert held["images"].shape == (4,)
    assert other.missing(range(6)) == [range(4, 6)]


def refuse(self: Mirror, names: object) -> None:
    raise ValueError(f"{self.address}: cannot be reached")


def test_the_store_wins_over_a_copy_that_is_behind(elsewhere) -> None:
    here, there = elsewhere("here"), elsewhere("there")
    write(here.local, {"log": b"1"})
    here.push()
    there.pull()
    write(there.local, {"log": b"1\n2"})
    there.push()
    write(here.local, {"log": b"x"})
    here.pull()
    assert tree(here.local) == {"log": b"1\n2"}
    write(here.local, {"log": b"1\n2\n3"})  # not pushed yet, and nobody else has changed it
    here.pull()
    assert tree(here.local) == {"log": b"1\n2\n3"}


def test_names_in_a_store_stay_inside_of_the_copy(elsewhere) -> None:
    held = fsspec.filesystem("memory")
    held.pipe_file("/bucket/runs/64/../../out", b"evil")
    held.pipe_file("/bucket/runs/64/.lock", b"evil")
    here = elsewhere("here")
    (here.root / "64").mkdir()
    (here.root / "64" / "link").symlink_to(here.root.parent)
    held.pipe_file("/bucket/runs/64/link/out", b"evil")
    with pytest.raises(ValueError, match="beyond a link"):
        here.pull()
    assert list(here.root.parent.rglob("*out*")) == []
    assert not (here.local / ".lock").exists()


def test_a_probe_leaves_nothing(elsewhere, store) -> None:
    elsewhere("here").probe()
    assert store == {}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s4://bucket/out", "fsspec knows no store s4"),
        ("memory://bucket", "memory://bucket is a whole bucket"),
        ("memory://bucket/a/../../b", "without"),
    ],
)
def test_an_address_that_cannot_be_opened_is_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mirror.at(address)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("fsspec.url_to_fs", missing)
    with pytest.raises(ValueError, match="pip install gcsfs"):
        remote.opened("gs://bucket/out")
    with pytest.raises(ValueError, match=r"s3fs|stores"):
        remote.opened("s3://bucket/out")


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (PermissionError("Access Denied"), "use credentials"),
        (FileNotFoundError("no bucket"), "create it"),
        (type("NoCredentialsError", (Exception,), {})("x"), "AWS_ACCESS_KEY_ID"),
        (type("EndpointConnectionError", (Exception,), {})("x"), "AWS_ENDPOINT_URL"),
        (OSError(5, "something"), "something; resolve"),
    ],
)
def test_a_refusal_names_the_address_and_the_cure(error: Exception, cure: str) -> None:
    with (
        pytest.raises(ValueError, match=f"^s3://bucket/out: .*{cure}"),
        remote.reaching("s3://bucket/out"),
    ):
        raise error


def test_a_path_is_no_address(tmp_path: Path) -> None:
    assert is_address("s3://bucket/x")
    for path in ("out", "C://x", "/s3://x", "hf:owner/name", "s3:/bucket/x", "s3://"):
        assert not is_address(path)
    assert Mirror.of(tmp_path / "out") is None
