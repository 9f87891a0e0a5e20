"""Folder -> emoji of three styles in it, a class for each group, from packages of npm.

    python tools/emoji.py --out emoji
    python tools/emoji.py --out emoji --from packages    # where `npm pack` has fetched them

The images are 64x64, on white, in train/GROUP and test/GROUP. npm fetches 152 MB once.
"""

import argparse
import csv
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from adm.shown import shown_path
from adm.spec import out_of_range
from adm.store.files import new_folder, user_cache, write_text
from adm.store.hashes import sha256, sha256_of
from adm.store.parsed import parse_json

SIDE = 64  # pixels
INDEX = "package/emoji.json"  # of the first package: names and groups of all emoji
INDEX_BYTES = 1 << 23  # for its 1.3 MB, of an archive whose hash is known
TEST_SHARE = 10  # one emoji in this many is for testing, in all styles
NOT_SHOWN = "component"  # the group of skin tones and hair, which are parts of other emoji
STYLES, LICENCES = "styles.csv", "LICENCES.txt"


class Package(NamedTuple):
    """A package of images, which the hash pins.

    Attributes:
        name, version: of npm.
        sha256: of the archive.
        style: of its images.
        folder, suffix: of the images in the archive.
        terms: the owner of the images, and their licence.
    """

    name: str
    version: str
    sha256: str
    style: str
    folder: str
    suffix: str
    terms: str

    @property
    def spec(self) -> str:
        """The argument of `npm pack`."""
        return f"{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """The name that `npm pack` gives the archive."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        "emoji-datasource-google",
        "16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "google",
        "package/img/google/64/",
        ".png",
        "Noto Emoji by Google; fonts under the SIL Open Font License 1.1, tools and most images "
        "under the Apache License 2.0",
    ),
    Package(
        "emoji-datasource-twitter",
        "16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "twitter",
        "package/img/twitter/64/",
        ".png",
        "Twemoji by Twitter, Inc. and other contributors; graphics under CC-BY 4.0",
    ),
    Package(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "fluent",
        "package/assets/",
        ".webp",
        "Fluent Emoji by Microsoft, in 3D; under the MIT License",
    ),
)


def write_emoji(
    out: Path,
    archives: Path | None = None,
) -> dict[str, int]:
    """Write the folders train/GROUP and test/GROUP of PNG files, 64x64, on white.

    The file `styles.csv` has the style of each, for `labels=...`, and `LICENCES.txt` the terms of
    use. The split depends on the emoji's code alone. Skin tones are left out, as they are nearly
    the same image. Some emoji are the same picture, as flags of an island and its country, of which
    only the first by code is written.

    Args:
        out: the folder to create; absent or empty.
        archives: the folder of the packages' archives, as `npm pack` writes them; None for the
            user's cache, into which the user's npm fetches those that are missing.

    Returns:
        The number of images of each style.

    Raises:
        SettingError: no archives are given, and npm is not installed.
        ValueError: an archive is absent, cannot be fetched, has another hash, or is damaged.
        FileExistsError: `out` is a file, or contains files.
    """
    paths = [_archive(each, archives) for each in PACKAGES]
    groups = _groups(paths[0])
    counts, styles, terms = dict[str, int](), list[tuple[str, str]](), list[str]()
    seen: set[bytes] = set()
    with new_folder(out) as folder:
        for package, archive in zip(PACKAGES, paths, strict=True):
            counts[package.style] = 0
            for code, picture in _pictures(archive, package):
                group, pixels = groups.get(code), picture.tobytes()
                if group is None or pixels in seen:
                    continue
                seen.add(pixels)
                name = f"{split_of(code)}/{group}/{package.style}-{code}.png"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                picture.save(folder / name)
                styles.append((name, package.style))
                counts[package.style] += 1
            terms.append(f"{package.style}: {package.name} {package.version}, {package.terms}")
        with (folder / STYLES).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "label"), *sorted(styles)])
        write_text(folder / LICENCES, "\n".join(terms) + "\n")
    return counts


def split_of(code: str) -> str:
    """Return the split of an emoji of this code, in all of its styles."""
    return "test" if int(sha256_of(code.encode())[:8], 16) % TEST_SHARE == 0 else "train"


def on_white(content: bytes) -> Image.Image:
    """Decode an image, composite it on white, and resize it to `SIDE`."""
    with Image.open(io.BytesIO(content), formats=("PNG", "WEBP")) as opened:
        picture = opened.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(white, picture).convert("RGB")
    same = flat.size == (SIDE, SIDE)
    return flat if same else flat.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _archive(package: Package, folder: Path | None) -> Path:
    """Return the path of the archive of a package, once its hash is verified."""
    place = user_cache("data") / "npm" if folder is None else folder
    path, command = place / package.file, f"npm pack {package.spec}"
    if folder is None and not path.is_file():
        _pack(package, path)
    if not path.is_file():
        raise ValueError(f"{shown_path(path)} does not exist; in that folder, run `{command}`")
    if sha256(path) != package.sha256:
        raise ValueError(
            f"{shown_path(path)} is not {package.spec}, as its hash differs; remove it, and "
            f"fetch it with `{command}`"
        )
    return path


def _pack(package: Package, path: Path) -> None:
    """Fetch an archive with the user's npm, from the registry that it is configured with."""
    npm = shutil.which("npm")
    if npm is None:
        specs = " ".join(each.spec for each in PACKAGES)
        raise out_of_range(
            "from",
            "a folder with the archives of the packages, as npm is not installed",
            cure=f"install npm, or run `npm pack {specs}` where it is",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [npm, "pack", package.spec, "--loglevel=error", "--pack-destination", folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode or not (Path(folder) / package.file).is_file():
            reason = shown_path((done.stderr.strip() or done.stdout.strip()).partition("\n")[0])
            raise ValueError(
                f"{package.spec} did not arrive (npm says: {reason}); run the command again"
            )
        os.replace(Path(folder) / package.file, path)


def _groups(archive: Path) -> dict[str, str]:
    """Return the groups of the emoji of the index by their codes, as files are named."""
    content = _members(archive, INDEX)[INDEX]
    groups = {
        str(entry["unified"]).lower(): str(entry["category"]).lower()
        for entry in parse_json(content, INDEX_BYTES)
    }
    return {
        code: group for code, group in groups.items() if group != NOT_SHOWN and "/" not in group
    }


def _pictures(archive: Path, package: Package) -> Iterator[tuple[str, Image.Image]]:
    """Yield the code and the picture of each image of a package, by code."""
    images = {
        name.removeprefix(package.folder).removesuffix(package.suffix): content
        for name, content in _members(archive, package.folder).items()
        if name.endswith(package.suffix)
    }
    for code in sorted(images):
        yield code, on_white(images[code])


def _members(archive: Path, start: str) -> dict[str, bytes]:
    """Return the contents of regular files whose names begin with `start`, without extraction."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for member in opened:
                if not member.isreg() or not member.name.startswith(start):
                    continue
                file = opened.extractfile(member)
                assert file is not None  # of a regular file
                contents[member.name] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"{archive} is damaged ({error}); remove it, and run the command again"
        ) from None
    return contents


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--from", dest="archives", type=Path, help="folder of the packages")
    args = parser.parse_args()
    try:
        counts = write_emoji(args.out, args.archives)
    except (ValueError, OSError) as error:
        print(f"emoji: {error}", file=sys.stderr)
        return 2
    styles = ", ".join(f"{count:,} of {style}" for style, count in counts.items())
    print(f"{args.out}: {sum(counts.values()):,} images in train/ and test/: {styles}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
