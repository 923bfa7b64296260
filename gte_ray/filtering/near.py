"""Documents of a store that are nearly the same as others, by MinHash and bands of it (Broder, 1997; datasketch).

Two documents are alike by the share of their runs of `WORDS` words that both have (their Jaccard similarity). A task
signs the documents of some parts, and writes the hash of each band of a signature, sorted; a task for each range of
those hashes compares the documents that share one. So memory does not grow with the store. The first document stays,
by the order of the sources and its hash; one that shares a band with an earlier one leaves, whatever becomes of that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gte_ray.data.benchmarks import HashSet
from gte_ray.data.hashing import seeded, text_hashes
from gte_ray.data.ids import Report
from gte_ray.data.journal import read_records, write_record
from gte_ray.data.sorted_run import RunFile, read_run, write_run
from gte_ray.data.store import Store
from gte_ray.data.word_runs import FACTOR, normalised, word_runs
from gte_ray.mining.task import read_arrays, write_arrays
from gte_ray.runtime import storage
from gte_ray.runtime.imports import of_extra
from gte_ray.runtime.parquet import open_parquet
from gte_ray.runtime.pool import run_grouped, run_tasks

WORDS = 5
"""Words of a run. A shorter document is one run."""
PERMUTATIONS = 128
MISTAKES = (0.2, 0.8)
"""Weights of documents that are taken for alike and are not, and of those that are missed, as bands are chosen: at 0.8,
74 % of the documents of that similarity are found, 99 % at 0.9, 7 % at 0.6."""
GROUP_ROWS = 2**19
"""Most pairs whose documents a task signs."""
RANGE_ROWS = 2**22
"""Bands of a range, on average: what a task compares at once."""
GATHERED = 64
"""Sources whose documents a task gathers from all ranges."""
NEAR = "near-duplicate document"
"""Reason of pairs whose document leaves."""


@dataclass(frozen=True)
class Signed:
    """What one task signed."""

    number: int
    run: RunFile
    documents: int


class _Group(NamedTuple):
    number: int
    parts: tuple[tuple[int, str], ...]
    """(source's place in the order, file) of each."""
    rows: int


class _Signing(NamedTuple):
    """What all tasks of a search are told."""

    folder: str
    ranges: int
    bands: int
    width: int
    """Numbers of a signature that a band has."""


@dataclass(frozen=True)
class NearDuplicates:
    """Documents that leave a store, by their hashes, in a file for each source."""

    order: tuple[str, ...]
    folder: str

    def of(self, source: str, table: pa.Table) -> np.ndarray:
        """(n,) bool: which of the n pairs of a part have such a document."""
        leaving = _leaving(storage.join(self.folder, f"leaving-{self.order.index(source)}.npz"))
        return leaving.has(table.column("document_hash").to_numpy())


def check_installed() -> Any:
    """Returns datasketch. Raises UsageError if it is not installed."""
    with of_extra("minhash", "--near-duplicates needs the package datasketch"):
        import datasketch
    return datasketch


def find_near_duplicates(
    store: Store, order: Sequence[str], similarity: float, folder: str, report: Report
) -> NearDuplicates:
    """Compares the documents to train on of the sources in `order`. What is found lies in `folder`, and is not done
    again. `similarity` is about that from which documents are alike."""
    lsh = check_installed().MinHashLSH(similarity, PERMUTATIONS, weights=MISTAKES)
    groups = _groups(store, order)
    total = sum(group.rows for group in groups) * lsh.b
    ranges = 1 << max(int(total - 1).bit_length() - RANGE_ROWS.bit_length() + 1, 0)
    job = _Signing(folder, ranges, lsh.b, lsh.r)
    known = read_records(folder, Signed, lambda signed: [(signed.run.path, signed.run.size)])
    done = {signed.number: signed for signed in known.values()}
    missing = [group for group in groups if group.number not in done]
    for signed in run_tasks(missing, partial(_sign_group, job=job)):
        report("signing documents", signed.documents)
        done[signed.number] = signed
    runs = tuple(done[group.number].run for group in groups)
    missing_ranges = [number for number in range(ranges) if not storage.exists(_found(folder, number))]
    for documents in run_tasks(missing_ranges, partial(compare_range, job=job, runs=runs)):
        report("comparing documents", documents)
    for _ in run_grouped(range(len(order)), [1] * len(order), GATHERED, partial(_gather, job=job)):
        pass
    return NearDuplicates(tuple(order), folder)


def _groups(store: Store, order: Sequence[str]) -> list[_Group]:
    groups: list[_Group] = []
    for number, name in enumerate(order):
        for part in store.source(name).parts:
            one = ((number, storage.absolute(storage.join(store.uri, part.path))),)
            if groups and groups[-1].rows + part.rows <= GROUP_ROWS:
                last = groups[-1]
                groups[-1] = last._replace(parts=last.parts + one, rows=last.rows + part.rows)
            elif part.rows:
                groups.append(_Group(len(groups), one, part.rows))
    return groups


def _sign_group(group: _Group, job: _Signing) -> Iterator[Signed]:
    """Writes the bands of the documents of some parts, a document of a source once."""
    keys, documents, sources = [], [], []
    known: dict[int, set[int]] = {source: set() for source, _ in group.parts}
    for source, uri in group.parts:
        file = open_parquet(uri)
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["document", "document_hash"], use_threads=False)
            hashes = table.column("document_hash").to_numpy()
            first = np.sort(np.unique(hashes, return_index=True)[1])
            new = first[[value not in known[source] for value in hashes[first].tolist()]]
            known[source].update(hashes[new].tolist())
            texts = table.column("document").combine_chunks().take(pa.array(new))
            keys.append(_bands(signatures(texts), job))
            documents.append(hashes[new])
            sources.append(np.full(len(new), source, np.uint16))
    key = np.concatenate(keys).reshape(-1)
    columns = {
        "key": pa.array(key),
        "document": pa.array(np.repeat(np.concatenate(documents), job.bands)),
        "source": pa.array(np.repeat(np.concatenate(sources), job.bands)),
    }
    path = storage.join(job.folder, "signed", f"{group.number:05}.run")
    run = write_run(path, columns, key, np.argsort(key, kind="stable"), job.ranges)
    signed = Signed(group.number, run, sum(map(len, known.values())))
    write_record(job.folder, f"signed-{group.number:05}", signed)
    yield signed


