"""A mirror: the local files equal those of the store after each call, whoever is killed."""

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
    """The objects of the store, by path."""
    objects = fsspec.filesystem("memory").store
    objects.clear()
    yield objects
    objects.clear()


@pytest.fixture
def mirror_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
def test_pushed_files_are_pulled_by_another_machine(mirror_on, sealed: bool) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    for files in (OLD, NEW):
        write(first.local, files, sealed)
        first.push()
        second.pull()
        assert tree(second.local) == tree(first.local)


def test_parts_work_and_a_sibling_file_are_pushed_and_locks_are_not(mirror_on) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    write(
        first.root / ".64.parts", {"00000000-00000008.npz": b"1", "shard.lock": b"", "new/x": b""}
    )
    write(first.root / ".64.work", {"features.npz": b"2"})
    (first.root / "64.json").write_bytes(b"3")
    first.push()
    second.pull()
    assert set(tree(second.root)) == {".64.parts/00000000-00000008.npz", ".64.work/features.npz"}
    assert fsspec.filesystem("memory").cat("/bucket/runs/64.json") == b"3"


def test_a_second_push_of_the_same_moves_nothing(mirror_on, monkeypatch) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    for machine in (first, second):  # like two shards that both have all parts
        write(machine.local, OLD, sealed=True)
    first.push()
    moved = list[str]()
    monkeypatch.setattr(Mirror, "_put", lambda self, names: moved.extend(names))
    monkeypatch.setattr(Mirror, "_remove", lambda self, names: moved.extend(names))
    first.push()
    second.push()
    assert moved == []


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    """Let the process die before the `turn`-th change of the store."""
    kind, remaining = type(fsspec.filesystem("memory")), [turn]

    def dying(self, real, *words, **options):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise Killed
        return real(self, *words, **options)

    for name in ("pipe_file", "put_file", "rm_file"):
        monkeypatch.setattr(kind, name, partialmethod(dying, getattr(kind, name)))


def whole(files: dict[str, bytes], machine: Mirror) -> bool:
    """Whether a machine has exactly these files, sealed."""
    actual = tree(machine.local)
    return actual.pop(SUMS, None) is not None and actual == files


def test_killed_between_two_objects_a_reader_finds_old_new_or_none(mirror_on, monkeypatch) -> None:
    outcomes, turn = set[str](), 0
    while "ended" not in outcomes:
        fsspec.filesystem("memory").store.clear()
        writer = mirror_on(f"writer-{turn}")
        write(writer.local, OLD, sealed=True)
        writer.push()
        write(writer.local, NEW, sealed=True)
        with monkeypatch.context() as dying:
            kill_at(dying, turn)
            try:
                writer.push()
                outcomes.add("ended")
            except Killed:
                pass
        reader = mirror_on(f"reader-{turn}")
        reader.pull()
        kinds = {
            "old": whole(OLD, reader),
            "new": whole(NEW, reader),
            "none": tree(reader.local) == {},
        }
        assert sum(kinds.values()) == 1, (turn, tree(reader.local))
        outcomes |= {kind for kind, is_it in kinds.items() if is_it}
        again = mirror_on(f"again-{turn}")  # the same command, restarted elsewhere
        again.pull()
        write(again.local, NEW, sealed=True)
        again.push()
        assert {name.rpartition("runs/")[2] for name in fsspec.filesystem("memory").store} == {
            f"64/{name}" for name in (*NEW, SUMS)
        }
        turn += 1
    assert outcomes == {"old", "new", "none", "ended"}


def test_killed_while_a_checkpoint_is_replaced_one_is_always_whole(mirror_on, monkeypatch) -> None:
    outcomes, turn = set[tuple[str, ...]](), 0
    while True:
        fsspec.filesystem("memory").store.clear()
        writer = mirror_on(f"writer-{turn}")
        write(writer.local / "checkpoints/step-1", OLD, sealed=True)
        writer.push(sole=True)
        shutil.rmtree(writer.local / "checkpoints/step-1")
        write(writer.local / "checkpoints/step-2", NEW, sealed=True)
        with monkeypatch.context() as dying:
            kill_at(dying, turn)
            try:
                writer.push(sole=True)
                ended = True
            except Killed:
                ended = False
        reader = mirror_on(f"reader-{turn}")
        reader.pull()
        folders = sorted((reader.local / "checkpoints").iterdir())
        assert folders
        for folder in folders:
            assert (folder / SUMS).exists()
            assert damaged_parts(folder) == []
        outcomes.add(tuple(folder.name for folder in folders))
        reader.push(sole=True)  # removes the unfinished change
        stored = {
            name.split("/")[5] for name in fsspec.filesystem("memory").store if "step" in name
        }
        assert stored == {folder.name for folder in folders}
        if ended:
            break
        turn += 1
    assert outcomes == {("step-1",), ("step-1", "step-2"), ("step-2",)}


