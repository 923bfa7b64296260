"""Pooling against sentence-transformers' own module, from padded and from packed states."""

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling as Theirs

from gte_ray.model.pooling import pool_packed, pool_padded

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
