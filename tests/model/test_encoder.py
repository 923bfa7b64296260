"""Embeddings: what they are, that packing and micro-batches do not change them, where weights come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, MPNetConfig, MPNetModel

from gte_ray.config import ModelConfig
from gte_ray.data.batch import TokenLists
from gte_ray.errors import RunError
from gte_ray.model.attention import PACKED, packed_attention, packed_layout
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder
from gte_ray.model.microbatch import join, micro_batches

VOCABULARY, PAD, LENGTH = 50, 0, 128
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 32}
TINY = ModelConfig("scratch", hidden_size=24, layers=2, heads=2, intermediate_size=32)


def texts_of_lengths(lengths: list[int], seed: int = 0) -> TokenLists:
    random = np.random.default_rng(seed)
    values = random.integers(3, VOCABULARY, sum(lengths)).astype(np.int32)
    return TokenLists(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.set_num_threads(1)
    return build_encoder(TINY, VOCABULARY, PAD, LENGTH, seed=1).eval()


def one_by_one(encoder: Encoder, tokens: TokenLists) -> torch.Tensor:
    """Eqs. 1, 2 and 7 with transformers alone."""
    backbone = encoder.backbone
    backbone.set_attn_implementation("eager")
    rows = []
    for start, stop in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = torch.from_numpy(tokens.values[None, start:stop].astype(np.int64))
        with torch.no_grad():
            rows.append(F.normalize(backbone(input_ids=ids).last_hidden_state[0].mean(0), dim=0))
    Encoder(backbone, PAD, encoder.packed)  # sets the attention back
    return torch.stack(rows)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=9),
    budget=st.integers(1, 80),
    packed=st.booleans(),
)
def test_any_micro_batch_gives_the_embeddings_of_single_texts(encoder, lengths, budget, packed):
    tokens = texts_of_lengths(lengths)
    other = Encoder(encoder.backbone, PAD, packed)
    found = other.encode(tokens, budget)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, one_by_one(encoder, tokens), rtol=0, atol=2e-6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(lengths)))


def test_attention_of_packed_texts_is_computed_in_float32_on_a_cpu():
    """From states in bf16, whose own attention in torch is slower there, above all backwards."""
    lengths, random = np.array([5, 3, 3]), torch.Generator().manual_seed(0)
    layout = packed_layout(lengths, torch.device("cpu"))
    states = [torch.randn(1, 2, 11, 4, generator=random).bfloat16().requires_grad_() for _ in range(3)]
    whole = [x.detach().float().requires_grad_() for x in states]
    module = torch.nn.Identity()
    (found, _), (expected, _) = (packed_attention(module, *x, None, layout=layout) for x in (states, whole))
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected.bfloat16())
    weights = torch.randn(found.shape, generator=random).bfloat16()
    gradients = torch.autograd.grad((found * weights).float().sum(), states)
    wanted = torch.autograd.grad((expected * weights.float()).sum(), whole)
    for a, b in zip(gradients, wanted, strict=True):
        assert torch.equal(a, b.bfloat16())


def test_packed_and_padded_have_the_same_gradients(encoder):
    tokens = texts_of_lengths([9, 3, 9, 17, 1])
    found = []
    for packed in (True, False):
        model = Encoder(encoder.backbone, PAD, packed)
        (batch,) = model.micro_batches(tokens, 1000)
        model.zero_grad()
        weights = torch.arange(24.0)  # a plain sum of unit vectors would leave little
        (model(batch) @ weights).sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("device", "half", "hidden", "attention", "training", "packed"),
    [
        ("cpu", False, 0.1, 0.1, True, True),
        ("cuda", True, 0.0, 0.0, True, True),
        ("cuda", True, 0.1, 0.0, True, True),
        ("cuda", True, 0.0, 0.1, True, False),
        ("cuda", True, 0.0, 0.1, False, True),
        ("cuda", False, 0.0, 0.0, True, False),
    ],
)
def test_texts_are_padded_where_no_kernel_takes_them_packed(
    device, half, hidden, attention, training, packed
):
    config = replace(TINY, hidden_dropout=hidden, attention_dropout=attention)
    model = build_encoder(config, VOCABULARY, PAD, LENGTH, 0).train(training)
    model.choose_attention(torch.device(device), half)
    assert model.packed == packed
    assert model.backbone.config._attn_implementation == (PACKED if packed else "sdpa")


def test_encode_leaves_dropout_on_for_training_and_off_for_itself():
    model = build_encoder(
        ModelConfig("scratch", 50, 24, 1, 2, 32, hidden_dropout=0.5), VOCABULARY, PAD, LENGTH, 0
    ).train()
    tokens = texts_of_lengths([5, 6])
    assert torch.equal(model.encode(tokens, 100), model.encode(tokens, 100))
    assert model.training
    (batch,) = model.micro_batches(tokens, 100)
    assert not torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("budget", [8192, 16384])
def test_padding_is_little_where_there_is_any(budget):
    lengths = np.random.default_rng(0).integers(10, 129, 2048).tolist()
    parts = micro_batches(texts_of_lengths(lengths), budget, packed=False)
    computed, real = sum(p.padded_tokens for p in parts), sum(p.tokens for p in parts)
    assert real == sum(lengths)
    assert all(p.padded_tokens <= budget for p in parts)
    assert 1 - real / computed <= 0.05
    assert len(parts) <= 3 * computed / budget


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), max_size=30), budget=st.integers(1, 200), packed=st.booleans())
def test_micro_batches_hold_each_text_once_and_keep_the_budget(lengths, budget, packed):
    tokens = texts_of_lengths(lengths)
    parts = micro_batches(tokens, budget, packed)
    seen = [row for part in parts for row in part.rows.tolist()]
    assert sorted(seen) == list(range(len(lengths)))
    for part in parts:
        assert len(part.rows) == 1 or (part.tokens if packed else part.padded_tokens) <= budget
        pieces = np.split(part.values, np.cumsum(part.lengths)[:-1])
        for row, piece in zip(part.rows, pieces, strict=True):
            assert np.array_equal(piece, tokens.values[tokens.offsets[row] : tokens.offsets[row + 1]])


def test_a_text_without_tokens_is_refused_by_its_place():
    with pytest.raises(ValueError, match="text 1 has no tokens"):
        micro_batches(texts_of_lengths([2, 0]), 10, True)


def test_join_keeps_both():
    a, b = texts_of_lengths([2, 3]), texts_of_lengths([4], seed=1)
    both = join(a, b)
    assert both.lengths.tolist() == [2, 3, 4]
    assert both.values.tolist() == a.values.tolist() + b.values.tolist()


def test_random_weights_follow_from_the_seed_alone():
    def weights(seed):
        model = build_encoder(TINY, VOCABULARY, PAD, LENGTH, seed)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.manual_seed(99)
    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(before, torch.get_rng_state()), "the caller's generator is left alone"
    torch.manual_seed(7)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
    embeddings = build_encoder(TINY, VOCABULARY, PAD, LENGTH, 1).backbone.embeddings.word_embeddings.weight
    assert embeddings[1:].std().item() == pytest.approx(0.02, rel=0.1)  # BERT's


def bert_folder(path) -> str:
    config = BertConfig(**SHAPE, num_hidden_layers=2, max_position_embeddings=LENGTH, pad_token_id=PAD)
    BertForMaskedLM(config).save_pretrained(path)
    return str(path)


def test_pretrained_folder_keeps_its_weights_and_takes_the_dropout(tmp_path):
    folder = bert_folder(tmp_path)
    loaded = build_encoder(
        ModelConfig(folder, hidden_dropout=0.25, attention_dropout=0.25), VOCABULARY, PAD, LENGTH, 0
    )
    expected = BertForMaskedLM.from_pretrained(folder).bert.state_dict()
    for name, value in loaded.backbone.state_dict().items():
        assert torch.equal(value, expected[name])
    assert loaded.backbone.pooler is None
    assert loaded.packed
    assert {m.p for m in loaded.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


def test_backbone_that_cannot_be_packed_is_padded(tmp_path):
    config = MPNetConfig(**SHAPE, num_hidden_layers=1, max_position_embeddings=40, pad_token_id=1)
    MPNetModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    model = build_encoder(ModelConfig(str(tmp_path)), VOCABULARY, 1, 16, 0).eval()
    tokens = texts_of_lengths([9, 4, 1])
    assert not model.packed
    torch.testing.assert_close(model.encode(tokens, 100), one_by_one(model, tokens), rtol=0, atol=2e-6)


def test_what_cannot_be_loaded_is_said_in_one_sentence(tmp_path):
    with pytest.raises(RunError, match="missing: no such folder here, and the Hugging Face hub"):
        build_encoder(ModelConfig(str(tmp_path / "missing")), VOCABULARY, PAD, LENGTH, 0)
    folder = bert_folder(tmp_path / "bert")
    with pytest.raises(RunError, match=r"max_length is 129, but .* has 128 positions"):
        build_encoder(ModelConfig(folder), VOCABULARY, PAD, 129, 0)
    with pytest.raises(RunError, match=r"tokenizer has 51 entries, but .* knows 50"):
        build_encoder(ModelConfig(folder), 51, PAD, LENGTH, 0)
