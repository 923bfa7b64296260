"""The parts of a source again, with the negatives that were found beside their pairs."""

import hashlib
from functools import partial

import numpy as np
import pyarrow as pa

from gte_ray.data.ids import Report
from gte_ray.data.negatives import flat, list_array, unite_negatives
from gte_ray.data.rewrite import Changed, PartRows, column_array, rewrite_source
from gte_ray.data.store import SourceInfo, Store
from gte_ray.mining.choose import Window, choose
from gte_ray.mining.pairs import Pairs
from gte_ray.mining.search import read_column


def write_source(
    store: Store, uri: str, pairs: Pairs, fingerprint: str, window: Window, report: Report
) -> SourceInfo:
    change = partial(_with_negatives, store=store, pairs=pairs, window=window)
    return rewrite_source(store, uri, pairs.source, fingerprint, change, report)


def _with_negatives(rows: PartRows, table: pa.Table, store: Store, pairs: Pairs, window: Window) -> Changed:
    """A part with its pairs' negatives: those that it had, and those that were found."""
    source = pairs.source
    hashes = [table.column(name).to_numpy() for name in ("query_hash", "document_hash")]
    documents, scores, own = pairs.found(rows.start, rows.stop)
    owners, numbers = choose(documents, scores, own, hashes[0], hashes[1], window)
    kinds, picks = np.unique(numbers, return_inverse=True)
    places = pairs.task.documents.rows[kinds]
    columns = {"negatives": "document", "negative_hashes": "document_hash"}
    columns |= {"negative_ids": "document_ids"} if source.tokenizer else {}
    _, offsets = flat(column_array(table, "negative_hashes"))
    old_owners = np.repeat(np.arange(len(table)), np.diff(offsets))
    items = {
        name: pa.concat_arrays(
            [
                flat(column_array(table, name))[0],
                read_column(store, source.name, places, column).take(pa.array(picks)),
            ]
        )
        for name, column in columns.items()
    }
    kept, offsets = unite_negatives(
        items["negative_hashes"].to_numpy(), np.concatenate([old_owners, owners]), hashes[0], hashes[1]
    )
    for name, values in items.items():
        lists = list_array(offsets, values.take(pa.array(kept)))
        table = table.set_column(table.schema.get_field_index(name), name, lists)
    content = hashlib.sha256(offsets.tobytes() + items["negative_hashes"].to_numpy()[kept].tobytes())
    return Changed(table, content.hexdigest())
