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
    it adds relative positions inside attention. Which tokens a token attends to, all, earlier ones or those of a
    window, is the layer's to say."""
    after_padding_id: bool = False
    """Whether positions start after the padding id instead of at 0. Used only for packed texts."""
    encoder: Any = None
    """Encoder class for an encoder-decoder; sentence-transformers also uses only the encoder."""


PACKED = Abilities(packed=True)
AFTER_PADDING_ID = Abilities(packed=True, after_padding_id=True)
BACKBONES = {
    **dict.fromkeys(("bert", "electra", "ernie", "albert", "distilbert"), PACKED),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), AFTER_PADDING_ID),
    **dict.fromkeys(("gte", "nomic_bert", "jina_embeddings_v3", "eurobert", "modernbert"), PACKED),
    **dict.fromkeys(("qwen2", "qwen3", "llama", "mistral", "phi3", "gemma", "gemma3_text"), PACKED),
    "t5": Abilities(encoder=T5EncoderModel),
    "mt5": Abilities(encoder=MT5EncoderModel),
    "umt5": Abilities(encoder=UMT5EncoderModel),
}
"""By `model_type`. T5 and its kin add relative positions inside the attention, and Gemma 2 caps its logits, which no
packed kernel does."""


def abilities(model_type: str) -> Abilities:
    """Return the capabilities of a type of backbone; the defaults if it is not in the table."""
    return BACKBONES.get(model_type, Abilities())
