"""Token ids into a store, so that training reads them instead of tokenising."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gte_ray.data.batch import TokenLists
from gte_ray.data.manifest import SourceInfo, TokenizerInfo
from gte_ray.data.negatives import flat, list_array
from gte_ray.data.store import Store
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer, train_wordpiece
from gte_ray.runtime import storage

VOCABULARY_ROWS = 3_000
"""Rows of each source that a vocabulary is trained on."""
VOCABULARY_CHARACTERS = 600
"""Characters of each text that a vocabulary is trained on."""
SAMPLE_ROWS = 256
"""Rows of a source whose texts are looked through for what a tokenizer does not know."""
SAMPLE_TOKENS = 512
"""Most tokens of each of these texts."""
UNKNOWN_SHARE = 0.01
"""Share of unknown tokens from which it is told."""
COLUMNS = ("query", "document", "query_hash", "document_hash", "negatives", "negative_hashes")

Report = Callable[[str, int], None]
"""Told of the phase, such as `reading papers`, and the pairs that it has done since the last call."""


@dataclass(frozen=True)
class Ids:
    """Which token ids a store is to hold."""

    tokenizer: str = ""
    """Hugging Face id or folder of a tokenizer; empty to train one."""
    vocabulary: int = 0
    """Entries of a WordPiece vocabulary trained on the store; 0 where `tokenizer` names one."""
    max_length: int = 512
    """Tokens of a text, special tokens included, that ids are kept for."""
    stored: TokenizerInfo | None = None
    """The tokenizer that sources of the store have ids of already, instead of the above."""


@dataclass(frozen=True)
class Tokenization:
    """How the texts of a store become token ids."""

    tokenizer: TextTokenizer
    info: TokenizerInfo


def tokenization(uri: str, ids: Ids, texts: Callable[[], list[str]], report: Report) -> Tokenization:
    """Loads the tokenizer that `ids` names, or trains it on `texts()`, and keeps it in the store at `uri`."""
    report("training the vocabulary" if ids.vocabulary else "loading the tokenizer", 0)
    if ids.stored:
        return Tokenization(load_tokenizer(storage.join(uri, ids.stored.folder)), ids.stored)
    if ids.vocabulary:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = train_wordpiece(texts(), ids.vocabulary, folder)
    else:
        tokenizer = load_tokenizer(ids.tokenizer)
    info = TokenizerInfo(tokenizer.fingerprint, ids.max_length, ids.vocabulary)
    _save(tokenizer, storage.join(uri, info.folder))
    return Tokenization(tokenizer, info)


def vocabulary_texts(rows: pa.Table) -> list[str]:
    """The beginnings of the texts of `rows`, queries first."""
    return [
        text[:VOCABULARY_CHARACTERS]
        for name in ("query", "document")
        for text in rows.column(name).to_pylist()
    ]


def first_texts(store: Store, source: SourceInfo) -> list[str]:
    """The texts of a finished source that a vocabulary is trained on; in hash order, so a random sample."""
    rows = store.read_rows(source.name, 0, min(source.rows, VOCABULARY_ROWS), ["query", "document"])
    return vocabulary_texts(rows)


def train_vocabulary(store: Store, entries: int) -> TextTokenizer:
    """A WordPiece vocabulary of the store's texts; the same store gives the same."""
    texts = [text for source in store.manifest.sources for text in first_texts(store, source)]
    with tempfile.TemporaryDirectory() as folder:
        return train_wordpiece(texts, entries, folder)


def unknown_words(store: Store, tokenizer: TextTokenizer, sources: Sequence[str]) -> list[str]:
    """A sentence for each of the `sources` whose texts `tokenizer` does not know well, from a sample."""
    warnings = []
    for name in sources:
        rows = store.read_rows(name, 0, min(store.source(name).rows, SAMPLE_ROWS), ["query", "document"])
        texts = [text[:VOCABULARY_CHARACTERS] for column in rows.columns for text in column.to_pylist()]
        ids = tokenizer.content_ids(texts, SAMPLE_TOKENS).values
        share = float((ids == tokenizer.unknown_id).mean()) if len(ids) else 0.0
        if share > UNKNOWN_SHARE:
            warnings.append(
                f"{share:.1%} of the tokens of {name} are unknown to the tokenizer: these texts are not told apart by "
                "them; a larger --vocabulary, or the tokenizer of a model for that language, has more characters"
            )
    return warnings


def _save(tokenizer: TextTokenizer, uri: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        storage.upload(folder, uri)


def with_ids(table: pa.Table, wanted: Tokenization) -> pa.Table:
    """The pairs in `table` with columns of the token ids of their texts and negatives."""
    for name in ("query", "document"):
        # Texts that several pairs have are tokenised once.
        texts = table.column(name).combine_chunks().dictionary_encode()
        ids = _lists(wanted.tokenizer.content_ids(texts.dictionary, wanted.info.max_length))
        table = table.append_column(f"{name}_ids", ids.take(texts.indices))
    negatives, offsets = flat(table.column("negatives").combine_chunks())
    ids = _lists(wanted.tokenizer.content_ids(negatives, wanted.info.max_length))
    return table.append_column("negative_ids", list_array(offsets, ids))


def _lists(tokens: TokenLists) -> pa.Array:
    return list_array(tokens.offsets, pa.array(tokens.values, pa.int32()))
