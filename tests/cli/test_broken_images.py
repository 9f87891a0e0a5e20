"""Images that cannot be decoded -> left out, counted and listed by every verb, or refused."""

from pathlib import Path

from cli.conftest import Adm
from PIL import Image

COUNT = 8


def photographs(folder: Path) -> list[Path]:
    """PNG files of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(COUNT)]
    for index, path in enumerate(paths):
        Image.effect_noise((8, 8), 50 + index).save(path)
    return paths


def test_what_was_packed_in_part_is_not_taken_for_the_whole(adm: Adm, tmp_path: Path) -> None:
    broken = photographs(tmp_path / "photos/ant")[-1]
    kept = broken.read_bytes()
    broken.write_bytes(kept[:60])
    words = ("data", "pack", tmp_path / "photos", "--out", tmp_path / "o", "--shard-size", 3)
    assert "7.png is not a usable image" in adm(*words).refusal()
    assert len(list((tmp_path / "o").glob("*.tar"))) == 2
    told = f"{tmp_path / 'o'} has 2 of 3 train shards, as `adm data pack` did not end"
    assert told in adm("data", "inspect", tmp_path / "o").refusal()
    broken.write_bytes(kept)
    assert adm(*words).status == 0
    assert adm("data", "inspect", tmp_path / "o").status == 0
