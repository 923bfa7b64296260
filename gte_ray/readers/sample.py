"""A file of a catalogue entry with its invented rows, in the packing in which the source is published."""

import gzip
import io
import json
import posixpath
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.readers.catalogue import Entry


def write_sample(entry: Entry, folder: str | Path) -> Path:
    """Writes the sample and returns its path, whose name is one that the entry's pattern matches."""
    name = posixpath.basename(entry.settings["files"]).replace("*", "0")
    content = entry.sample.encode()
    if name.endswith(".parquet"):
        content = _parquet(entry.sample)
    elif name.endswith(".zip"):
        content = _zip(entry.settings["members"], content)
    path = Path(folder) / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
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
