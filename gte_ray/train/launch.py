"""The driver's half of training: start the workers and follow their progress."""

import functools
import os
from collections.abc import Callable
from typing import Any

import ray
import ray.data
import ray.train
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import WorkerGroupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gte_ray.config import Config
from gte_ray.data.read import StreamConfig
from gte_ray.data.stream import Batches, PlanDataConfig, placeholders
from gte_ray.errors import LOWER_IN_TRAINING, cause_of, explain
from gte_ray.runtime import storage
from gte_ray.runtime.imports import without_collector
from gte_ray.runtime.reservation import renew
from gte_ray.train.checkpoints import CHECKPOINTS, delete_orphans, next_step, step_after
from gte_ray.train.mailbox import Follower, Mailbox
from gte_ray.train.placement import Placement, free_placement, note_placement
from gte_ray.train.restarts import Restarts
from gte_ray.train.step_report import Outcome, StepReport

# `ray.train.report` returns at the controller's next poll; the default of 2 s would stall short runs.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")

FAILED = "training failed: {}"
START_SECONDS = 20
"""After losing workers, an elastic run waits this long for as many as before, then continues with fewer."""
RESIZE_SECONDS = 30.0
"""Time between two checks for room for more workers."""


def fit(
    config: Config,
    stream: StreamConfig,
    run_folder: str,
    on_reports: Callable[[list[StepReport]], None],
    verbose: bool = False,
) -> Outcome:
    """Train from the run's last checkpoint to its last step, recovering from lost workers and nodes.

    `on_reports` is called from another thread, in step order. `verbose` enables DeepSpeed's logs in the
    workers. Raises RunError if workers fail more than `run.max_failures` times under one controller, or if
    controllers do.
    """
    ray.data.DataContext.get_current().enable_progress_bars = False
    # On the driver's node, so that losing another node does not end the actors; and not in the placement
    # group of a Ray Tune trial, which has no room for them.
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox, placement = (
        ray.remote(num_cpus=0, scheduling_strategy=this_node)(kind).remote() for kind in (Mailbox, Placement)
    )
    lost: Exception = RuntimeError("nothing was tried")
    with Follower(mailbox, on_reports):
        for _ in range(config.run.max_failures + 1):
            delete_orphans(run_folder)
            loop = functools.partial(_train, config, stream, mailbox, placement, verbose)
            trainer = _trainer(config, stream, run_folder, loop)
            renew(run_folder, trainer.train_run_context.run_id)
            try:
                return trainer.fit().return_value
            except Exception as error:
                if not _controller_was_lost(error):
                    raise explain(error, LOWER_IN_TRAINING, FAILED) from error
                lost = error
            _free(placement)
    frame = f"{FAILED}; it was started {config.run.max_failures + 1} time(s), see --max-failures"
    raise explain(lost, LOWER_IN_TRAINING, frame) from lost


def _controller_was_lost(error: Exception) -> bool:
    """Whether Ray Train's controller was lost, or a process that it waited for outside the training itself.

    Ray Train restarts workers, but neither its controller nor workers that are lost just after they start.
    """
    cause = cause_of(error)
    return isinstance(cause, RayActorError | OutOfMemoryError) and not isinstance(error, WorkerGroupError)


def _free(placement: Any) -> None:
    try:
        free_placement(placement)
    except RayActorError as error:
        raise explain(error, LOWER_IN_TRAINING, FAILED) from error


def _trainer(
    config: Config, stream: StreamConfig, run_folder: str, loop: Callable[[], Outcome]
) -> TorchTrainer:
    hardware, run = config.hardware, config.run
    workers = hardware.workers
    if workers.elastic:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_SECONDS))
    filesystem, path = storage.resolve(run_folder)
    return TorchTrainer(
        loop,
        scaling_config=ScalingConfig(
            num_workers=(workers.fewest, workers.most) if workers.elastic else workers.most,
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            use_gpu=hardware.gpu,
            resources_per_worker={"CPU": hardware.worker_cpus, **({"GPU": 1} if hardware.gpu else {})},
        ),
        torch_config=TorchConfig(backend="nccl" if hardware.gpu else "gloo"),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=path,
            storage_filesystem=storage.whole_files(filesystem),
            checkpoint_config=CheckpointConfig(num_to_keep=run.checkpoints_kept),
            failure_config=FailureConfig(max_failures=run.max_failures),
            callbacks=[Restarts(run.max_failures)],
        ),
        datasets=placeholders(stream, workers.most),
        dataset_config=PlanDataConfig(stream, functools.partial(next_step, run_folder)),
    )


def _train(config: Config, stream: StreamConfig, mailbox: Any, placement: Any, verbose: bool) -> Outcome:
    note_placement(placement)
    start = step_after(ray.train.get_checkpoint())
    batches = Batches(stream, ray.train.get_context().get_world_size(), start)
    # Importing transformers and DeepSpeed takes seconds, in which the first batches are read. Ray's own
    # processes load this module too, and do without them.
    with without_collector():
        from gte_ray.train.loop import train

    return train(config, stream, batches, mailbox, verbose)
