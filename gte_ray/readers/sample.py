"""A file of a catalogue entry with its invented rows, in the packing in which the source is published."""

import bz2
import gzip
import io
import json
import lzma
import posixpath
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from gte_ray.readers.catalogue import Entry

_PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: zstandard.ZstdCompressor().compress(content),
}


def write_sample(entry: Entry, folder: str | Path) -> Path:
    """Writes the sample and returns its path, whose name is one that the entry's pattern matches."""
    name = posixpath.basename(entry.settings["files"]).replace("*", "0")
    content = entry.sample.encode()
    if name.endswith(".parquet"):
        content = _parquet(entry.sample)
    elif name.endswith(".zip"):
        content = _zip(entry.settings["members"], content)
    pack = _PACK.get(posixpath.splitext(name)[1])
    path = Path(folder) / name
    path.write_bytes(pack(content) if pack else content)
    return path


def _parquet(sample: str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in sample.splitlines()]), out)
    return out.getvalue()


def _zip(member: str, content: bytes) -> bytes:
    """An archive in whose one folder is the member, and beside it a file that is not to be read."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("folder/README.txt", "About these files.")
        archive.writestr(f"folder/{member.replace('*', '0')}", content)
    return out.getvalue()
