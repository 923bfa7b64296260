"""A language model of hidden tokens: which are hidden, the loss by hand, and what is learned."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gte_ray.data.tokenize import load_tokenizer
from gte_ray.errors import RunError
from gte_ray.model.load import build_encoder
from gte_ray.model.masked_language import MaskedLanguage
from gte_ray.model.microbatch import micro_batches
from tests.model.folders import TEXTS, bare_folder, cased_tokenizer
from tests.train.runs import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(bare_folder(tmp_path_factory.mktemp("bare")))


def model_of(tokenizer, share: float = 0.3) -> MaskedLanguage:
    encoder = build_encoder(tiny().model, tokenizer.vocab_size, tokenizer.pad_id, 64, seed=1)
    return MaskedLanguage(encoder, tokenizer, share, seed=2)


def batch_of(tokenizer, texts=TEXTS):
    (batch,) = micro_batches(tokenizer.encode(texts, 40), 1_000_000, packed=True)
    return batch


def test_the_shares_of_what_is_hidden_and_the_special_tokens_stay(tokenizer):
    model, batch = model_of(tokenizer), batch_of(tokenizer, [text * 3 for text in TEXTS] * 200)
    places, values = model.hide(batch, np.random.default_rng(0))
    starts = np.cumsum(batch.lengths) - batch.lengths
    special = {*starts.tolist(), *(starts + batch.lengths - 1).tolist()}
    assert not special & set(places.tolist()) and len(set(places.tolist())) == len(places)
    assert len(places) / (batch.tokens - len(special)) == pytest.approx(0.3, abs=0.02)
    kept = np.ones(batch.tokens, dtype=bool)
    kept[places] = False
    assert np.array_equal(values[kept], batch.values[kept])
    hidden, same = values[places] == model.mask_id, values[places] == batch.values[places]
    assert hidden.mean() == pytest.approx(0.8, abs=0.02)
    assert (~hidden & ~same).mean() == pytest.approx(0.1, abs=0.02)
    assert values.max() <= tokenizer.largest_id


def test_one_token_is_hidden_at_least(tokenizer):
    model = model_of(tokenizer, share=0.0)
    for seed in range(20):
        places, _ = model.hide(batch_of(tokenizer, ["stone"]), np.random.default_rng(seed))
        assert places.tolist() == [1]
    nothing = batch_of(tokenizer, ["", " "])
    assert len(model.hide(nothing, np.random.default_rng(0))[0]) == 0
    loss, count = model(nothing, np.random.default_rng(0))
    assert (loss.item(), count) == (0.0, 0)


def test_the_loss_is_that_of_the_padded_backbone_and_a_tied_head(tokenizer):
    model, batch = model_of(tokenizer), batch_of(tokenizer)
    found, count = model(batch, np.random.default_rng(3))
    places, values = model.hide(batch, np.random.default_rng(3))
    assert count == len(places) > 10
    backbone = model.encoder.backbone
    embeddings = backbone.get_input_embeddings().weight
    backbone.set_attn_implementation("eager")
    total = torch.zeros(())
    starts = np.cumsum(batch.lengths) - batch.lengths
    for start, length in zip(starts, batch.lengths, strict=True):
        ids = torch.from_numpy(values[start : start + length].astype(np.int64))[None]
        states = backbone(input_ids=ids).last_hidden_state[0]
        for place in places[(places >= start) & (places < start + length)]:
            logits = model.head(states[place - start]) @ embeddings.T + model.bias
            total = total - F.log_softmax(logits, 0)[int(batch.values[place])]
    assert found.item() == pytest.approx(total.item(), rel=1e-5)
    gradient, expected = (torch.autograd.grad(loss, embeddings)[0] for loss in (found, total))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_vocabulary_without_a_token_for_hidden_ones_is_told(tmp_path):
    folder = bare_folder(tmp_path / "bytes")
    cased_tokenizer(tmp_path / "bytes")
    with pytest.raises(RunError, match=r"the tokenizer has no \[MASK\]"):
        model_of(load_tokenizer(folder))
