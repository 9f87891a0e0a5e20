"""adm data emoji: archives of packages -> a folder of images on white, a class for each group."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from adm.data import emoji as library
from adm.data import open_source
from adm.data.emoji import PACKAGES, SIDE, Package, on_white, split_of, write_emoji

CODES = [f"1f{number:03x}" for number in range(40)]


def image(colour: tuple[int, int, int, int], suffix: str, side: int = 32) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (side, side), colour).save(stream, {".png": "PNG", ".webp": "WEBP"}[suffix])
    return stream.getvalue()


def index() -> list[dict]:
    """Two groups, one emoji with a skin tone, and a part that is no emoji of its own."""
    entries = [
        {"unified": code.upper(), "category": ("Food & Drink", "Flags")[number % 2]}
        for number, code in enumerate(CODES)
    ]
    entries[0]["skin_variations"] = {"1F3FB": {"unified": "AA-1F3FB"}}
    return [*entries, {"unified": "1F3FB", "category": "Component"}]


def archive(path: Path, package: Package, number: int) -> Path:
    files = {"package/README.md": b"about", "package/img/large/a.png": b"no image"}
    if number == 0:
        files[library.INDEX] = json.dumps(index()).encode()
    for place, code in enumerate([*CODES, "aa-1f3fb", "1f3fb", "unknown"]):
        colour = (place * 5, number * 60, 90, 255)
        files[f"{package.folder}{code}{package.suffix}"] = image(colour, package.suffix)
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{package.folder}1f600{package.suffix}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    return path


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Archives that stand for those of the registry; the hashes that were asked for."""
    asked: list[str] = []
    made = {
        package.address: archive(tmp_path / f"{number}.tgz", package, number)
        for number, package in enumerate(PACKAGES)
    }

    def fetch(url: str, known: str) -> Path:
        asked.append(known)
        return made[url]

    monkeypatch.setattr(library, "fetch", fetch)
    return asked


def test_a_class_for_each_group_and_a_split_for_each_emoji(
    fetch: list[str], tmp_path: Path
) -> None:
    done: list[int] = []
    counts = write_emoji(tmp_path / "out", advance=done.append)
    assert counts == {"google": 40, "twitter": 40, "fluent": 40}
    assert done == [1, 1, 1]
    train, test = (open_source(str(tmp_path / "out"), split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("flags", "food & drink")
    assert len(train) + len(test) == 120
    assert train.shape == (3, SIDE, SIDE)
    for source, split in ((train, "train"), (test, "test")):
        codes = {Path(source.path(i)).stem.partition("-")[2] for i in range(len(source))}
        assert codes == {code for code in CODES if split_of(code) == split}


def test_styles_are_labels_and_terms_are_listed(fetch: list[str], tmp_path: Path) -> None:
    write_emoji(tmp_path / "out")
    styled = open_source(str(tmp_path / "out"), labels="styles.csv")
    assert styled.classes == ("fluent", "google", "twitter")
    terms = (tmp_path / "out" / "LICENCES.txt").read_text()
    assert terms.count("\n") == 3
    assert "CC-BY 4.0" in terms
    assert fetch == [f"sha256:{p.sha256}" for p in PACKAGES]


def test_pictures_are_composited_on_white_and_resized() -> None:
    half = Image.open(io.BytesIO(image((200, 0, 0, 0), ".png")))
    assert half.mode == "RGBA"
    assert on_white(image((200, 0, 0, 0), ".png")).getpixel((5, 5)) == (255, 255, 255)
    assert on_white(image((200, 0, 0, 255), ".webp")).size == (SIDE, SIDE)


def test_the_same_picture_is_kept_once(
    fetch: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "on_white", lambda content: Image.new("RGB", (SIDE, SIDE)))
    assert write_emoji(tmp_path / "out") == {"google": 1, "twitter": 0, "fluent": 0}


def test_an_archive_that_is_damaged_is_refused_and_nothing_is_left(
    fetch: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "0.tgz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="damaged"):
        write_emoji(tmp_path / "out")
    assert not (tmp_path / "out").exists()
