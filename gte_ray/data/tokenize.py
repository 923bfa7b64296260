"""Texts to token ids, the same whether while preparing a store or while training."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from gte_ray.data.batch import TokenLists
from gte_ray.data.tokenizer_files import load_pretrained
from gte_ray.errors import RunError
from gte_ray.pretrained.prompts import Prompts

CHARACTERS_PER_TOKEN = 6
"""Characters of a text that are looked at first for each token that is kept."""
MOST_CHARACTERS = 100_000
"""Characters beyond which a text does not count, also where these give too few tokens: ten megabytes without a
space are one word, and would take a minute."""
ALPHABET = 1_000
"""Characters that a trained vocabulary has at least, if there are as many."""
RARE_SHARE = 1e-4
"""Share of the text's characters that may be unknown to it; for Chinese this takes some thousand characters."""
ALPHABET_SHARE = 0.25
"""Share of its entries that may be characters, where more than ALPHABET are needed."""
NO_PROMPTS = Prompts()
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TextTokenizer:
    """A fast tokenizer and the special tokens that it puts around a text. Small to send, cheap to rebuild."""

    def __init__(self, definition: str, files: dict[str, bytes], pad_id: int, prompts: Prompts = NO_PROMPTS):
        """`definition` is the content of tokenizer.json, `files` those of the whole folder.

        `prompts` are those of the model that the tokenizer came with; ids have them where it is asked for.
        """
        self.definition = definition
        self.files = files
        self.pad_id = pad_id
        self.prompts = prompts
        self._tokenizer = _cached_tokenizer(definition)
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()[:16]
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        wrapped = self._tokenizer.encode("a", add_special_tokens=True).ids
        starts = [i for i in range(len(wrapped)) if wrapped[i : i + len(bare)] == bare]
        if not bare or not starts:
            raise RunError("the tokenizer makes nothing of 'a', so that its special tokens cannot be told")
        start = starts[0]
        # An added token such as [SEP] is several words where a cut goes through it.
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._open_words = 1 + max((len(token.content) for token in added), default=0)
        self.prefix = wrapped[:start]
        self.suffix = wrapped[start + len(bare) :]
        self.unknown_id = _unknown_id(self._tokenizer, definition)
        """The token of what the vocabulary does not have; None where it has everything, as one of bytes."""

    def __reduce__(self):
        return TextTokenizer, (self.definition, self.files, self.pad_id, self.prompts)

    @property
    def pads_left(self) -> bool:
        """Whether transformers pads with it on the left; here padding never comes before a text."""
        return json.loads(self.files.get("tokenizer_config.json", b"{}")).get("padding_side") == "left"

    @cached_property
    def largest_id(self) -> int:
        """The largest id of an entry."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def content_ids(self, texts: Sequence[str] | pa.Array, max_length: int, prompt: str = "") -> TokenLists:
        """Ids without special tokens, as many as leave room for them in `max_length` tokens.

        `prompt` is put in front of each text, and counts.
        """
        limit = max_length - len(self.prefix) - len(self.suffix)
        given = texts.to_pylist() if isinstance(texts, pa.Array) else texts
        whole = [(prompt + text)[:MOST_CHARACTERS] for text in given]
        ids: list[list[int]] = [[] for _ in whole]
        open_texts, characters = list(range(len(whole))), CHARACTERS_PER_TOKEN * limit
        while open_texts:
            uncut = [i for i in open_texts if len(whole[i]) <= characters]
            cut = [i for i in open_texts if len(whole[i]) > characters]
            encodings = self._tokenizer.encode_batch_fast([whole[i] for i in uncut], add_special_tokens=False)
            for i, encoding in zip(uncut, encodings, strict=True):
                ids[i] = encoding.ids[:limit]
            # The fast variant leaves out which word each token is of.
            encodings = self._tokenizer.encode_batch(
                [whole[i][:characters] for i in cut], add_special_tokens=False
            )
            again = []
            for i, encoding in zip(cut, encodings, strict=True):
                ids[i] = encoding.ids[:limit]
                if _whole_tokens(encoding.word_ids, self._open_words) < limit:
                    again.append(i)
            open_texts, characters = again, 2 * characters
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        values = np.fromiter((token for text in ids for token in text), np.int32, int(lengths.sum()))
        return TokenLists(values, np.concatenate(([0], np.cumsum(lengths))))

    def with_specials(self, content: TokenLists, max_length: int) -> TokenLists:
        """`content` cut to fit `max_length` and wrapped in the special tokens."""
        before, after = len(self.prefix), len(self.suffix)
        kept = np.minimum(content.lengths, max_length - before - after)
        offsets = np.concatenate(([0], np.cumsum(kept + before + after)))
        values = np.empty(offsets[-1], np.int32)
        for place, token in enumerate(self.prefix):
            values[offsets[:-1] + place] = token
        for place, token in enumerate(self.suffix):
            values[offsets[1:] - after + place] = token
        # Position of each kept token within its text, then where it comes from and where it goes.
        within = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        source = np.repeat(content.offsets[:-1], kept) + within
        values[np.repeat(offsets[:-1] + before, kept) + within] = content.values[source]
        return TokenLists(values, offsets)

    def encode(self, texts: Sequence[str] | pa.Array, max_length: int, prompt: str = "") -> TokenLists:
        """Ids of each text, after the `prompt`, with its special tokens, at most `max_length`."""
        return self.with_specials(self.content_ids(texts, max_length, prompt), max_length)

    def save(self, folder: str) -> None:
        """Writes the tokenizer as a transformers folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (Path(folder) / name).write_bytes(content)


