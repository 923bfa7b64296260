"""Import and configure DeepSpeed, which only this module and `engine.py` do."""

import logging
import os
import warnings
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist

from gte_ray.config import Config
from gte_ray.errors import UsageError
from gte_ray.runtime.imports import missing


def check(config: Config) -> None:
    """Raise UsageError for a ZeRO stage that the step cannot run on."""
    stage, precision = config.hardware.zero_stage, config.training.precision
    if stage not in (0, 1):
        raise UsageError(
            f"--zero-stage is {stage}; allowed is 0 or 1: from stage 2 on DeepSpeed reduces gradients at every "
            "backward pass, and ranks with unequal numbers of micro-batches would wait for ever"
        )
    if stage == 0 and precision != "fp32":
        raise UsageError(
            f"--zero-stage is 0 and --precision {precision}; allowed is stage 0 with fp32 only: without ZeRO, "
            "DeepSpeed adds up the gradients of micro-batches in half precision and does not scale the loss"
        )


def options(config: Config) -> dict[str, Any]:
    """Return DeepSpeed's config for a run."""
    training, stage = config.training, config.hardware.zero_stage
    return {
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed wants one; batches are the step's matter
        "zero_optimization": {"stage": stage, "overlap_comm": False},
        "managed_gradient_accumulation": False,  # backward() only accumulates, step() reduces once
        "gradient_allreduce_op": "sum",  # see gather.py
        "gradient_clipping": training.max_grad_norm if stage else 0.0,
        "fp16": {"enabled": training.precision == "fp16"},
        # Otherwise DeepSpeed 0.19.8 adds the sum so far again with every micro-batch.
        "bf16": {"enabled": training.precision == "bf16", "immediate_grad_update": True},
        "data_types": {"grad_accum_dtype": "fp32"},
    }


def import_deepspeed(device: torch.device, verbose: bool) -> Any:
    """Return DeepSpeed, set to `device` and quiet unless `verbose`; start a process group of one if there is none."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    deepspeed = import_quickly()
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.INFO if verbose else logging.ERROR)
    for handler in logger.handlers:  # which DeepSpeed lets pass warnings alone
        handler.setLevel(logging.NOTSET)
    if not verbose:  # torch 2.13 renames collectives that DeepSpeed calls
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    # DeepSpeed would compile a shared-memory all-reduce for CPUs at first use, which takes a minute, to
    # replace gloo's. It compiles what this table of operators says can be compiled.
    deepspeed.ops.__compatible_ops__ = {}
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if device.index is not None or "LOCAL_RANK" not in os.environ:
        os.environ["LOCAL_RANK"] = str(device.index or 0)  # where DeepSpeed reads which device is its own
    deepspeed.init_distributed(verbose=verbose)
    return deepspeed


def import_quickly() -> Any:
    """Return DeepSpeed, without two imports for what a run does not use; each takes a worker a second."""
    with missing("mlflow"):  # of its autotuner
        import deepspeed
        from deepspeed.runtime import compiler

    # Its first step imports the Muon optimizer, whose decorators load torch's compiler.
    compiled = compiler.compile
    compiler.compile = lambda: compiler.dummy_decorator
    try:
        import_module("deepspeed.runtime.zero.muon.original_muon")
    finally:
        compiler.compile = compiled
    return deepspeed
