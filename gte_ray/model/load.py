"""Any embedding model as texts in, vectors out: our folders, sentence-transformers', a bare transformers encoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import numpy as np
import torch

from gte_ray import storage
from gte_ray.config import ModelConfig
from gte_ray.data.tokenize import TextTokenizer, load_tokenizer
from gte_ray.errors import RunError
from gte_ray.model.encoder import Encoder, Pooling, build_encoder

FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Files of a model on the hub that are needed; never code."""
COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Backbones whose first position comes after that of the padding token."""
LONGEST = 1_000_000
"""Tokens from which a tokenizer's longest text means that it names none."""
UNNAMED_LENGTH = 512
"""Longest text in tokens of a model that does not name its own."""


@dataclass(frozen=True)
class TextModel:
    """An embedding model in evaluation mode."""

    name: str
    encoder: Encoder
    tokenizer: TextTokenizer
    max_length: int
    """Tokens of a text, special tokens included; the rest is cut off."""
    prompts: dict[str, str]
    """What the model's authors put in front of texts of a kind, such as `query`; empty for most."""

    def embed(self, texts: Sequence[str], budget_tokens: int, prompt: str = "") -> np.ndarray:
        """(n, D) float32 in the order of `texts`, each with `prompt` in front, in micro-batches of the budget."""
        tokens = self.tokenizer.encode(
            [prompt + text for text in texts] if prompt else texts, self.max_length
        )
        return self.encoder.encode(tokens, budget_tokens).numpy()


def load_model(name: str, device: str = "cpu", half: bool = False) -> TextModel:
    """The model of a folder, a folder at a URI, or a Hugging Face id; RunError in one sentence where it fails.

    `half` computes in fp16. A model that needs more than pooling and normalisation behind a transformers
    encoder is refused.
    """
    with _folder(name) as folder:
        pooling, normalize = _pooling(folder, name)
        settings = _read(folder, "sentence_bert_config.json")
        tokenizer = load_tokenizer(str(folder))
        max_length = settings.get("max_seq_length") or _longest(folder)
        model = ModelConfig(base=str(folder))
        encoder = build_encoder(model, tokenizer.vocab_size, tokenizer.pad_id, max_length, seed=0)
        prompts = _read(folder, "config_sentence_transformers.json").get("prompts") or {}
    encoder.pooling, encoder.normalize = pooling, normalize
    encoder = encoder.to(device, torch.float16 if half else None).eval()
    return TextModel(name, encoder, tokenizer, max_length, {k: v for k, v in prompts.items() if v})


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    if "://" in name or Path(name).is_dir():
        with storage.local_folder(name) as folder:
            yield Path(folder)
        return
    try:
        yield Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{name}: no such folder here, and the Hugging Face hub gives no such model "
            f"({str(error).splitlines()[0]}); a folder, a folder at a URI, or an id that HF_HOME holds or "
            "the hub can be reached for is allowed"
        ) from error


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return storage.read_json(str(path)) if path.is_file() else {}


def _longest(folder: Path) -> int:
    """The shorter of what the tokenizer and the positions of the backbone allow."""
    shape = _read(folder, "config.json")
    positions = shape.get("max_position_embeddings") or LONGEST
    if shape.get("model_type") in COUNT_FROM_PADDING:
        positions -= 1 + (shape.get("pad_token_id") or 0)
    named = _read(folder, "tokenizer_config.json").get("model_max_length") or LONGEST
    longest = int(min(positions, named))
    return longest if longest < LONGEST else UNNAMED_LENGTH


def _pooling(folder: Path, name: str) -> tuple[Pooling, bool]:
    """How the folder's modules pool, and whether they normalise: mean and no for a bare encoder."""
    if not (folder / "modules.json").is_file():
        return "mean", False
    modules = storage.read_json(str(folder / "modules.json"))
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise RunError(
            f"{name}: is made of {', '.join(kinds)}; allowed are Transformer, Pooling and, after them, Normalize"
        )
    settings = _read(folder / modules[1]["path"], "config.json")
    modes = [key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
             for key, value in settings.items() if key.startswith("pooling_mode_") and value]  # fmt: skip
    mode = settings.get("pooling_mode") or "+".join(modes)
    if mode not in ("mean", "cls"):
        raise RunError(f"{name}: pools by {mode!r}; allowed are mean and cls")
    return cast(Pooling, mode), len(kinds) == 3
