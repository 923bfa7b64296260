"""Parquet files: read with one-sentence errors, written with the same bytes for the same rows."""

from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from gte_ray.errors import RunError
from gte_ray.runtime import storage

LFS_POINTER = b"version https://git-lfs"
"""First bytes of a file that Git LFS has not fetched."""


def open_parquet(uri: str, checked: bool = False) -> pq.ParquetFile:
    """Opens a file and reads its footer. If it is `checked`, pages are compared with their checksums when read.

    Raises RunError, with the file's name, if it is missing, cut off or not Parquet.
    """
    filesystem, path = storage.resolve(uri)
    try:
        return pq.ParquetFile(filesystem.open_input_file(path), page_checksum_verification=checked)
    except FileNotFoundError as error:
        raise RunError(f"{uri}: missing") from error
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        with suppress(OSError), filesystem.open_input_stream(path, compression=None) as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                reason = "it is a pointer of Git LFS; `git lfs pull` fetches the file itself"
        raise RunError(f"{uri}: not a whole Parquet file ({reason})") from error


def write_parquet(table: pa.Table, uri: str, row_group_rows: int) -> int:
    """Writes the table and returns the number of bytes, which depend on its rows alone."""
    filesystem, path = storage.resolve(uri)
    filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
    with filesystem.open_output_stream(path) as stream:
        pq.write_table(
            table.combine_chunks(),
            stream,
            row_group_size=row_group_rows,
            compression="zstd",
            use_dictionary=False,
            write_page_checksum=True,
        )
    return filesystem.get_file_info(path).size
