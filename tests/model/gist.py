"""sentence-transformers' loss with a guide (GISTEmbed), on given vectors."""

import torch
from sentence_transformers.sentence_transformer.losses import GISTEmbedLoss
from torch import Tensor


class Given(torch.nn.Module):
    """An embedding model whose vectors are a part of its input."""

    def __init__(self, part: str):
        super().__init__()
        self.part = part

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features[self.part]}


def gist(columns: list[Tensor], guides: list[Tensor], margin: float, positives: bool) -> Tensor:
    """The loss of sentence-transformers, whose margin has the other sign."""
    loss = GISTEmbedLoss.__new__(GISTEmbedLoss)
    torch.nn.Module.__init__(loss)
    loss.model, loss.guide = Given("model"), Given("guide")
    loss.temperature, loss.margin, loss.margin_strategy = 0.05, -margin, "absolute"
    loss.similarity_fct, loss.cross_entropy_loss = (
        torch.nn.CosineSimilarity(dim=-1),
        torch.nn.CrossEntropyLoss(),
    )
    loss.must_retokenize = loss.gather_across_devices = False
    loss.contrast_anchors, loss.contrast_positives = True, positives
    return loss([{"model": x, "guide": g} for x, g in zip(columns, guides, strict=True)], None)