def signatures(documents: pa.Array) -> np.ndarray:
    """(n, `PERMUTATIONS`) uint32 of n documents, by their runs of words."""
    minhash = check_installed().MinHash
    first = minhash(PERMUTATIONS, hashfunc=_as_it_is)
    normal = normalised(documents)
    runs, owners, _ = word_runs(normal, WORDS)
    starts = np.searchsorted(owners, np.arange(len(normal) + 1))
    short = text_hashes(normal)
    found = np.empty((len(normal), PERMUTATIONS), np.uint32)
    for number, (start, stop) in enumerate(pairwise(starts)):
        own = runs[start:stop] if start < stop else short[number : number + 1]
        signed = minhash(
            hashfunc=_as_it_is, permutations=first.permutations, scheme=first.scheme, num_perm=PERMUTATIONS
        )
        signed.update_batch((own >> np.uint64(32)).astype(np.uint32))
        found[number] = signed.hashvalues
    return found


def _as_it_is(value: Any) -> Any:
    return value


def _bands(signed: np.ndarray, job: _Signing) -> np.ndarray:
    """(n, bands) uint64: a hash of each band of n signatures, another one for the same numbers in another band."""
    keys = np.empty((len(signed), job.bands), np.uint64)
    for band in range(job.bands):
        mixed = np.zeros(len(signed), np.uint64)
        for column in range(band * job.width, (band + 1) * job.width):
            mixed = seeded(mixed * FACTOR + signed[:, column], band)
        keys[:, band] = mixed
    return keys


def _found(folder: str, number: int) -> str:
    return storage.join(folder, f"range-{number:05}.npz")


def compare_range(number: int, job: _Signing, runs: Sequence[RunFile]) -> Iterator[int]:
    """Writes which documents of a range leave, by source; the number of bands that were compared."""
    tables = [table for run in runs if (table := read_run(run, number, job.ranges)) is not None]
    found: dict[str, np.ndarray] = {}
    rows = 0
    if tables:
        table = pa.concat_tables(tables)
        key, document, source = (table.column(name).to_numpy() for name in ("key", "document", "source"))
        rows = len(key)
        order = np.lexsort((document, source, key))
        key, document, source = key[order], document[order], source[order]
        new = np.ones(rows, bool)
        new[1:] = key[1:] != key[:-1]
        staying = document[np.flatnonzero(new)[np.cumsum(new) - 1]]
        leaves = document != staying
        for place in np.unique(source[leaves]):
            found[str(place)] = np.unique(document[leaves & (source == place)])
    write_arrays(_found(job.folder, number), **found)
    yield rows


def _gather(source: int, job: _Signing) -> Iterator[None]:
    """Writes which documents of a source leave, of all ranges."""
    found = [np.empty(0, np.uint64)]
    for number in range(job.ranges):
        arrays = read_arrays(_found(job.folder, number))
        if str(source) in arrays:
            found.append(arrays[str(source)])
    write_arrays(storage.join(job.folder, f"leaving-{source}.npz"), leaving=np.unique(np.concatenate(found)))
    yield None


@lru_cache(maxsize=2)
def _leaving(uri: str) -> HashSet:
    return HashSet(read_arrays(uri)["leaving"])