def test_a_file_removed_on_one_side_is_removed_on_the_other(mirror_on) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    write(first.local, OLD)
    first.push()
    second.pull()
    (second.local / "a.png").unlink()
    second.push()
    first.pull()
    assert set(tree(first.local)) == {"b.png", "deep/c.png"}


def test_files_that_were_not_fetched_stay_until_their_folder_is_removed(mirror_on) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    write(first.local / "old", OLD, sealed=True)
    first.push()
    second.pull(lambda names: [name for name in names if name.endswith(SUMS)])
    second.push()
    first.pull()
    assert set(tree(first.local / "old")) == {*OLD, SUMS}
    (second.local / "old" / SUMS).unlink()
    second.push()
    assert Mirror.at(ADDRESS).stored() == {}


def test_a_copy_that_a_user_removes_is_fetched_again(mirror_on) -> None:
    mirror = mirror_on("machine")
    write(mirror.local, OLD, sealed=True)
    mirror.push()
    shutil.rmtree(mirror.local)
    mirror.begin()
    mirror.pull(lambda names: [name for name in names if name.endswith(SUMS)])
    mirror.push()
    mirror.pull()
    assert set(tree(mirror.local)) == {*OLD, SUMS}


def test_a_file_of_several_machines_is_refused_in_a_store_alone(mirror_on, tmp_path: Path) -> None:
    mirror = mirror_on("machine")
    remote.check_machines(mirror.local, several=False)
    remote.check_machines(tmp_path / "out", several=True)
    with pytest.raises(SettingError, match=r"on a disk that all machines see.*memory://bucket"):
        remote.check_machines(mirror.local, several=True)


def test_only_files_that_are_pushed_belong_to_a_mirror(mirror_on) -> None:
    mirror = mirror_on("machine")
    for name in ("64", "64/run.json", ".64.parts", ".64.parts/00000000-00000008.npz", ".64.work/a"):
        assert Mirror.of(mirror.root / name) == mirror
    for name in ("64/.x.parts", "64/points/.x.parts/samples.json", ".65.parts", ".64.parts/new"):
        assert Mirror.of(mirror.root / name) is None


def test_a_part_that_cannot_be_put_now_is_put_at_the_end(mirror_on, monkeypatch, caplog) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    parts = Parts(first.root / ".64.parts", "job")
    with monkeypatch.context() as broken:
        broken.setattr(Mirror, "_put", partialmethod(refuse))
        parts.write(range(4), images=np.zeros(4))
    assert "cannot be reached; this part is put with a later one" in caplog.text
    first.push()
    other = Parts(second.root / ".64.parts", "job")
    assert other.spans() == [range(4)]
    arrays = other.read(range(4))
    assert arrays is not None
    assert arrays["images"].shape == (4,)
    assert other.missing(range(6)) == [range(4, 6)]


def refuse(self: Mirror, names: object) -> None:
    raise ValueError(f"{self.address}: cannot be reached")


def test_the_store_wins_over_a_copy_that_is_behind(mirror_on) -> None:
    first, second = mirror_on("first"), mirror_on("second")
    write(first.local, {"log": b"1"})
    first.push()
    second.pull()
    write(second.local, {"log": b"1\n2"})
    second.push()
    write(first.local, {"log": b"x"})
    first.pull()
    assert tree(first.local) == {"log": b"1\n2"}
    write(first.local, {"log": b"1\n2\n3"})  # not pushed yet, and nobody else has changed it
    first.pull()
    assert tree(first.local) == {"log": b"1\n2\n3"}


def test_names_in_a_store_stay_inside_of_the_copy(mirror_on) -> None:
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/bucket/runs/64/../../out", b"evil")
    filesystem.pipe_file("/bucket/runs/64/.lock", b"evil")
    mirror = mirror_on("machine")
    (mirror.root / "64").mkdir()
    (mirror.root / "64" / "link").symlink_to(mirror.root.parent)
    filesystem.pipe_file("/bucket/runs/64/link/out", b"evil")
    with pytest.raises(ValueError, match="beyond a link"):
        mirror.pull()
    assert list(mirror.root.parent.rglob("*out*")) == []
    assert not (mirror.local / ".lock").exists()


def test_a_probe_leaves_nothing(mirror_on, store) -> None:
    mirror_on("machine").probe()
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