def _whole_tokens(words: Sequence[int | None], open_words: int) -> int:
    """Tokens before the last words, which the whole text may have otherwise."""
    known = [word for word in words if word is not None]
    return sum(word <= known[-1] - open_words for word in known)


@lru_cache(maxsize=4)
def _cached_tokenizer(definition: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def load_tokenizer(name: str) -> TextTokenizer:
    """The tokenizer of a Hugging Face id, a folder, or a folder at a URI, with the prompts of a model there.

    It lower-cases where the model's settings say so. RunError where there is none, or where it does something
    that `TextTokenizer` does not.
    """
    loaded, prompts = load_pretrained(name)
    with tempfile.TemporaryDirectory() as saved:
        loaded.save_pretrained(saved)
        files = {path.name: path.read_bytes() for path in sorted(Path(saved).iterdir()) if path.is_file()}
    return TextTokenizer(_definition(files["tokenizer.json"]), files, loaded.pad_token_id, prompts)


def _definition(content: bytes) -> str:
    """tokenizer.json without what a run sets itself, so that it does not count in the fingerprint."""
    value = json.loads(content)
    value.update(truncation=None, padding=None)
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def train_wordpiece(texts: Sequence[str], vocab_size: int, folder: str) -> TextTokenizer:
    """Trains a lower-casing WordPiece vocabulary as BERT's and saves it as a transformers folder.

    The same texts give the same vocabulary.
    """
    import transformers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    alphabet = _alphabet(texts, normalizer, vocab_size)
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        # The trainer numbers continuing characters in the order of a hash table, which differs from run to
        # run and decides between equally frequent merges; named as special tokens they have fixed numbers.
        special_tokens=[*SPECIAL_TOKENS, *(f"##{character}" for character in alphabet)],
        show_progress=False,
    )
    trained.train_from_iterator(iter(texts), trainer)
    vocabulary = trained.get_vocab(with_added_tokens=True)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    wrapped.save_pretrained(folder)
    return load_tokenizer(folder)


def _unknown_id(tokenizer: Tokenizer, definition: str) -> int | None:
    model = json.loads(definition)["model"]
    if model.get("byte_fallback"):
        return None
    return tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")


def _alphabet(texts: Sequence[str], normalizer: normalizers.Normalizer, vocab_size: int) -> list[str]:
    """The most frequent characters after normalisation, ties broken by code point."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    normalized: Counter[str] = Counter()
    for character, count in counts.items():
        for kept in set(normalizer.normalize_str(character)) - {" "}:
            normalized[kept] += count
    ranked = sorted(normalized, key=lambda character: (-normalized[character], character))
    covered = np.cumsum([normalized[character] for character in ranked])
    needed = int(np.searchsorted(covered, (1 - RARE_SHARE) * normalized.total())) + 1
    return sorted(ranked[: max(ALPHABET, min(needed, int(ALPHABET_SHARE * vocab_size)))])
