"""Random, file -> one with a nasty part: safetensors, .npy, .npz, .zip, .tar, .png, .csv."""

import io
import json
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from mutations import TEXTS, as_text, damaged, edited, json_bytes
from PIL import Image

NAMES = (
    *("../canary.png", "/tmp/adm-canary.png", "a/../../canary.png", "C:\\canary.png"),
    *("..\\canary.png", "\x1b[31m.png", "x" * 300 + ".png", "/".join("d" * 40) + ".png"),
    *(".hidden.png", "cat/", "", ".", "con.png", "cat/0.png", "é\u202e.png", "a\nb.png"),
)


def safetensors(random: Random, content: bytes) -> bytes:
    """Damage a safetensors file: its header, the metadata in it, or bytes."""
    how = random.random()
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    if how < 0.15:
        wrong = random.choice((0, 1, length + 1, length - 1, len(content), 2**31, 2**63, 2**64 - 1))
        return struct.pack("<Q", wrong) + content[8:]
    if how < 0.7 and "__metadata__" in header:
        metadata = header["__metadata__"]
        key = random.choice(list(metadata))
        if how < 0.6:
            metadata[key] = json_bytes(random, metadata[key].encode()).decode("utf-8", "replace")
        else:
            header["__metadata__"] = edited(random, metadata)
    elif how < 0.85:
        header = edited(random, header)
    else:
        return damaged(random, content)
    text = as_text(header)
    return struct.pack("<Q", len(text)) + text + rest


