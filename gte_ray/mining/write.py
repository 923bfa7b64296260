"""The parts of a source again, with the negatives that were found beside their pairs."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from gte_ray.data.negatives import flat, list_array, unite_negatives
from gte_ray.data.rewrite import Changed, PartRows, column_array
from gte_ray.data.store import Store
from gte_ray.data.tokenize import load_tokenizer
from gte_ray.mining.answers import LEFT_OUT, Answers, choose_without_answers
from gte_ray.mining.choose import Window, choose
from gte_ray.mining.search import read_column
from gte_ray.mining.task import Task
from gte_ray.runtime import storage


def with_negatives(
    rows: PartRows, table: pa.Table, store: Store, task: Task, window: Window, answers: Answers | None = None
) -> Changed:
    """A part with its pairs' negatives: those that it had, and those that were found and have none of `answers`."""
    source = store.source(task.source)
    hashes = [table.column(name).to_numpy() for name in ("query_hash", "document_hash")]
    found = task.found(rows.start, rows.stop)
    left_out = 0
    if answers is None:
        owners, numbers = choose(*found, hashes[0], hashes[1], window)
    else:

        def read(some: np.ndarray) -> list[str]:
            texts: list[str] = _documents(store, task, some, {"negatives": "document"})[
                "document"
            ].to_pylist()
            return texts

        owners, numbers, left_out = choose_without_answers(found, hashes, window, answers, read)
    kinds, picks = np.unique(numbers, return_inverse=True)
    columns = {"negatives": "document", "negative_hashes": "document_hash"}
    columns |= {"negative_ids": "document_ids"} if source.tokenizer else {}
    texts = _documents(store, task, kinds, columns)
    _, offsets = flat(column_array(table, "negative_hashes"))
    old_owners = np.repeat(np.arange(len(table)), np.diff(offsets))
    items = {
        name: pa.concat_arrays(
            [
                flat(column_array(table, name))[0],
                texts[column].take(pa.array(picks)),
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
    lost = {LEFT_OUT: left_out} if left_out else {}
    return Changed(table, content.hexdigest(), lost_negatives=lost)


def _documents(
    store: Store, task: Task, numbers: np.ndarray, columns: Mapping[str, str]
) -> dict[str, pa.Array]:
    """The `columns`' values of documents by ascending numbers."""
    inside = numbers < task.corpus_rows
    places = task.numbers.document_rows[numbers[~inside] - task.corpus_rows]
    own = {name: read_column(store, task.source, places, name) for name in columns.values()}
    if task.corpus is None:
        return own
    passages = {name: task.corpus.read(numbers[inside], name) for name in ("document", "document_hash")}
    info = store.source(task.source).tokenizer
    if info is not None:
        tokens = load_tokenizer(storage.join(store.uri, info.folder)).content_ids(
            passages["document"], info.max_length
        )
        passages["document_ids"] = list_array(tokens.offsets, pa.array(tokens.values, pa.int32()))
    return {name: pa.concat_arrays([passages[name], own[name]]) for name in own}
