"""Set the dropout of any backbone: each type of model names its probabilities differently in config.json."""

import re
from typing import Any, NamedTuple

from gte_ray.errors import RunError

HIDDEN = (
    *("hidden_dropout_prob", "hidden_dropout"),  # BERT family, Funnel
    *("dropout", "activation_dropout"),  # DistilBERT, XLM, XLNet, BART family
    *("embedding_dropout", "mlp_dropout", "dropout_rate"),  # ModernBERT, T5
    *("embd_pdrop", "resid_pdrop"),  # GPT-2
    *("embed_dropout", "resid_dropout", "residual_dropout"),  # GPT-Neo, StarCoder2
)
"""Config fields with the dropout probability of hidden states."""
ATTENTION = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""Config fields with the dropout probability of attention weights. T5 and XLNet have none: their field of
hidden states serves both."""
OTHERS = re.compile(r"(classifier|summary|qa|seq_classif|pooler)_.*|.*layer_?drop|token_dropout")
"""Config fields to skip: those of task heads, which an encoder lacks, and dropout of layers or tokens."""


class Dropout(NamedTuple):
    """Dropout probabilities inside a backbone."""

    hidden: float
    attention: float


def attention_dropout(config: Any) -> float:
    """Return the largest dropout probability of attention weights in a transformers `config`."""
    fields = [*ATTENTION, *(() if any(hasattr(config, f) for f in ATTENTION) else HIDDEN)]
    return max((float(getattr(config, field, None) or 0) for field in fields), default=0.0)


def set_dropout(config: Any, name: str, dropout: Dropout) -> None:
    """Set the probabilities in a transformers `config`; error messages call the model `name`.

    Raises RunError if the config has a dropout that is not known, lacks one that should not be 0, or drops
    whole layers.
    """
    fields = {
        field: value
        for field, value in config.to_dict().items()
        if "drop" in field and not OTHERS.fullmatch(field) and isinstance(value, float | int)
    }
    flags = f"--hidden-dropout {dropout.hidden:g} and --attention-dropout {dropout.attention:g}"
    unknown = [field for field in fields if field not in HIDDEN + ATTENTION]
    if unknown:
        what = ", ".join(f"{field} = {fields[field]}" for field in unknown)
        raise RunError(
            f"{name}: its config.json has {what}, which {flags} cannot set; allowed are backbones whose dropout "
            f"is in {', '.join(HIDDEN + ATTENTION)}"
        )
    hidden, attention = ([field for field in known if field in fields] for known in (HIDDEN, ATTENTION))
    if hidden and not attention and dropout.hidden != dropout.attention:
        raise RunError(
            f"{name}: its config.json has one dropout for hidden states and attention, {hidden[0]}; {flags} have to "
            "be equal"
        )
    if (dropout.hidden and not hidden) or (dropout.attention and not (attention or hidden)):
        flag = "--attention-dropout" if hidden or not dropout.hidden else "--hidden-dropout"
        raise RunError(
            f"{name}: its config.json has no field that {flags} could set; allowed is {flag} 0 with this backbone"
        )
    for field in hidden:
        setattr(config, field, dropout.hidden)
    for field in attention:
        setattr(config, field, dropout.attention)
    dropped = [f for f in ("layerdrop", "encoder_layerdrop", "layer_drop") if getattr(config, f, 0)]
    if dropped:
        raise RunError(
            f"{name}: its config.json has {dropped[0]} = {getattr(config, dropped[0])}; allowed is 0"
        )
