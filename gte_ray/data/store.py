"""The pair store: a folder of Parquet files and a manifest, which is written last.

Rows of a source are in ascending order of a seeded hash of the pair, across all its parts. Any run of
consecutive rows is therefore a random sample of the source.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

import pyarrow as pa

from gte_ray.config.typed import Misfit, read
from gte_ray.data.manifest import MANIFEST, STORE_VERSION, Manifest, Part, SourceInfo
from gte_ray.data.part_reader import PartReader
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError
from gte_ray.runtime import storage


@dataclass(frozen=True)
class Store:
    """An open store. Its files are opened when they are read; `PartReader` keeps the last ones in this process."""

    uri: str
    manifest: Manifest
    reader: PartReader = field(default_factory=PartReader, repr=False, compare=False)

    def __reduce__(self):
        return open_store, (self.uri, False)

    @property
    def fingerprint(self) -> str:
        """16 hex digits: equal for equal pairs, wherever they are stored and however they were tokenised."""
        contents = sorted((source.name, source.task, source.content) for source in self.manifest.sources)
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]

    def source(self, name: str) -> SourceInfo:
        for source in self.manifest.sources:
            if source.name == name:
                return source
        names = ", ".join(source.name for source in self.manifest.sources)
        raise RunError(f"{self.uri}: there is no source {name!r}; there are {names}")

    def chosen(self, names: Sequence[str]) -> list[SourceInfo]:
        """The sources of these names, or all for none; that of one that was split stands for all of its parts.

        Raises RunError for a name that there is not.
        """
        infos = self.manifest.sources
        whole = {info.name for info in infos}
        parts = (
            [info for info in infos if info.split_of == name and name not in whole] or [self.source(name)]
            for name in names
        )
        return list({info.name: info for info in chain(*parts)}.values()) if names else list(infos)

    def read_rows(self, source: str, start: int, stop: int, columns: Sequence[str]) -> pa.Table:
        """Rows start <= r < stop of the training pairs, in store order. Reads only their row groups."""
        info = self.source(source)
        return self._rows(info.parts, info.ends, start, stop, columns)

    def read_held_out(self, source: str, limit: int) -> pa.Table:
        """The first `limit` held-out pairs: query, document and their hashes."""
        info = self.source(source)
        columns = ["query", "document", "query_hash", "document_hash"]
        ends = list(accumulate(part.rows for part in info.held_out_parts))
        return self._rows(info.held_out_parts, ends, 0, min(limit, info.held_out), columns)

    def _rows(
        self, parts: Sequence[Part], ends: list[int], start: int, stop: int, columns: Sequence[str]
    ) -> pa.Table:
        tables = []
        while start < stop:
            index = bisect_right(ends, start)
            part = parts[index]
            first = start - (ends[index] - part.rows)
            last = min(stop - (ends[index] - part.rows), part.rows)
            tables.append(self._read(part, first, last, columns))
            start += last - first
        return pa.concat_tables(tables) if tables else self._read(parts[0], 0, 0, columns)

    def load_tokenizer(self) -> TextTokenizer:
        """Loads the tokenizer of the stored ids. Raises RunError if the store has none."""
        if self.manifest.tokenizer is None:
            raise RunError(f"{self.uri}: has no tokenizer; prepare it with --tokenizer or --vocabulary")
        return load_tokenizer(storage.join(self.uri, self.manifest.tokenizer.folder))

    def _read(self, part: Part, first: int, last: int, columns: Sequence[str]) -> pa.Table:
        location = storage.join(self.uri, part.path)
        return self.reader.read(location, part.rows, first, last, tuple(columns))


def open_store(uri: str, check: bool = True) -> Store:
    """Opens a finished store. Raises a one-sentence RunError.

    `check` compares the sizes of all parts with the manifest, by one listing; `verify` reads them.
    """
    path = storage.join(uri, MANIFEST)
    if check:
        storage.check_reachable(path)
    try:
        value = storage.read_json(path)
    except FileNotFoundError as error:
        state = "is not finished: run the same prepare command again" if storage.exists(uri) else "is missing"
        raise RunError(f"{uri}: the pair store {state} (no {MANIFEST})") from error
    except ValueError as error:
        raise RunError(f"{path}: not a manifest ({error})") from error
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        raise RunError(f"{path}: not a manifest of a pair store")
    if value["version"] > STORE_VERSION:
        raise RunError(
            f"{path}: is of version {value['version']}, newer than this gte_ray reads ({STORE_VERSION}); upgrade it"
        )
    try:
        store = Store(uri, read(Manifest, value))
    except Misfit as error:
        raise RunError(f"{path}: not a manifest of version {STORE_VERSION} ({error})") from error
    if check:
        _check(store)
    return store


def _check(store: Store) -> None:
    """Raises RunError if a part is missing or has another size than the manifest says. Opens none of them."""
    sizes = storage.sizes(store.uri)
    for source in store.manifest.sources:
        for part in (*source.parts, *source.held_out_parts):
            size = sizes.get(part.path)
            if size is None:
                raise RunError(f"{storage.join(store.uri, part.path)}: missing")
            if size != part.bytes:
                raise RunError(
                    f"{storage.join(store.uri, part.path)}: has {size:,} bytes where the manifest says {part.bytes:,}; "
                    "copy it again, or prepare the store again"
                )
