"""Converts texts to token ids, in the same way when preparing a store and when training."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import chain
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
from gte_ray.pretrained.prompts import GivenPrompts, Prompts

CHARACTERS_PER_TOKEN = 6
"""Characters of a text that are tokenised at first for each token to keep."""
MOST_CHARACTERS = 100_000
"""Maximum characters of a text that are used, even if they give too few tokens. Ten megabytes without a space
are one word, and would take a minute."""
ALPHABET = 1_000
"""Minimum number of characters in a trained vocabulary, if the texts have that many."""
RARE_SHARE = 1e-4
"""Share of the texts' characters that may be unknown to the vocabulary. For Chinese, this needs some thousand
characters."""
ALPHABET_SHARE = 0.25
"""Maximum share of the vocabulary's entries that are characters, if more than ALPHABET are needed."""
NO_PROMPTS = Prompts()
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TextTokenizer:
    """A fast tokenizer and the special tokens that it puts around a text. Cheap to send and to rebuild."""

    def __init__(self, definition: str, files: dict[str, bytes], pad_id: int, prompts: Prompts = NO_PROMPTS):
        """`definition` is the content of tokenizer.json, `files` the contents of the folder by file name.

        `prompts` are the prompts of the tokenizer's model; ids include them only on request. Raises RunError
        if the special tokens cannot be determined.
        """
        self.definition = definition
        self.files = files
        self.pad_id = pad_id
        self.prompts = prompts
        self.fast = _cached_tokenizer(definition)
        self.vocab_size = self.fast.get_vocab_size(with_added_tokens=True)
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()[:16]
        bare = self.fast.encode("a", add_special_tokens=False).ids
        wrapped = self.fast.encode("a", add_special_tokens=True).ids
        starts = [i for i in range(len(wrapped)) if wrapped[i : i + len(bare)] == bare]
        if not bare or not starts:
            raise RunError("the tokenizer makes nothing of 'a', so that its special tokens cannot be told")
        start = starts[0]
        # A cut through an added token such as [SEP] splits it into several words.
        added = self.fast.get_added_tokens_decoder().values()
        self._open_words = 1 + max((len(token.content) for token in added), default=0)
        self.prefix = wrapped[:start]
        self.suffix = wrapped[start + len(bare) :]
        self.unknown_id = _unknown_id(self.fast, definition)
        """The id of the unknown token; None if the vocabulary covers everything, as a byte-level one does."""

    def __reduce__(self):
        return TextTokenizer, (self.definition, self.files, self.pad_id, self.prompts)

    def with_prompts(self, given: GivenPrompts) -> "TextTokenizer":
        """The same tokenizer with the given prompts in place of its model's."""
        return TextTokenizer(self.definition, self.files, self.pad_id, self.prompts.given(given))

    @property
    def pads_left(self) -> bool:
        """Whether transformers pads on the left with this tokenizer. gte_ray never pads before a text."""
        return json.loads(self.files.get("tokenizer_config.json", b"{}")).get("padding_side") == "left"

    @cached_property
    def largest_id(self) -> int:
        """The largest id in the vocabulary."""
        return max(self.fast.get_vocab(with_added_tokens=True).values())

    def content_ids(self, texts: Sequence[str] | pa.Array, max_length: int, prompt: str = "") -> TokenLists:
        """Ids without special tokens, cut to leave room for them in `max_length` tokens.

        `prompt` is prepended to each text and counts towards the limit.
        """
        limit = max_length - len(self.prefix) - len(self.suffix)
        strings = texts.to_pylist() if isinstance(texts, pa.Array) else texts
        whole = [(prompt + text)[:MOST_CHARACTERS] for text in strings]
        ids: list[list[int]] = [[] for _ in whole]
        open_texts, characters = list(range(len(whole))), CHARACTERS_PER_TOKEN * limit
        while open_texts:
            uncut = [i for i in open_texts if len(whole[i]) <= characters]
            cut = [i for i in open_texts if len(whole[i]) > characters]
            encodings = self.fast.encode_batch_fast([whole[i] for i in uncut], add_special_tokens=False)
            for i, encoding in zip(uncut, encodings, strict=True):
                ids[i] = encoding.ids[:limit]
            # The fast variant does not report which word each token belongs to.
            encodings = self.fast.encode_batch([whole[i][:characters] for i in cut], add_special_tokens=False)
            again = []
            for i, encoding in zip(cut, encodings, strict=True):
                ids[i] = encoding.ids[:limit]
                if _whole_tokens(encoding.word_ids, self._open_words) < limit:
                    again.append(i)
            open_texts, characters = again, 2 * characters
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        values = np.fromiter(chain.from_iterable(ids), np.int32, int(lengths.sum()))
        return TokenLists(values, np.concatenate(([0], np.cumsum(lengths))))

    def with_specials(self, content: TokenLists, max_length: int) -> TokenLists:
        """`content` cut to fit `max_length` and wrapped in the special tokens."""
        before, after = len(self.prefix), len(self.suffix)
        kept = np.minimum(content.lengths, max_length - before - after)
        offsets = np.concatenate(([0], np.cumsum(kept + before + after)))
        values = np.empty(offsets[-1], np.int32)
        for position, token in enumerate(self.prefix):
            values[offsets[:-1] + position] = token
        for position, token in enumerate(self.suffix):
            values[offsets[1:] - after + position] = token
        # Position of each kept token within its text, then its source and target positions.
        within = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        source = np.repeat(content.offsets[:-1], kept) + within
        values[np.repeat(offsets[:-1] + before, kept) + within] = content.values[source]
        return TokenLists(values, offsets)

    def encode(self, texts: Sequence[str] | pa.Array, max_length: int, prompt: str = "") -> TokenLists:
        """Ids of each text with `prompt` prepended and special tokens around it, at most `max_length`.
        Of prompts that are not pooled, those of the prompt by itself are skipped, as in sentence-transformers."""
        lists = self.with_specials(self.content_ids(texts, max_length, prompt), max_length)
        if prompt and not self.prompts.pooled:
            taken = len(self.prefix) + int(self.content_ids([prompt], max_length).lengths[0])
            lists = replace(lists, skipped=np.minimum(taken, lists.lengths - 1))
        return lists

    def save(self, folder: str) -> None:
        """Writes the tokenizer as a transformers folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (Path(folder) / name).write_bytes(content)


def _whole_tokens(words: Sequence[int | None], open_words: int) -> int:
    """Number of tokens before the last `open_words` words, which may differ in the whole text."""
    indices = [word for word in words if word is not None]
    return sum(word <= indices[-1] - open_words for word in indices)


@lru_cache(maxsize=4)
def _cached_tokenizer(definition: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def load_tokenizer(name: str) -> TextTokenizer:
    """Loads the tokenizer of a Hugging Face id, a folder, or a folder at a URI, with its model's prompts.

    It lower-cases if the model's settings say so. Raises RunError if there is no tokenizer, or if it does
    something that `TextTokenizer` does not.
    """
    loaded, prompts = load_pretrained(name)
    with tempfile.TemporaryDirectory() as saved:
        loaded.save_pretrained(saved)
        files = {path.name: path.read_bytes() for path in sorted(Path(saved).iterdir()) if path.is_file()}
    return TextTokenizer(_definition(files["tokenizer.json"]), files, loaded.pad_token_id, prompts)


def _definition(content: bytes) -> str:
    """tokenizer.json without what a run sets itself, so that the fingerprint does not depend on it."""
    value = json.loads(content)
    value.update(truncation=None, padding=None)
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def train_wordpiece(texts: Sequence[str], vocab_size: int, folder: str) -> TextTokenizer:
    """Trains a lower-casing WordPiece vocabulary like BERT's and saves it as a transformers folder.

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
        # The trainer numbers continuing characters in hash table order, which differs from run to run and
        # decides between equally frequent merges. Listed as special tokens, they get fixed numbers.
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
