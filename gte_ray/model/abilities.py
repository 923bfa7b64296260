"""Capabilities of each type of backbone. Add new types to `BACKBONES`.

A type missing from the table is loaded through transformers' auto class, and its texts are padded.
"""

from dataclasses import dataclass
from typing import Any

from transformers import MT5EncoderModel, T5EncoderModel, UMT5EncoderModel


@dataclass(frozen=True)
class Abilities:
    """Capabilities of one transformers `model_type`."""

    packed: bool = False
    """Whether texts are concatenated instead of padded. Requires attention to go through transformers'
    attention interface and positions to enter only through `position_ids`: MPNet does not qualify, because
    it adds relative positions inside attention."""
    after_padding_id: bool = False
    """Whether positions start after the padding id instead of at 0. Used only for packed texts."""
    causal: bool = False
    """Whether each token attends only to itself and earlier tokens. Used only for packed texts."""
    encoder: Any = None
    """Encoder class for an encoder-decoder; sentence-transformers also uses only the encoder."""


BACKBONES = {
    "bert": Abilities(packed=True),
    "roberta": Abilities(after_padding_id=True),
    "xlm-roberta": Abilities(after_padding_id=True),
    "camembert": Abilities(after_padding_id=True),
    "qwen2": Abilities(causal=True),
    "llama": Abilities(causal=True),
    "t5": Abilities(encoder=T5EncoderModel),
    "mt5": Abilities(encoder=MT5EncoderModel),
    "umt5": Abilities(encoder=UMT5EncoderModel),
}
"""By `model_type`. Positions and direction of the types that are not packed yet are tested by packing them; T5 and its
kin add relative positions inside the attention and cannot be packed."""


def abilities(model_type: str) -> Abilities:
    """Return the capabilities of a type of backbone; the defaults if it is not in the table."""
    return BACKBONES.get(model_type, Abilities())
