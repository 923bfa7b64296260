"""Score a run's weights on held-out pairs: its initial weights, its checkpoints, its final weights."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray.train
import torch

from gte_ray.config import Config
from gte_ray.data.store import open_store
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.evaluation.heldout import Embed, SourceScores, evaluate, evaluate_bm25, evaluate_first
from gte_ray.evaluation.scores import Scores
from gte_ray.evaluation.seen import seen
from gte_ray.model.encoder import Encoder
from gte_ray.model.load import build_encoder
from gte_ray.model.weights_file import WEIGHTS_FILE, load_weights
from gte_ray.runtime import storage


def score_run(
    encoder: Encoder,
    tokenizer: TextTokenizer,
    checkpoint: ray.train.Checkpoint,
    config: Config,
    trained: Sequence[str],
) -> Scores:
    """Score the model before training and after it.

    `encoder` has the weights before training, and on return those of `checkpoint`. `trained` names the sources
    of the training.
    """
    store, limit = open_store(config.data.store, check=False), config.run.eval_limit
    embed = embedders(encoder, tokenizer, config)
    before = evaluate(store, embed.queries, limit, embed.documents)
    load_checkpoint(encoder, checkpoint)
    dimensions = [k for k, _ in config.objective.levels] or [encoder.dimensions]
    after, *first = evaluate_first(store, embed.queries, limit, embed.documents, dimensions).items()
    shares = seen(store, [row.source for row in after[1]], trained, limit)
    return Scores(before, after[1], evaluate_bm25(store, limit), seen=shares, dimensions=tuple(first))


def load_checkpoint(encoder: Encoder, *checkpoints: ray.train.Checkpoint) -> None:
    """Load the weights of a checkpoint, of several their mean."""
    with ExitStack() as stack:
        folders = [stack.enter_context(checkpoint.as_directory()) for checkpoint in checkpoints]
        load_weights(encoder, *(str(Path(folder) / WEIGHTS_FILE) for folder in folders))


def score_weights(
    config: Config, tokenizer: TextTokenizer, weights: str, gpu: bool
) -> tuple[SourceScores, ...]:
    """Score the weights file that training left at `weights` on held-out pairs, on one CPU or GPU."""
    encoder = first_encoder(config, tokenizer, gpu, threads=1)
    with local_copy(weights) as path:
        load_weights(encoder, path)
    store = open_store(config.data.store, check=False)
    embed = embedders(encoder, tokenizer, config)
    return evaluate(store, embed.queries, config.run.eval_limit, embed.documents)


def first_encoder(config: Config, tokenizer: TextTokenizer, gpu: bool, threads: int) -> Encoder:
    """Return the model that training starts from."""
    torch.set_num_threads(threads)
    encoder = build_encoder(
        config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    half = gpu and config.training.precision != "fp32"
    encoder = encoder.to("cuda" if gpu else "cpu", torch.float16 if half else None).eval()
    encoder.choose_attention(encoder.device, half)
    return encoder


class Embedders(NamedTuple):
    """Functions from n texts to (n, D) float32 vectors of length 1."""

    queries: Embed
    documents: Embed


def embedders(encoder: Encoder, tokenizer: TextTokenizer, config: Config) -> Embedders:
    """Return the functions of a run's encoder, with its training prompts and its micro-batch size."""

    def embed(prompt: str, texts: list[str]) -> np.ndarray:
        tokens = tokenizer.encode(texts, config.data.max_length, prompt)
        return encoder.encode(tokens, config.hardware.micro_batch_tokens).cpu().numpy()

    prompts = tokenizer.prompts
    return Embedders(partial(embed, prompts.query), partial(embed, prompts.document))


@contextmanager
def local_copy(uri: str) -> Iterator[str]:
    """Yield a local path of the file at `uri`, from a temporary copy if it is not on this machine."""
    if "://" not in uri:
        yield uri
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / storage.name(uri))
        storage.download_file(uri, path)
        yield path
