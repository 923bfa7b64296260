"""Weights and their optimizer under DeepSpeed: backward, step, checkpoints.

Checkpoints hold every parameter and AdamW moment whole, by name, in safetensors files that rank 0 writes.
DeepSpeed's own are pickles of each rank's shard: they run code when they are read, and another world size
takes a conversion by a separate tool. Whole tensors load at any world size, ZeRO stage and precision.
"""

from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gte_ray.config import Config
from gte_ray.model.encoder import Encoder
from gte_ray.model.weights_file import WEIGHTS_FILE, check_shape, load_weights
from gte_ray.train.deepspeed_setup import check, import_deepspeed, options
from gte_ray.train.optimizer import adamw
from gte_ray.train.state import Scalars, open_state, write_state

__all__ = ["WEIGHTS_FILE", "Engine", "StepInfo", "load_weights"]

MOMENTS = ("exp_avg", "exp_avg_sq")
SCALER_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class StepInfo(NamedTuple):
    """What became of one optimizer step."""

    grad_norm: float
    """Norm of the whole gradient before clipping; not finite where the step was skipped."""
    overflow: bool
    """Whether the gradient was not finite, so that the step was skipped."""
    loss_scale: float
    """Scale of the loss in this step's backward passes; 1 without fp16."""


class Engine:
    """An encoder and its AdamW under DeepSpeed, on one rank. Calls are collective: all ranks make them."""

    def __init__(self, encoder: Encoder, config: Config, device: torch.device, verbose: bool = False):
        """Moves `encoder` to `device`, in the run's precision. Starts a process group of one where none is.

        Raises UsageError for a ZeRO stage that the step cannot run on.
        """
        check(config)
        self.device = device
        if config.hardware.gradient_checkpointing:
            encoder.backbone.activation_checkpointing_enable({"use_reentrant": False})
        encoder.train().choose_attention(device, half=config.training.precision != "fp32")
        self._parameters = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
        deepspeed = import_deepspeed(device, verbose)
        with nullcontext() if verbose else redirect_stdout(None):  # it prints memory reports
            self._engine, *_ = deepspeed.initialize(
                model=encoder.to(device),
                optimizer=adamw(self._parameters, config.training, fused=device.type == "cuda"),
                config=options(config),
            )
        self._adamw: torch.optim.AdamW = self._engine.basic_optimizer
        self._max_norm = config.training.max_grad_norm
        self._norm: float | None = None
        if self._engine.optimizer is self._adamw:
            # DeepSpeed reduces inside step(), and without a wrapper of its own it keeps no gradient norm.
            self._adamw.register_step_pre_hook(self._clip)
        self._make_moments()
        if (scaler := self._scaler()) is not None:
            scaler.raise_error_at_min_scale = False  # the step tells, with its source

    @property
    def encoder(self) -> Encoder:
        return self._engine.module

    def backward(self, value: Tensor) -> None:
        """Adds the gradient of the scalar `value` to this rank's; nothing is sent to other ranks."""
        self._engine.backward(value)

    def step(self, learning_rate: float) -> StepInfo:
        """Sums the gradients over all ranks, clips, updates the weights, forgets the gradients."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        scaler = self._scaler()
        scale = 1.0 if scaler is None else float(scaler.cur_scale)
        try:
            self._engine.step()
        except _NotFinite:
            self._engine.zero_grad()
            return StepInfo(float("nan"), True, scale)
        norm = self._engine.get_global_grad_norm() if self._norm is None else self._norm
        return StepInfo(float(norm), bool(getattr(self._engine.optimizer, "overflow", False)), scale)

    def save(self, folder: str) -> None:
        """Writes the state into the local `folder`, by rank 0 alone; raises OSError where that fails."""
        weights = {name: self._collect(p, None) for name, p in self._parameters.items()}
        moments = {f"{key}.{name}": self._collect(p, key) for key, name, p in self._moments()}
        if dist.get_rank() != 0:
            return
        scaler = self._scaler()
        fields = None if scaler is None else {field: getattr(scaler, field) for field in SCALER_FIELDS}
        adam_steps = float(next(iter(self._adamw.state.values()))["step"])
        write_state(folder, weights, moments, Scalars(adam_steps, fields))

    def load(self, folder: str) -> None:
        """Goes on from what `save` wrote, at any number of ranks; raises RunError when it does not fit."""
        with open_state(folder) as state:
            for name, parameter in self._parameters.items():
                value = check_shape(name, state.weights.get_tensor(name), parameter)
                self._distribute(parameter, None, value.to(self.device))
            for key, name, parameter in self._moments():
                value = check_shape(name, state.moments.get_tensor(f"{key}.{name}"), parameter)
                self._distribute(parameter, key, value.to(self.device))
            self._set_adam_steps(state.scalars.adam_steps)
            scaler = self._scaler()
            if scaler is not None and state.scalars.loss_scaler is not None:
                for field in SCALER_FIELDS:
                    setattr(scaler, field, state.scalars.loss_scaler[field])

    def _moments(self) -> Iterator[tuple[str, str, nn.Parameter]]:
        for key in MOMENTS:
            for name, parameter in self._parameters.items():
                yield key, name, parameter

    def _collect(self, parameter: nn.Parameter, key: str | None) -> Tensor:
        """The whole float32 parameter, or its moment `key`; on the CPU, empty but on rank 0."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if not hasattr(parameter, "_hp_mapping"):  # stage 0: every rank has the whole state
            value = parameter if key is None else self._adamw.state[parameter][key]
        elif key is None:
            value = safe_get_full_fp32_param(parameter)
        else:
            value = safe_get_full_optimizer_state(parameter, key)
        kept = value.detach() if dist.get_rank() == 0 else value.new_empty(0)
        return kept.to("cpu", torch.float32, copy=True).contiguous()

    def _distribute(self, parameter: nn.Parameter, key: str | None, value: Tensor) -> None:
        """Gives the parameter, or this rank's part of its moment `key`, the whole `value`."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if key is None:
            parameter.data.copy_(value)
        if not hasattr(parameter, "_hp_mapping"):
            if key is not None:
                self._adamw.state[parameter][key].copy_(value)
        elif key is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)

    def _make_moments(self) -> None:
        """Lets AdamW make its state, which it does at its first step: one that changes nothing."""
        parameters = [p for group in self._adamw.param_groups for p in group["params"]]
        for group in self._adamw.param_groups:
            group["lr"] = 0.0
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._adamw.step()
        for parameter in parameters:
            parameter.grad = None
        self._set_adam_steps(0)
        if self._engine.optimizer is not self._adamw:
            # Ties parameters to their parts of the state, as DeepSpeed does after its first step.
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _set_adam_steps(self, steps: float) -> None:
        for state in self._adamw.state.values():
            state["step"].fill_(steps)

    def _scaler(self) -> Any:
        """DeepSpeed's dynamic loss scaler; None without fp16."""
        scaler = getattr(self._engine.optimizer, "loss_scaler", None)
        return scaler if getattr(scaler, "dynamic", False) else None

    def _clip(self, *_: Any) -> None:
        bound = self._max_norm or float("inf")
        self._norm = float(nn.utils.clip_grad_norm_(self._parameters.values(), bound))
        if not self._norm < float("inf"):
            raise _NotFinite


class _NotFinite(Exception):
    """The gradient has a NaN or an infinity."""
