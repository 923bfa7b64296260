"""Pooling against sentence-transformers' own module, from padded and from packed states."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as Theirs

from gte_ray.model.load import load_model
from gte_ray.model.pooling import pool_packed, pool_padded
from tests.model.folders import POOLING, TEXTS, bare_folder, edit, model_folder

NAMES = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
LENGTHS = np.array([7, 4, 4, 1])


@pytest.mark.parametrize("pooling", NAMES)
def test_both_ways_give_what_sentence_transformers_gives(pooling):
    generator = torch.Generator().manual_seed(1)
    padded = torch.randn(len(LENGTHS), LENGTHS.max(), 5, generator=generator)
    real = torch.arange(LENGTHS.max()) < torch.from_numpy(LENGTHS)[:, None]
    theirs = Theirs(5, NAMES[pooling])
    expected = theirs({"token_embeddings": padded, "attention_mask": real.long()})["sentence_embedding"]
    torch.testing.assert_close(pool_padded(padded, LENGTHS, pooling), expected)
    torch.testing.assert_close(pool_packed(padded[real], LENGTHS, pooling), expected)
    flat = {
        "token_embeddings": padded[real][None],
        "cu_seq_lens_q": torch.from_numpy(np.cumsum([0, *LENGTHS])),
    }
    torch.testing.assert_close(theirs(flat)["sentence_embedding"], expected)


@pytest.mark.parametrize("pooling", NAMES)
def test_padding_has_no_gradient_and_both_ways_have_the_same(pooling):
    padded = torch.randn(len(LENGTHS), LENGTHS.max(), 5, requires_grad=True)
    real = torch.arange(LENGTHS.max()) < torch.from_numpy(LENGTHS)[:, None]
    weights = torch.arange(20.0).view(4, 5)
    (pool_padded(padded, LENGTHS, pooling) * weights).sum().backward()
    packed = padded.detach()[real].requires_grad_()
    (pool_packed(packed, LENGTHS, pooling) * weights).sum().backward()
    assert padded.grad is not None and packed.grad is not None
    assert not padded.grad[~real].any()
    torch.testing.assert_close(padded.grad[real], packed.grad)


@pytest.mark.parametrize("pooling", NAMES)
@pytest.mark.parametrize("prompts", [{"query": "river stone ", "document": "cloud "}, {"query": "a river "}])
def test_prompts_that_are_not_pooled_are_those_of_sentence_transformers(pooling, prompts, tmp_path):
    """The special tokens in front of them are left out with them, those of a text without a prompt are not."""
    bare = bare_folder(tmp_path / "bare")
    own = model_folder(bare, tmp_path / "own", NAMES[pooling], prompts=prompts)
    pooled = load_model(own)
    edit(own, POOLING, include_prompt=False)
    ours, theirs = load_model(own), SentenceTransformer(own, device="cpu")
    texts = [*TEXTS, "", "river"]
    for find, expected in (
        (ours.queries, theirs.encode_query(texts)),
        (ours.documents, theirs.encode_document(texts)),
        (ours.embed, theirs.encode(texts)),
    ):
        assert np.abs(find(texts, 50) - expected).max() <= 1e-5
    ours.encoder.never_pack()
    assert np.abs(ours.queries(texts, 50) - theirs.encode_query(texts)).max() <= 1e-5
    same = np.abs(ours.queries(texts, 50) - pooled.queries(texts, 50)).max() <= 1e-5
    assert same == (pooling == "last")


def test_gradients_of_what_is_skipped_are_none_in_both_ways():
    skipped = np.array([2, 0, 3, 0])
    for pooling in NAMES:
        padded = torch.randn(len(LENGTHS), LENGTHS.max(), 5, requires_grad=True)
        real = torch.arange(LENGTHS.max()) < torch.from_numpy(LENGTHS)[:, None]
        weights = torch.arange(20.0).view(4, 5) + 1
        (pool_padded(padded, LENGTHS, pooling, skipped) * weights).sum().backward()
        packed = padded.detach()[real].requires_grad_()
        (pool_packed(packed, LENGTHS, pooling, skipped) * weights).sum().backward()
        torch.testing.assert_close(padded.grad[real], packed.grad)
        assert not padded.grad[0, :2].any() and not padded.grad[2, :3].any()
        assert padded.grad[0, 2:].any() and padded.grad[1].any()
