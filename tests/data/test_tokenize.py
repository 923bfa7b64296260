"""Token ids against the tokenizers library given whole texts, and vocabularies that come out the same."""

import pickle
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from gte_ray.data.ids import train_vocabulary, unknown_words
from gte_ray.data.prepare_store import prepare
from gte_ray.data.tokenize import MOST_CHARACTERS, TextTokenizer, load_tokenizer, train_wordpiece
from gte_ray.errors import RunError
from gte_ray.readers.spec import SourceSpec
from tests.data.conftest import make_pairs, write_lines

TEXTS = [text for pair in make_pairs(300) for text in pair]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Transformers folders of a WordPiece and of a byte-level BPE tokenizer."""
    wordpiece, bpe = (str(tmp_path_factory.mktemp(name)) for name in ("wordpiece", "bpe"))
    train_wordpiece(TEXTS, 300, wordpiece)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=trained, pad_token="<pad>").save_pretrained(bpe)
    return {"wordpiece": wordpiece, "bpe": bpe}


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def both(request, folders) -> tuple[TextTokenizer, Tokenizer]:
    folder = folders[request.param]
    return load_tokenizer(folder), Tokenizer.from_file(f"{folder}/tokenizer.json")


def lists(tokens):
    return [part.tolist() for part in np.split(tokens.values, tokens.offsets[1:-1])]


# Pieces that a cut goes through: special tokens, words without end, accents, scripts without spaces.
pieces = st.sampled_from(
    [
        "river",
        " ",
        "  ",
        "\n",
        "[SEP]",
        "[MASK]",
        "</s>",
        "naïve",
        "ΟΔΟΣ",
        "東京都",
        "x" * 120,
        "don't",
        "-",
        "e\u0301",
    ]
)
long_texts = st.lists(st.tuples(pieces, st.integers(1, 40)), max_size=12).map(
    lambda runs: "".join(piece * count for piece, count in runs)
)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(long_texts, min_size=1, max_size=3), max_length=st.integers(3, 40))
def test_ids_are_those_of_the_whole_text(both, texts, max_length):
    tokenizer, reference = both
    expected = [reference.encode(text, add_special_tokens=False).ids[: max_length - 2] for text in texts]
    assert lists(tokenizer.content_ids(texts, max_length)) == expected


@pytest.mark.parametrize("blanks", range(12))
def test_a_cut_through_a_special_token(both, blanks):
    """Where the last token kept is the special token: half of one is several words."""
    tokenizer, reference = both
    for special in ("[SEP]", "</s>"):
        text = "river " * 9 + " " * blanks + f"{special} river" * 20
        expected = reference.encode(text, add_special_tokens=False).ids[:10]
        assert lists(tokenizer.content_ids([text], 12)) == [expected]


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(long_texts, min_size=1, max_size=4), kept=st.integers(3, 40), used=st.integers(3, 40))
def test_special_tokens_wrap_what_fits(both, texts, kept, used):
    tokenizer, reference = both
    reference.enable_truncation(used)
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    reference.no_truncation()
    if kept >= used:
        stored = tokenizer.content_ids(pa.array(texts, pa.large_string()), kept)
        assert lists(tokenizer.with_specials(stored, used)) == expected
    assert lists(tokenizer.encode(texts, used)) == expected


def test_a_long_text_is_not_tokenised_whole(both, monkeypatch):
    tokenizer, _ = both
    seen = []

    class Spy:
        def encode_batch_fast(self, texts, **options):
            seen.extend(map(len, texts))
            return tokenizer.fast.encode_batch_fast(texts, **options)

        def encode_batch(self, texts, **options):
            seen.extend(map(len, texts))
            return tokenizer.fast.encode_batch(texts, **options)

    copy = pickle.loads(pickle.dumps(tokenizer))
    monkeypatch.setattr(copy, "fast", Spy())
    copy.content_ids(["river stone cloud " * 600_000], 32)
    assert sum(seen) < 1_000


def test_ten_megabytes_without_a_space_count_by_their_beginning(both):
    tokenizer, reference = both
    expected = reference.encode("x" * MOST_CHARACTERS, add_special_tokens=False).ids[:6]
    assert lists(tokenizer.content_ids(["x" * 10_000_000], 8)) == [expected]


def test_no_texts(both):
    tokens = both[0].encode([], 8)
    assert len(tokens) == 0
    assert len(tokens.values) == 0


def test_a_tokenizer_survives_saving_and_sending(both, tmp_path):
    tokenizer, _ = both
    tokenizer.save(str(tmp_path))
    for copy in (
        load_tokenizer(str(tmp_path)),
        load_tokenizer(f"file://{tmp_path}"),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert copy.fingerprint == tokenizer.fingerprint
        assert (copy.pad_id, copy.vocab_size) == (tokenizer.pad_id, tokenizer.vocab_size)
        assert lists(copy.encode(TEXTS[:9], 12)) == lists(tokenizer.encode(TEXTS[:9], 12))


def test_transformers_gives_the_same_ids(folders):
    tokenizer = load_tokenizer(folders["wordpiece"])
    expected = transformers.AutoTokenizer.from_pretrained(folders["wordpiece"])(
        TEXTS[:50], truncation=True, max_length=16
    )
    assert lists(tokenizer.encode(TEXTS[:50], 16)) == expected["input_ids"]
    assert tokenizer.pad_id == 0


TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import make_pairs, write_lines
from gte_ray.data.tokenize import train_wordpiece
texts = [text for pair in make_pairs(300) for text in pair]
print(train_wordpiece(texts, 300, sys.argv[2]).fingerprint)
"""


