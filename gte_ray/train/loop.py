"""The loop of each worker: batches in, steps, checkpoints out. The same for any number of workers."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import CheckpointUploadMode
from ray.train.torch import get_device

from gte_ray.config import Config, OutputConfig
from gte_ray.data.read import StreamConfig
from gte_ray.data.stream import Batches
from gte_ray.data.tokenize import TextTokenizer
from gte_ray.errors import LOWER_IN_TRAINING, RunError, explain, is_out_of_memory
from gte_ray.model.guide import load_guide
from gte_ray.model.load import build_encoder
from gte_ray.model.weights_file import WEIGHTS_FILE, kept_weights
from gte_ray.runtime import storage
from gte_ray.train.checkpoints import STATE_FILE
from gte_ray.train.engine import Engine
from gte_ray.train.machine import Readings
from gte_ray.train.mailbox import Reporter
from gte_ray.train.preemption import Notices
from gte_ray.train.step import TrainingDiverged, train_step
from gte_ray.train.step_report import Outcome


def train(
    config: Config, stream: StreamConfig, batches: Batches, mailbox: Any, verbose: bool = False
) -> Outcome:
    """Train on `batches` from the last checkpoint to the last step; report each step to `mailbox` (an actor).

    Raises OutOfMemory if a step needs more memory than there is.
    """
    try:
        return _train(config, stream, batches, mailbox, verbose)
    except Exception as error:
        if is_out_of_memory(error):
            raise explain(error, LOWER_IN_TRAINING) from error
        raise


def _train(config: Config, stream: StreamConfig, batches: Batches, mailbox: Any, verbose: bool) -> Outcome:
    torch.set_num_threads(config.hardware.threads)
    engine = _build_engine(config, stream.tokenizer, ray.train.get_checkpoint(), verbose)
    guide, rank = load_guide(config, engine.device), ray.train.get_context().get_world_rank()
    reporter = Reporter(mailbox, rank, Readings(rank, engine.device))
    notices, step = Notices(engine.device), batches.start - 1
    try:
        for batch in batches:
            metrics = train_step(engine, batch, config, guide)
            step = batch.step
            reporter.add(step, batch.source, batches.waited, metrics)
            due = (step + 1) % config.run.checkpoint_every == 0 or step + 1 == stream.steps
            if notices.new() or due:
                reporter.flush()
                _checkpoint(engine, step, config.run, step + 1 == stream.steps)
    except TrainingDiverged as error:
        # All ranks see the same loss, so all return: a restart would only diverge again.
        reporter.flush()
        return Outcome(step, str(error))
    return Outcome(step)


def _build_engine(
    config: Config, tokenizer: TextTokenizer, checkpoint: ray.train.Checkpoint | None, verbose: bool
) -> Engine:
    encoder = build_encoder(
        config.model, tokenizer.vocab_size, tokenizer.pad_id, config.data.max_length, config.seed
    )
    engine = Engine(encoder, config, get_device(), verbose)
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            engine.load(folder)
    return engine


def _checkpoint(engine: Engine, step: int, run: OutputConfig, last: bool) -> None:
    # Ray uploads the folder while training continues, then removes it.
    folder = tempfile.mkdtemp(prefix=f"gte_ray-step-{step}-")
    try:
        engine.save(folder)
        if ray.train.get_context().get_world_rank() == 0:
            (Path(folder) / STATE_FILE).write_text(json.dumps({"step": step}))
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RunError(f"checkpoint of step {step} could not be written to {folder}: {error}") from error
    every = run.eval.every
    # The last weights are scored as the model that is exported.
    if ray.train.get_context().get_world_rank() == 0 and every and (step + 1) % every == 0 and not last:
        _keep_weights(folder, step + 1, run)
    ray.train.report(
        {"step": step},  # a restart streams from the next step
        checkpoint=ray.train.Checkpoint.from_directory(folder),
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
    )


def _keep_weights(folder: str, steps: int, run: OutputConfig) -> None:
    """Copy the weights of the checkpoint in `folder` to where they wait to be scored during training."""
    path = kept_weights(storage.join(run.output, run.name), steps)
    try:
        storage.upload_file(str(Path(folder) / WEIGHTS_FILE), path)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RunError(f"weights after {steps} steps could not be written to {path}: {error}") from error
