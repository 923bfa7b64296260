"""Compressed files and archives give their pairs, and one that is cut off, or holds none, one sentence."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import py7zr
import pytest
import zstandard

from gte_ray.errors import RunError
from gte_ray.readers.formats import file_kind, is_compressed
from tests.data.conftest import make_pairs
from tests.readers.reading import assert_one_sentence, comma_separated, json_lines, parquet, read

PAIRS = make_pairs(40)
LINES = json_lines(*map(list, PAIRS))
HALVES = json_lines(*map(list, PAIRS[:20])), json_lines(*map(list, PAIRS[20:]))
TABLE = parquet(query=[q for q, _ in PAIRS[20:]], document=[d for _, d in PAIRS[20:]])
CSV = comma_separated(("query", "document"), *PAIRS[:20])


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def seven_zipped(files: dict[str, bytes], **settings) -> bytes:
    content = io.BytesIO()
    with py7zr.SevenZipFile(content, "w", **settings) as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return content.getvalue()


MIXED = {"data/a.csv": CSV, "data/b.parquet": TABLE, "README": b"not a pair", "__MACOSX/data/a.csv": b"x"}
NESTED = {"a.jsonl.gz": gzip.compress(HALVES[0]), "b.jsonl.zst": zstandard.compress(HALVES[1])}
FILES = {
    "a.jsonl.bz2": bz2.compress(LINES),
    "two-streams.jsonl.bz2": bz2.compress(HALVES[0]) + bz2.compress(HALVES[1]),
    "a.jsonl.xz": lzma.compress(LINES),
    "two-streams.jsonl.xz": lzma.compress(HALVES[0]) + lzma.compress(HALVES[1]),
    "two-members.jsonl.gz": gzip.compress(HALVES[0]) + gzip.compress(HALVES[1]),
    "two-frames.jsonl.zst": zstandard.compress(HALVES[0]) + zstandard.compress(HALVES[1]),
    "padded.jsonl.xz": lzma.compress(HALVES[0]) + bytes(8) + lzma.compress(HALVES[1]) + bytes(4),
    "no-suffix.jsonl": bz2.compress(LINES),
    "nor-this.jsonl": lzma.compress(LINES),
    "mixed.zip": zipped(MIXED),
    "UPPER.ZIP": zipped(MIXED),
    "nested.zip": zipped(NESTED),
    "mixed.tar": tarred(MIXED),
    "mixed.tar.gz": gzip.compress(tarred(MIXED)),
    "mixed.tgz": gzip.compress(tarred(MIXED)),
    "mixed.tar.bz2": bz2.compress(tarred(MIXED)),
    "nested.tar.xz": lzma.compress(tarred(NESTED)),
    "nested.tar.zst": zstandard.compress(tarred(NESTED)),
    "mixed.7z": seven_zipped(MIXED | {"empty.jsonl": b""}),
    "nested.7z": seven_zipped(NESTED, filters=[{"id": py7zr.FILTER_BZIP2}]),
}


@pytest.mark.parametrize("name", FILES)
def test_pairs_of_compressed_files_and_archives(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    found = read(tmp_path / name)
    assert found.pairs == [(q, d, []) for q, d in PAIRS]
    assert not found.dropped
    assert found.unused == ({"the file README": 1} if "mixed" in name or "ZIP" in name else {})
    assert is_compressed(name) or "suffix" in name or "this" in name


def test_a_window_of_two_gibibytes(tmp_path):
    """As forums' dumps have; other readers refuse it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    path = tmp_path / "RC_2019-01.jsonl.zst"
    with (
        open(path, "wb") as file,
        zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file) as writer,
    ):
        writer.write(LINES)
    assert len(read(path).pairs) == 40


def damaged(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


UNREADABLE = {
    "cut.jsonl.zst": (zstandard.compress(LINES)[:-9], "the last zstd frame is cut off"),
    "cut-later.jsonl.zst": (
        zstandard.compress(LINES) * 2 + zstandard.compress(LINES)[:-9],
        "zstd frame is cut off",
    ),
    "cut.jsonl.bz2": (bz2.compress(LINES)[:-9], "cannot be read to its end"),
    "cut.jsonl.xz": (lzma.compress(LINES)[:-20], "cannot be read to its end"),
    "cut.jsonl.gz": (gzip.compress(LINES)[:-20], "cannot be read to its end"),
    "cut.tar.gz": (gzip.compress(tarred({"a.jsonl": LINES * 90}))[:-400], "cannot be read to its end"),
    "at-a-member.tar": (tarred(MIXED)[: 512 + 512 * -(-len(CSV) // 512)], "header is cut off or damaged"),
    "in-a-header.tar": (tarred(MIXED)[: 700 + 512 * -(-len(CSV) // 512)], "header is cut off or damaged"),
    "bad-header.tar": (
        damaged(tarred(MIXED), 520 + 512 * -(-len(CSV) // 512)),
        "header is cut off or damaged",
    ),
    "behind.jsonl.xz": (
        lzma.compress(HALVES[0]) + damaged(lzma.compress(HALVES[1]), 8),
        "cannot be read to its end",
    ),
    "garbage.jsonl.xz": (lzma.compress(HALVES[0]) + b"garbage", "cannot be read to its end"),
    "broken.jsonl.zst": (b"(\xb5/\xfd" + bytes(30), "cannot be read to its end"),
    "broken.zip": (zipped({"a.jsonl": LINES})[:-30], "cannot be read to its end"),
    "no.tar": (LINES, "cannot be read to its end"),
    "other.zip": (
        zipped({"a.txt": b"x", "b/LICENSE": b"y"}),
        r"can be read \(there are a.txt, b/LICENSE\); allowed are",
    ),
    "empty.zip": (zipped({}), r"it is empty"),
    "inside.zip": (zipped({"x.jsonl": json_lines({"a": 1})}), r"inside\.zip/x\.jsonl: cannot tell queries"),
    "cut.7z": (seven_zipped({"a.jsonl": LINES})[:-3], "it is damaged or cut off: "),
    "no.7z": (LINES, "it is damaged or cut off: not a 7z file"),
    "in-a-member.7z": (damaged(seven_zipped({"a.jsonl": LINES}), 60), "it is damaged or cut off: "),
    "secret.7z": (seven_zipped({"a.jsonl": LINES}, password="x"), "it is encrypted"),
    "empty.7z": (seven_zipped({}), "it is empty"),
    "7z.jsonl": (seven_zipped({"x.jsonl": LINES}), "its name has to end with .7z"),
    "zip.jsonl": (zipped({"x.jsonl": LINES}), "its name has to end with .zip"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named(name, tmp_path):
    assert_one_sentence(tmp_path / name, *UNREADABLE[name])


def test_an_encrypted_archive_is_told(tmp_path):
    """The bit by which a member says so is set; nothing in Python's library can write one."""
    content = bytearray(zipped({"a.jsonl": LINES}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(content)
    with pytest.raises(RunError, match=r"secret\.zip: cannot be read to its end \(.*encrypted"):
        read(tmp_path / "secret.zip")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JSON.bz2", "json"),
        ("a.csv.xz", "csv"),
        ("a.b.tar.gz", "archive"),
        ("a.tgz", "archive"),
        ("superuser.com.7z", "archive"),
        ("a.txt.gz", ""),
    ],
)
def test_kinds_by_name(name, kind):
    assert file_kind(name) == kind
