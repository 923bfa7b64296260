"""What ends a run: the model exported, and scored on held-out pairs before and after training."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import ray.train
import torch

from gte_ray import storage
from gte_ray.config import Config
from gte_ray.data.store import open_store
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.evaluation.bm25 import evaluate_bm25
from gte_ray.evaluation.heldout import evaluate
from gte_ray.evaluation.scores import Scores
from gte_ray.export import ModelCard, export_model
from gte_ray.model.encoder import Encoder, build_encoder
from gte_ray.train.checkpoints import kept_weights
from gte_ray.train.state import WEIGHTS_FILE, load_weights


def evaluate_and_export(
    config: Config,
    tokenizer: TextTokenizer,
    checkpoint: ray.train.Checkpoint,
    model_folder: str,
    card: ModelCard,
) -> Scores:
    """Scores the model of `checkpoint` and the one that training began with, and writes `model_folder`."""
    torch.set_num_threads(config.hardware.threads)
    device = torch.device("cuda" if config.hardware.gpu else "cpu")
    encoder = build_encoder(
        config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    encoder.to(device).eval()
    store, limit = open_store(config.data.store), config.run.eval_limit
    embed = embedder(encoder, tokenizer, config)
    before = evaluate(store, embed, limit)
    steps = []
    for step in scored_steps(config):
        with local_copy(kept_weights(storage.join(config.run.output, config.run.name), step)) as path:
            load_weights(encoder, path)
        steps.append((step, evaluate(store, embed, limit)))
    with checkpoint.as_directory() as folder:
        load_weights(encoder, str(Path(folder) / WEIGHTS_FILE))
    after = evaluate(store, embed, limit)
    scores = Scores(before, after, evaluate_bm25(store, limit), tuple(steps))
    card = replace(card, before=scores.before, after=scores.after, bm25=scores.bm25)
    with tempfile.TemporaryDirectory() as scratch:
        local = str(Path(scratch) / "model") if "://" in model_folder else model_folder
        export_model(encoder, tokenizer, local, card)
        if local != model_folder:
            storage.upload(local, model_folder)
    return scores


def embedder(encoder: Encoder, tokenizer: TextTokenizer, config: Config) -> Callable[[list[str]], np.ndarray]:
    """Texts to (n, D) float32 vectors of length 1, in micro-batches of the run's size."""

    def embed(texts: list[str]) -> np.ndarray:
        tokens = tokenizer.encode(texts, config.data.max_length)
        return encoder.encode(tokens, config.hardware.micro_batch_tokens).cpu().numpy()

    return embed


def scored_steps(config: Config) -> range:
    """Numbers of steps, before the last, after which the model is scored too."""
    every = config.run.eval_every
    return range(every, config.training.steps, every) if every else range(0)


@contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """A path of the file at `uri`, which is copied where it is not on this machine."""
    if "://" not in uri:
        yield uri
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / storage.name(uri))
        storage.download_file(uri, path)
        yield path
