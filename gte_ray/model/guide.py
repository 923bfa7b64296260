"""A guide (GISTEmbed, 2402.16829): another model that says which candidates of a pair are likely relevant.

It sees the texts in its own tokens and with its own prompts. Nothing of it is trained, and it drops nothing, so that its
vectors of a text are the same on any rank, up to rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gte_ray.config import Config
from gte_ray.data.batch import PairBatch
from gte_ray.model.load import load_model
from gte_ray.model.microbatch import join

HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


class GuideModel:
    """An embedding model for the texts of a step, on `device`; in half precision on a GPU where the run is."""

    def __init__(self, config: Config, device: torch.device):
        """Raises RunError if the model cannot be loaded."""
        half = HALF.get(config.training.precision) if device.type == "cuda" else None
        encoder = (
            load_model(config.objective.guide, str(device)).encoder.requires_grad_(False).to(device, half)
        )
        encoder.choose_attention(device, half is not None)
        self._encoder, self._budget = encoder, config.hardware.micro_batch_tokens

    def __call__(self, batch: PairBatch) -> Tensor:
        """Return (texts, G) unit vectors on the device: of queries, documents and hard negatives, in this order."""
        texts = join(*batch.for_guide)
        return F.normalize(self._encoder.encode(texts, self._budget, self._encoder.device), dim=-1)


def load_guide(config: Config, device: torch.device) -> GuideModel | None:
    """Return the guide of a run; None for a run without one."""
    return GuideModel(config, device) if config.objective.guide else None
