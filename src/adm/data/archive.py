""".zip archive of image files -> Tree, read in place.

Nothing is extracted, and names of members are never used as paths.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from adm.data.files import CorruptImage, Files
from adm.data.labels import SPLITS, Tree
from adm.data.naming import MAX_BYTES, check_size, in_order, plain
from adm.shown import shown_path

MOST_MEMBERS = 1 << 22  # of one archive
# Raised by zipfile for damage.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError)


def archive(path: Path) -> Tree:
    """Index the image files of a .zip.

    Labels are those of a folder with the same files (`folder.image_folder`). A folder around all
    others, as `zip -r photos.zip photos` writes it, is skipped.

    Raises:
        ValueError: another kind of file, damaged, or over `MOST_MEMBERS`.
    """
    try:
        opened = zipfile.ZipFile(path)
    except (*DAMAGE, OSError, MemoryError) as error:
        raise ValueError(
            f"{shown_path(path)} is not a readable .zip ({shown_path(error)}); download or create "
            "it again"
        ) from None
    members = {plain(each.filename): each for each in opened.infolist() if not each.is_dir()}
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"{shown_path(path)} has more than {MOST_MEMBERS} entries; split it")
    names = in_order(members)

    def where(row: int) -> str:
        return shown_path(f"{path}/{names[row]}")

    def open_(row: int) -> BinaryIO:
        member = members[names[row]]
        check_size(member.file_size, where(row), MAX_BYTES)
        try:
            with opened.open(member) as file:
                # No more, even if it inflates to more.
                return io.BytesIO(file.read(member.file_size))
        except DAMAGE as error:
            raise CorruptImage(
                f"{where(row)} is damaged ({shown_path(error)}); download or create the archive "
                "again"
            ) from None

    return Tree(path.name, path.stem, shown_path(path), _without_top(names), Files(open_, where))


def _without_top(names: list[str]) -> list[str]:
    """Names without the folder around all others, unless it is a split."""
    top = names[0].partition("/")[0] if names else ""
    splits = {folder for folders in SPLITS.values() for folder in folders}
    around = all(name.startswith(f"{top}/") and name.count("/") > 1 for name in names)
    return [name.partition("/")[2] for name in names] if around and top not in splits else names
