"""Training's two passes through small backbones of several types, packed against padded, on texts of mixed lengths.

python -m benchmarks.backbones [--threads 2]
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.loss import best_seconds
from gte_ray.data.batch import TokenLists
from gte_ray.model.encoder import Encoder

SHAPE = {"vocab_size": 8_000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
         "intermediate_size": 1_024, "max_position_embeddings": 514, "pad_token_id": 1}  # fmt: skip
DECODER = {"num_key_value_heads": 2, "use_cache": False, "bos_token_id": 2, "eos_token_id": 3}
KINDS = {
    "bert": {},
    "xlm-roberta": {},
    "modernbert": {"cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2},
    "qwen3": DECODER | {"head_dim": 64},
}
TEXTS, BUDGET_TOKENS = 256, 8_192


def texts() -> TokenLists:
    """Lengths as of real texts: many short ones, few long ones."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.4, 0.8, TEXTS), 4, 256).astype(np.int64)
    values = random.integers(3, SHAPE["vocab_size"], lengths.sum()).astype(np.int32)
    return TokenLists(values, np.concatenate([[0], np.cumsum(lengths)]))


def _passes(backbone: torch.nn.Module, packed: bool, tokens: TokenLists) -> Callable[[], None]:
    def run() -> None:
        encoder = Encoder(backbone, 1, packed).train()
        backbone.zero_grad()
        for batch in encoder.micro_batches(tokens, BUDGET_TOKENS):
            encoder(batch).sum().backward()

    return run


def measure(threads: int = 2, repeats: int = 5) -> list[dict[str, str]]:
    torch.set_num_threads(threads)
    tokens, rows = texts(), []
    for kind, more in KINDS.items():
        torch.manual_seed(0)
        backbone = AutoModel.from_config(CONFIG_MAPPING[kind](**SHAPE | more))
        packed, padded = (_passes(backbone, how, tokens) for how in (True, False))
        packed(), padded()
        fast, slow = best_seconds([packed, padded], repeats)
        count = len(tokens.values)
        rows.append(
            {
                "what": f"{kind}, 4 layers x 256, forward and backward, packed against padded",
                "figure": f"{slow / fast:.2f} x ({count / fast:,.0f} : {count / slow:,.0f} tokens/s)",
                "reach": "",
                "holds": "",
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    for row in measure(parser.parse_args().threads):
        print(f"{row['what']:75} {row['figure']}")
