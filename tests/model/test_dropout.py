"""Dropout is that of the whole backbone, whatever its config calls it, or is refused."""

import pytest
import torch

from gte_ray.config import ModelConfig
from gte_ray.errors import RunError
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder
from tests.model.folders import SIZES, T5, XLNET, bare_folder, edit
from tests.model.test_encoder import texts_of_lengths

SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
XLM = {"vocab_size": 300, "emb_dim": 24, "n_layers": 2, "n_heads": 2, "pad_index": 0}
KINDS = {
    "bert": SIZES,
    "roberta": SIZES,
    "mpnet": SIZES,
    "deberta-v2": SIZES,
    "electra": SIZES,
    "albert": SIZES,
    "nomic_bert": SIZES,
    "gte": SIZES,
    "modernbert": SIZES | SPECIAL,
    "distilbert": {"vocab_size": 300, "dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "t5": T5,
    "xlnet": XLNET,
    "xlm": XLM,
    "gpt2": {"vocab_size": 300, "n_embd": 24, "n_layer": 2, "n_head": 2},
}
FIELDS = {  # of hidden states and of attention, as their configs have them, heads left out
    "bert": (("hidden_dropout_prob",), ("attention_probs_dropout_prob",)),
    "modernbert": (("embedding_dropout", "mlp_dropout"), ("attention_dropout",)),
    "distilbert": (("dropout",), ("attention_dropout",)),
    "gpt2": (("resid_pdrop", "embd_pdrop"), ("attn_pdrop",)),
    "xlm": (("dropout",), ("attention_dropout",)),
}
ONE_FOR_BOTH = ("t5", "xlnet")


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    """A model whose own dropouts are what its config's class has as defaults."""
    return request.param, bare_folder(
        tmp_path_factory.mktemp("dropout"), request.param, **KINDS[request.param]
    )


def built(folder: str, hidden: float, attention: float | None = None) -> Encoder:
    attention = hidden if attention is None else attention
    config = ModelConfig(folder, hidden_dropout=hidden, attention_dropout=attention)
    return build_encoder(config, 120, 0, 16, seed=0)


def test_no_dropout_is_none(folder):
    encoder = built(folder[1], 0.0).train()
    (batch,) = encoder.micro_batches(texts_of_lengths([12, 12]), 100)
    torch.testing.assert_close(encoder(batch), encoder.eval()(batch))


def test_dropout_reaches_every_layer_of_the_backbone(folder):
    encoder = built(folder[1], 0.25).train()
    (batch,) = encoder.micro_batches(texts_of_lengths([12, 12]), 100)
    assert not torch.allclose(encoder(batch), encoder(batch))
    found = {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert found <= {0.25}


def test_hidden_states_and_attention_each_have_their_own(folder):
    kind, path = folder
    if kind in ONE_FOR_BOTH:
        with pytest.raises(
            RunError, match=r"has one dropout .*; --hidden-dropout 0.25 and --attention-dropout 0.5 "
        ):
            built(path, 0.25, 0.5)
        return
    found = built(path, 0.25, 0.5).backbone.config
    for fields, value in zip(FIELDS.get(kind, ()), (0.25, 0.5), strict=False):
        assert {getattr(found, field) for field in fields} == {value}
    for hidden, attention in ((0.5, 0.0), (0.0, 0.5)):
        encoder = built(path, hidden, attention).train()
        (batch,) = encoder.micro_batches(texts_of_lengths([12, 12]), 100)
        assert not torch.allclose(encoder(batch), encoder(batch))


def test_evaluation_leaves_the_config_as_it_is(tmp_path):
    from gte_ray.model.load import load_model

    folder = bare_folder(tmp_path, "t5", **T5, dropout_rate=0.05)
    assert load_model(folder).encoder.backbone.config.dropout_rate == 0.05


def test_dropout_that_cannot_be_set_is_refused_by_name(tmp_path):
    folder = bare_folder(tmp_path / "a")
    edit(folder, "config.json", drop_path_rate=0.2)
    with pytest.raises(
        RunError, match=r"config.json has drop_path_rate = 0.2, which --hidden-dropout 0.1 and .* cannot set"
    ):
        built(folder, 0.1)
    folder = bare_folder(tmp_path / "b", "opt", vocab_size=300, hidden_size=24, num_hidden_layers=1, ffn_dim=32,
                         num_attention_heads=2, word_embed_proj_dim=24, layerdrop=0.1, pad_token_id=0)  # fmt: skip
    with pytest.raises(RunError, match=r"config.json has layerdrop = 0.1; allowed is 0"):
        built(folder, 0.1)
    folder = bare_folder(tmp_path / "c", "lfm2", vocab_size=300, hidden_size=24, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1, intermediate_size=32, pad_token_id=0)  # fmt: skip
    with pytest.raises(RunError, match=r"no field that .* could set; allowed is --hidden-dropout 0 with"):
        built(folder, 0.1)
    assert built(folder, 0.0)


def test_a_decoder_without_dropout_of_hidden_states_has_that_of_attention(tmp_path):
    folder = bare_folder(tmp_path, "llama", vocab_size=300, hidden_size=24, num_hidden_layers=1,
                         num_attention_heads=2, intermediate_size=32, pad_token_id=0)  # fmt: skip
    assert built(folder, 0.0, 0.1).backbone.config.attention_dropout == 0.1
    with pytest.raises(RunError, match=r"allowed is --hidden-dropout 0 with this backbone"):
        built(folder, 0.1)