def array(random: Random, one: np.ndarray) -> np.ndarray:
    """Return another array in place of one."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: one.astype(np.float32) if one.dtype.kind in "iufb" else one,
        lambda: one.astype(">i4") if one.dtype.kind in "iufb" else one,
        lambda: one.astype(np.complex64) if one.dtype.kind in "iufb" else one,
        lambda: one[..., None],
        lambda: one[:0],
        lambda: one[:1],
        lambda: one.reshape(-1),
        lambda: one.T,
        lambda: np.full(one.shape, np.nan),
        lambda: np.full(one.shape, np.inf, np.float32),
        lambda: np.full(one.shape, -1),
        lambda: np.full(one.shape, 2**62),
        lambda: np.array(random.choice(TEXTS[:9] + TEXTS[10:]).replace("\ud800", "?")),
        lambda: np.array(["x" * 3000] * max(1, len(one) if one.ndim else 1)),
        lambda: np.array([{"a": 1}], dtype=object),
        lambda: np.zeros((0, 0, 0, 0), np.uint8),
        lambda: np.zeros(one.shape, "M8[s]"),
        lambda: np.zeros(one.shape, [("a", "u1")]),
        lambda: np.ones(one.shape, bool),
        lambda: np.array(3.5),
    )
    return np.asarray(random.choice(kinds)())


def npy(random: Random, content: bytes) -> bytes:
    """Damage an .npy file: its header, or bytes."""
    if random.random() < 0.4:
        return damaged(random, content)
    length = struct.unpack("<H", content[8:10])[0]
    header, rest = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    texts = (
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8, 1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '|u1', 'fortran_order': True, 'shape': (-1, 8), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (9999999999,), }",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }",
        "(" * 500,
        "__import__('pathlib').Path('canary').touch()",
        "",
        header.replace("|u1", "<f8"),
        header.replace("(", "(True, "),
        header.replace("False", "'no'"),
        "{" + "'a': 1, " * 4000 + "}",
    )
    text = random.choice(texts).encode("latin1")
    version = random.choice((b"\x01\x00", b"\x02\x00", b"\x09\x09"))
    size = struct.pack("<I" if version[0] == 2 else "<H", len(text) & 0xFFFF)
    return content[:6] + version + size + text + rest


def npz(random: Random, content: bytes) -> bytes:
    """Damage an .npz file: an array, its header, the JSON in it, a name, or bytes."""
    how = random.random()
    if how < 0.25:
        return damaged(random, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(parts))
    one = np.lib.format.read_array(io.BytesIO(parts[name]), allow_pickle=False)
    if one.dtype.kind == "U" and one.size == 1 and how < 0.8:
        text = json_bytes(random, str(one.item()).encode()).decode("utf-8", "replace")
        parts[name] = _npy_of(np.array([text.replace("\x00", "?") or " "]))
    elif how < 0.65:
        parts[name] = _npy_of(array(random, one))
    elif how < 0.85:
        parts[name] = npy(random, parts[name])
    elif how < 0.93:
        del parts[name]
    else:
        parts[random.choice(NAMES[:4]) + ".npy"] = parts[name]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", random.choice((0, zipfile.ZIP_DEFLATED))) as archive:
        for key, each in parts.items():
            archive.writestr(key, each)
    return stream.getvalue()


def _npy_of(one: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, one, allow_pickle=True)
    return stream.getvalue()


def zip_file(random: Random, content: bytes) -> bytes:
    """Damage a zip archive: its names, links, sizes, or bytes."""
    how = random.random()
    if how < 0.45:
        return damaged(random, content)
    stream = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),  # of duplicate names
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w") as new,
    ):
        chosen = random.randrange(len(old.infolist()))
        for i, info in enumerate(old.infolist()):
            part = old.read(info)
            if i != chosen:
                new.writestr(info.filename, part)
            elif how < 0.75:
                entry = zipfile.ZipInfo(random.choice(NAMES) or "x")
                new.writestr(entry, part)
            elif how < 0.85:
                entry = zipfile.ZipInfo(info.filename)
                entry.external_attr = 0o120777 << 16  # a symbolic link
                new.writestr(entry, "/etc/passwd")
            elif how < 0.93:
                new.writestr(info.filename, b"\x00" * 50_000_000, zipfile.ZIP_DEFLATED)
            else:
                new.writestr(info.filename, damaged(random, part))
    return stream.getvalue()


def tar_file(random: Random, content: bytes) -> bytes:
    """Damage a tar archive: its names, links, types, sizes, or bytes."""
    how = random.random()
    if how < 0.45:
        return damaged(random, content)
    stream = io.BytesIO()
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
    with tarfile.open(fileobj=io.BytesIO(content)) as old:
        infos = old.getmembers()
        parts = [(old.extractfile(info) or io.BytesIO()).read() for info in infos]
    with tarfile.open(fileobj=stream, mode="w", format=random.choice((0, 1, 2))) as new:
        chosen = random.randrange(len(infos))
        for i, (info, part) in enumerate(zip(infos, parts, strict=True)):
            entry = tarfile.TarInfo(info.name)
            if i == chosen and how < 0.75:
                entry.name = random.choice(NAMES).replace("\x00", "") or "x"
            elif i == chosen and how < 0.88:
                entry.type, part = random.choice(kinds), b""
                entry.linkname = random.choice(
                    ("/etc/passwd", "../canary", info.name, infos[0].name)
                )
            elif i == chosen:
                part = random.choice((b"", b"999999999999999999999", b"-1", b"\xff", part * 2))
            entry.size = len(part)
            new.addfile(entry, io.BytesIO(part))
    return stream.getvalue()


def huge(suffix: str, content: bytes, random: Random) -> bytes:
    """Write into the header a size that the pixels do not have."""
    data, side = bytearray(content), random.choice((0, 20_000, 65_000, 2**31 - 1, 2**32 - 1))
    if suffix == ".png":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif suffix == ".gif":
        data[6:10] = struct.pack("<HH", side & 0xFFFF, side & 0xFFFF)
    else:
        return damaged(random, content[:64]) + content[64:]
    return bytes(data)


def unusual(random: Random) -> bytes:
    """Return a PNG file of an unusual size or mode."""
    sizes = ((1, 1), (3000, 1), (1, 3000), (8, 8), (2000, 2000))
    mode = random.choice(("1", "L", "LA", "P", "RGBA", "I;16"))
    stream = io.BytesIO()
    Image.new(mode, random.choice(sizes)).save(stream, "png")
    return stream.getvalue()


def csv_text(random: Random, content: bytes) -> bytes:
    """Damage a CSV file: a field, a line, or bytes."""
    lines, how = content.decode().splitlines(), random.random()
    if how < 0.5:
        return damaged(random, content)
    at, text = random.randrange(len(lines)), random.choice(TEXTS)
    name, _, label = lines[at].partition(",")
    lines[at] = random.choice(
        (
            f"{text},{label}",
            f"{name},{text}",
            text,
            f'"{name},{label}',
            f"{name},{label},extra",
            name,
        )
    )
    return "\r\n".join(lines).encode("utf-8", "surrogatepass")
