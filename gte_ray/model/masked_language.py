"""Masked language modelling (BERT, 1810.04805): some tokens are hidden, and the states in their places say which they were.

Legend: T tokens of all texts, k hidden ones, D width of the backbone, V entries of the vocabulary.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import RunError
from gte_ray.model.encoder import Encoder
from gte_ray.model.microbatch import MicroBatch

HIDDEN, RANDOM = 0.8, 0.1
"""Of the chosen tokens, the share that becomes [MASK] and the share that becomes any other one; the rest stays."""


class MaskedLanguage(nn.Module):
    """An encoder's backbone with a head that names tokens; it shares the weights of their embeddings."""

    def __init__(self, encoder: Encoder, tokenizer: TextTokenizer, share: float, seed: int):
        """`share` of the tokens are chosen. Raises RunError if the vocabulary has no token for hidden ones."""
        super().__init__()
        mask_id = tokenizer.fast.token_to_id("[MASK]")
        if mask_id is None:
            raise RunError("the tokenizer has no [MASK], which stands for hidden tokens")
        self.encoder, self.tokenizer, self.share, self.mask_id = encoder, tokenizer, share, mask_id
        embeddings = encoder.backbone.get_input_embeddings()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = embeddings.embedding_dim
            self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(embeddings.num_embeddings))

    def forward(self, batch: MicroBatch, random: np.random.Generator) -> tuple[Tensor, int]:
        """Return the summed cross-entropy over the hidden tokens, and their number k; `random` chooses them."""
        places, values = self.hide(batch, random)
        states_kD = self.encoder.states(replace(batch, values=values))[torch.from_numpy(places)]
        logits_kV = F.linear(
            self.head(states_kD), self.encoder.backbone.get_input_embeddings().weight, self.bias
        )
        targets = torch.from_numpy(batch.values[places].astype(np.int64))
        return F.cross_entropy(logits_kV, targets, reduction="sum"), len(places)

    def hide(self, batch: MicroBatch, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return (k,) places of chosen tokens, and (T,) int32 tokens with what stands in these places.

        At least one is chosen if there is any beside the special tokens around a text.
        """
        starts = np.cumsum(batch.lengths) - batch.lengths
        within = np.arange(batch.tokens) - np.repeat(starts, batch.lengths)
        before, after = len(self.tokenizer.prefix), len(self.tokenizer.suffix)
        content = (within >= before) & (within < np.repeat(batch.lengths, batch.lengths) - after)
        candidates = np.nonzero(content)[0]
        drawn = random.random(len(candidates))
        places = candidates[drawn <= max(self.share, drawn.min(initial=1.0))]
        how, values = random.random(len(places)), batch.values.copy()
        values[places[how < HIDDEN]] = self.mask_id
        others = places[(how >= HIDDEN) & (how < HIDDEN + RANDOM)]
        values[others] = random.integers(0, self.tokenizer.largest_id + 1, len(others))
        return places, values
