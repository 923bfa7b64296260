"""Every kind of backbone that is packed: as its padded self, in what comes out and in its gradients."""

from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from gte_ray.config import ModelConfig
from gte_ray.model.abilities import BACKBONES, PACKED
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder, load_model
from tests.model.folders import assert_same, bare_folder
from tests.model.test_encoder import texts_of_lengths

SHAPE = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 40, "max_position_embeddings": 80, "pad_token_id": 1}  # fmt: skip
DECODER = {"num_key_value_heads": 2, "use_cache": False, "bos_token_id": 2, "eos_token_id": 3}
WINDOW = {"sliding_window": 6}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("bert", "electra", "ernie", "roberta", "xlm-roberta", "camembert", "gte")},
    "albert": ("albert", {"embedding_size": 16}),
    "distilbert": ("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 40}),
    "nomic_bert": ("nomic_bert", {}),
    "jina_embeddings_v3": ("jina_embeddings_v3", {}),
    "eurobert": ("eurobert", DECODER),
    "modernbert": ("modernbert", {"local_attention": 12, "global_attn_every_n_layers": 2, "cls_token_id": 0,
                                  "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}),
    **{name: (name, DECODER) for name in ("qwen2", "qwen3", "llama", "phi3")},
    "gemma": ("gemma", DECODER | {"head_dim": 8}),
    "qwen2, looking both ways": ("qwen2", DECODER | {"is_causal": False}),
    "qwen3, looking both ways": ("qwen3", DECODER | {"is_causal": False, "head_dim": 8}),
    "qwen2 with a window": ("qwen2", DECODER | WINDOW | {"use_sliding_window": True, "max_window_layers": 1}),
    "mistral": ("mistral", DECODER | {"sliding_window": None}),
    "mistral with a window": ("mistral", DECODER | WINDOW),
    "gemma3_text": ("gemma3_text", DECODER | WINDOW | {"head_dim": 8, "sliding_window_pattern": 2}),
    "gemma3_text, looking both ways": ("gemma3_text", DECODER | {"sliding_window": 12, "head_dim": 8,
                                       "sliding_window_pattern": 2, "use_bidirectional_attention": True}),
}  # fmt: skip
"""Types of models, and what their tiny configs have besides SHAPE."""


def backbone_of(name: str) -> Any:
    kind, more = KINDS[name]
    torch.manual_seed(0)
    shape = CONFIG_MAPPING[kind](**SHAPE | more)
    if hasattr(shape, "use_cache"):
        shape.use_cache = False
    return AutoModel.from_config(shape).eval()


def test_every_packed_type_of_the_table_is_here():
    assert {kind for kind, _ in KINDS.values()} == {kind for kind, of in BACKBONES.items() if of.packed}


@pytest.mark.parametrize("name", KINDS)
def test_packed_and_padded_have_the_same_vectors_and_gradients(name):
    backbone = backbone_of(name)
    tokens = texts_of_lengths([9, 3, 40, 17, 1, 9])  # beyond each window
    found = []
    for packed in (True, False):
        encoder = Encoder(backbone, 1, packed)
        assert encoder.abilities.packed
        if not packed:
            backbone.set_attn_implementation("eager")
        backbone.zero_grad()
        vectors = torch.empty(len(tokens), 32)
        for batch in encoder.micro_batches(tokens, 1000):
            part = encoder(batch)
            (part @ torch.arange(32.0)).sum().backward()
            vectors[torch.from_numpy(batch.rows)] = part.detach()
        gradients = {k: p.grad.clone() for k, p in backbone.named_parameters() if p.grad is not None}
        found.append((vectors, gradients))
    (packed, gradients), (padded, expected) = found
    torch.testing.assert_close(packed, padded, rtol=0, atol=2e-5)
    assert (packed[0] - packed[1]).abs().max() > 1e-3  # not all the same
    assert gradients.keys() == expected.keys()
    scale = max(value.abs().max() for value in expected.values())
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-3, atol=2e-5 * float(scale), msg=key)


@pytest.mark.parametrize(
    ("kind", "more", "packed"),
    [
        ("bert", {}, True),
        ("gemma2", DECODER | {"head_dim": 8, "attn_logit_softcapping": 5.0}, False),
        ("mpnet", {"max_position_embeddings": 514}, False),
    ],
)
def test_what_turns_out_to_be_another_when_packed_is_padded_and_told(
    kind, more, packed, tmp_path, monkeypatch
):
    """Gemma 2 caps its logits and MPNet does not use transformers' interface; neither is in the table."""
    monkeypatch.setitem(BACKBONES, kind, PACKED)
    folder = bare_folder(tmp_path / "model", kind, **SHAPE | more | {"pad_token_id": 0})
    loaded, encoder = load_model(folder), build_encoder(ModelConfig(folder), 120, 0, 30, seed=0)
    assert encoder.packed == loaded.encoder.packed == packed
    assert any("is padded, slower than its kind usually is" in note for note in loaded.notes) != packed
    assert_same(folder)
