"""tools/emoji.py: archives of packages -> a folder of images on white, a class for each group."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from adm.data import open_source
from adm.spec import SettingError
from adm.store.hashes import sha256

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import emoji as library
from emoji import PACKAGES, SIDE, Package, on_white, split_of, write_emoji

CODES = [f"1f{number:03x}" for number in range(40)]


def image(colour: tuple[int, int, int, int], suffix: str, side: int = 32) -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (side, side), colour).save(stream, {".png": "PNG", ".webp": "WEBP"}[suffix])
    return stream.getvalue()


def index() -> list[dict]:
    """Two groups, an emoji with a skin tone, parts that are no emoji; 2 MB, like the real one."""
    entries = [
        {"unified": code.upper(), "category": ("Food & Drink", "Flags")[number % 2]}
        for number, code in enumerate(CODES)
    ]
    entries[0]["skin_variations"] = {"1F3FB": {"unified": "AA-1F3FB"}}
    spare = {"unified": "1F3FC", "category": "Component", "keywords": ["tone"] * (1 << 18)}
    return [*entries, {"unified": "1F3FB", "category": "Component"}, spare]


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
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives that stand for those of npm, with their hashes."""
    folder, known = tmp_path / "packages", list[Package]()
    folder.mkdir()
    for number, package in enumerate(PACKAGES):
        path = archive(folder / package.file, package, number)
        known.append(package._replace(sha256=sha256(path)))
    monkeypatch.setattr(library, "PACKAGES", tuple(known))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


def npm(tmp_path: Path, script: str) -> None:
    """Install a program of this name, which gets `pack NAME@VERSION ... --pack-destination OUT`."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport pathlib, shutil, sys\n{script}\n")
    program.chmod(0o755)


def test_the_npm_of_the_user_fetches_each_package_once(packages: Path, tmp_path: Path) -> None:
    npm(
        tmp_path,
        f"name = sys.argv[2].lstrip('@').replace('/', '-').replace('@', '-') + '.tgz'\n"
        f"with open({str(tmp_path / 'requests')!r}, 'a') as file: print(sys.argv[2], file=file)\n"
        f"shutil.copy(pathlib.Path({str(packages)!r}) / name, sys.argv[-1])",
    )
    for out in ("one", "two"):
        write_emoji(tmp_path / out)
    assert (tmp_path / "requests").read_text().split() == [each.spec for each in PACKAGES]
    write_emoji(tmp_path / "three", packages)
    written = [
        {str(path.relative_to(tmp_path / out)): path.read_bytes() for path in files(tmp_path / out)}
        for out in ("one", "two", "three")
    ]
    assert written[0] == written[1] == written[2]
    assert len(written[0]) == 122


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_package_that_does_not_come_or_is_another_is_refused_with_the_cure(
    packages: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=r"npm is not installed.*`npm pack emoji-datasource"):
        write_emoji(tmp_path / "out")
    npm(tmp_path, "sys.exit('npm error code E404')")
    with pytest.raises(ValueError, match=r"did not arrive \(npm says: npm error code E404\)"):
        write_emoji(tmp_path / "out")
    (packages / PACKAGES[1].file).write_bytes(b"another")
    with pytest.raises(ValueError, match=r"is not emoji-datasource-twitter@16\.0\.0, as its hash"):
        write_emoji(tmp_path / "out", packages)
    (packages / PACKAGES[1].file).unlink()
    with pytest.raises(ValueError, match=r"16.0.0.tgz does not exist; in that"):
        write_emoji(tmp_path / "out", packages)
    assert not (tmp_path / "out").exists()


def test_a_class_for_each_group_and_a_split_for_each_emoji(packages: Path, tmp_path: Path) -> None:
    counts = write_emoji(tmp_path / "out", packages)
    assert counts == {"google": 40, "twitter": 40, "fluent": 40}
    train, test = (open_source(str(tmp_path / "out"), split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("flags", "food & drink")
    assert len(train) + len(test) == 120
    assert train.shape == (3, SIDE, SIDE)
    for source, split in ((train, "train"), (test, "test")):
        codes = {Path(source.path(i)).stem.partition("-")[2] for i in range(len(source))}
        assert codes == {code for code in CODES if split_of(code) == split}


def test_styles_are_labels_and_terms_are_listed(packages: Path, tmp_path: Path) -> None:
    write_emoji(tmp_path / "out", packages)
    styled = open_source(str(tmp_path / "out"), labels=str(tmp_path / "out" / "styles.csv"))
    assert styled.classes == ("fluent", "google", "twitter")
    terms = (tmp_path / "out" / "LICENCES.txt").read_text()
    assert terms.count("\n") == 3
    assert "CC-BY 4.0" in terms


def test_pictures_are_composited_on_white_and_resized() -> None:
    half = Image.open(io.BytesIO(image((200, 0, 0, 0), ".png")))
    assert half.mode == "RGBA"
    assert on_white(image((200, 0, 0, 0), ".png")).getpixel((5, 5)) == (255, 255, 255)
    assert on_white(image((200, 0, 0, 255), ".webp")).size == (SIDE, SIDE)


def test_equal_pictures_are_written_once(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "on_white", lambda content: Image.new("RGB", (SIDE, SIDE)))
    assert write_emoji(tmp_path / "out", packages) == {"google": 1, "twitter": 0, "fluent": 0}