@pytest.mark.processes
def test_a_vocabulary_is_the_same_in_every_process(folders, tmp_path, request):
    script = [sys.executable, "-c", TRAIN, str(request.path.parent), str(tmp_path)]
    found = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert found == load_tokenizer(folders["wordpiece"]).fingerprint


@pytest.mark.parametrize(
    "name", ["missing", "./missing/x/y", "bert-base-uncased", "file:///missing", "broken"]
)
def test_a_tokenizer_that_is_not_there(name, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    given = str(tmp_path / name) if name in ("missing", "broken") else name
    with pytest.raises(RunError, match="no tokenizer could be loaded") as caught:
        load_tokenizer(given)
    assert str(caught.value).startswith(given)
    assert "\n" not in str(caught.value)


def test_a_prompt_and_its_text_are_one_text(both):
    """Byte-level tokens go over the seam, so that ids of the two apart would be others."""
    tokenizer, reference = both
    texts = ["ver stone", "", "don't " * 30]
    expected = [reference.encode("ri" + text).ids for text in texts[:2]]
    assert lists(tokenizer.encode(texts[:2], 64, "ri")) == expected
    assert lists(tokenizer.encode(texts, 8, "ri")) == lists(tokenizer.encode([f"ri{t}" for t in texts], 8))
    assert lists(tokenizer.encode(pa.array(texts), 8, "ri")) == lists(tokenizer.encode(texts, 8, "ri"))


def chinese(count: int, seed: int) -> list[str]:
    """Texts of 4,000 characters that are about equally frequent."""
    rng = random.Random(seed)
    return [
        "".join(chr(0x4E00 + rng.randrange(4_000)) for _ in range(rng.randint(20, 200))) for _ in range(count)
    ]


def test_a_vocabulary_has_the_characters_that_its_texts_need(tmp_path):
    texts = chinese(1_000, seed=1)
    tokenizer = train_wordpiece(texts, 20_000, str(tmp_path / "large"))
    ids = tokenizer.content_ids(chinese(200, seed=2), 512).values
    assert (ids == tokenizer.unknown_id).mean() < 0.001
    small = train_wordpiece(texts, 2_000, str(tmp_path / "small"))
    assert small.vocab_size <= 2 * 1_000 + 5  # characters and their continuations leave no room for more


def test_unknown_tokens_are_told_by_source(ray_local, tmp_path):
    tables = {
        "english": make_pairs(300),
        "chinese": [(q, d) for q, d in zip(chinese(300, 3), chinese(300, 4), strict=True)],
    }
    sources = [
        SourceSpec(name, str(write_lines(tmp_path / f"{name}.jsonl", [list(pair) for pair in pairs])), "news")
        for name, pairs in tables.items()
    ]
    store = prepare(str(tmp_path / "store"), sources, held_out_share=0.0)
    few = train_wordpiece([text for pair in tables["english"] for text in pair], 500, str(tmp_path / "few"))
    (told,) = unknown_words(store, few, ["chinese", "english"])
    assert "100.0% of the tokens of chinese are unknown to the tokenizer" in told
    whole = train_vocabulary(store, 20_000)
    assert unknown_words(store, whole, ["chinese", "english"]) == []
