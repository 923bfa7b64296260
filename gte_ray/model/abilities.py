"""What each kind of backbone can do: the table that a new kind is added to.

A kind that is not in the table is loaded by transformers' automatic class, and its texts are padded.
"""

from dataclasses import dataclass
from typing import Any

from transformers import MT5EncoderModel, T5EncoderModel, UMT5EncoderModel


@dataclass(frozen=True)
class Abilities:
    """Facts of one `model_type` of transformers."""

    packed: bool = False
    """Whether texts lie one after another, without padding. Then attention has to go through transformers'
    interface, and positions have to enter through `position_ids` alone: MPNet adds relative ones inside the
    attention."""
    after_padding_id: bool = False
    """Whether positions count from the padding id on; otherwise from 0. Used where texts are packed."""
    causal: bool = False
    """Whether a token sees only itself and what is before it. Used where texts are packed."""
    encoder: Any = None
    """The class of the encoder, of an encoder-decoder of which sentence-transformers, too, takes that half alone."""


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
"""By `model_type`. Those that are not packed yet were tried packed, and give what they give padded."""


def abilities(model_type: str) -> Abilities:
    """What is known of a kind of backbone."""
    return BACKBONES.get(model_type, Abilities())
