"""The engine: what it saves and goes on from, what it does with numbers that are none, what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gte_ray.config import Config
from gte_ray.errors import RunError, UsageError
from gte_ray.model.weights_file import WEIGHTS_FILE, load_weights
from gte_ray.train.engine import Engine
from gte_ray.train.step import TrainingDiverged, train_step
from tests.commands import HANGS
from tests.train.runs import CPU, encoder_of, on_ranks, pairs, shard, tiny, with_precision


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def losses(engine: Engine, config: Config, steps: range, rank: int = 0, ranks: int = 1) -> list[float]:
    return [train_step(engine, shard(pairs(s), rank, ranks), config).loss for s in steps]


def save_and_go_on(config: Config, folder: Path, rank: int = 0, ranks: int = 1) -> list[float]:
    """Three steps, a checkpoint, and the losses of three more."""
    engine = Engine(encoder_of(config), config, CPU)
    losses(engine, config, range(3), rank, ranks)
    engine.save(str(folder / str(rank)))
    return losses(engine, config, range(3, 6), rank, ranks)


def load_and_go_on(config: Config, folder: Path, rank: int = 0, ranks: int = 1) -> list[float]:
    engine = Engine(encoder_of(replace(config, seed=99)), config, CPU)
    engine.load(str(folder / "0"))
    return losses(engine, config, range(3, 6), rank, ranks)


def on_two(rank: int, config: Config, one: Path, two: Path) -> tuple[list[float], list[float], list[float]]:
    """A run of two ranks, its continuation by two, and the continuation of one rank's run by two."""
    return (
        save_and_go_on(config, two, rank, 2),
        load_and_go_on(config, two, rank, 2),
        load_and_go_on(config, one, rank, 2),
    )


@pytest.mark.processes
def test_checkpoints_continue_at_the_same_and_at_another_world_size(tmp_path):
    config = tiny(dropout=0.0)
    one, two = tmp_path / "one", tmp_path / "two"
    expected = save_and_go_on(config, one)
    (uninterrupted, same, one_to_two), second = on_ranks(2, on_two, tmp_path, config, one, two)
    assert (uninterrupted, same, one_to_two) == second, "all ranks report the figures of all"
    assert same == uninterrupted, "to the bit"
    assert load_and_go_on(config, one) == expected, "to the bit"
    assert uninterrupted == pytest.approx(expected, abs=1e-4)
    assert one_to_two == pytest.approx(expected, abs=1e-4)
    assert load_and_go_on(config, two) == pytest.approx(expected, abs=1e-4)
    assert not (two / "1").exists(), "rank 0 writes all"


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stage_0_writes_what_stage_1_reads(tmp_path, dropout):
    expected = save_and_go_on(tiny(dropout, zero_stage=0), tmp_path)
    assert load_and_go_on(tiny(dropout, zero_stage=0), tmp_path) == expected
    assert load_and_go_on(tiny(dropout, zero_stage=1), tmp_path) == pytest.approx(expected, abs=1e-4)


def test_saved_weights_are_the_encoders(tmp_path):
    config = tiny()
    engine = Engine(encoder_of(config), config, CPU)
    train_step(engine, pairs(0), config)
    engine.save(str(tmp_path))
    other = encoder_of(replace(config, seed=99))
    load_weights(other, str(tmp_path / WEIGHTS_FILE))
    tokens = pairs(1).queries
    assert torch.equal(other.encode(tokens, 100), engine.encoder.encode(tokens, 100))


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    config = tiny()
    engine = Engine(encoder_of(config), config, CPU)
    engine.save(str(tmp_path))
    wider = replace(config, model=replace(config.model, hidden_size=48))
    with pytest.raises(RunError, match="does not fit this run"):
        load_weights(encoder_of(wider), str(tmp_path / WEIGHTS_FILE))
    with pytest.raises(RunError, match="does not fit this run"):
        Engine(encoder_of(wider), wider, CPU).load(str(tmp_path))
    with pytest.raises(RunError, match="missing"):
        engine.load(str(tmp_path / "missing"))
    (tmp_path / "model.safetensors").write_bytes(b"12345678cut")
    with pytest.raises(RunError, match="does not fit this run"):
        load_weights(encoder_of(config), str(tmp_path / WEIGHTS_FILE))


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    engine = Engine(encoder_of(tiny()), tiny(), CPU)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        engine.save(str(tmp_path / "file"))


def diverge_on_rank(rank: int, config: Config) -> tuple[str, int, str, bool]:
    """One rank's texts hold a token whose embedding is NaN; the message, step and source that all see."""
    encoder = encoder_of(config)
    with torch.no_grad():
        encoder.backbone.embeddings.word_embeddings.weight[1] = float("nan")  # in none of the texts
    engine = Engine(encoder, config, CPU)
    batch = shard(pairs(2), rank, 2)
    if rank == 1:
        batch.documents.values[0] = 1
    before = [p.detach().clone() for p in encoder.parameters()]
    with pytest.raises(TrainingDiverged) as caught:
        train_step(engine, batch, config)
    unchanged = all(
        torch.equal(a.nan_to_num(), p.nan_to_num()) for a, p in zip(before, encoder.parameters(), strict=True)
    )
    return str(caught.value), caught.value.step, caught.value.source, unchanged


@pytest.mark.processes
def test_a_loss_that_is_no_number_stops_all_ranks_before_the_weights_change(tmp_path):
    message = "training diverged: the loss of step 2 (source source) is not finite"
    assert on_ranks(2, diverge_on_rank, tmp_path, tiny()) == [(message, 2, "source", True)] * 2


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_a_gradient_that_is_no_number_stops_before_the_weights_change(zero_stage):
    config = tiny(zero_stage=zero_stage)
    engine = Engine(encoder_of(config), config, CPU)
    weight = engine.encoder.backbone.encoder.layer[0].output.dense.weight
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    with pytest.raises(TrainingDiverged, match="the gradient of step 0"):
        train_step(engine, pairs(0), config)
    assert torch.equal(weight, before)
    hook.remove()


def test_bf16_follows_float32():
    figures = {}
    for precision in ("fp32", "bf16"):
        config = with_precision(tiny(micro_batch_tokens=60, graph_tokens=0), precision)
        figures[precision] = losses(Engine(encoder_of(config), config, CPU), config, range(6))
    assert figures["bf16"] == pytest.approx(figures["fp32"], rel=0.05)
    assert figures["bf16"] != figures["fp32"]


@pytest.fixture
def fp16_allowed(monkeypatch):
    """torch computes half precision on any CPU; DeepSpeed allows it on those that are fast at it."""
    from deepspeed.accelerator import get_accelerator

    monkeypatch.setattr(type(get_accelerator()), "is_fp16_supported", lambda self: True)


@pytest.mark.parametrize("budget", [40, 60, 10_000])
def test_a_gradient_in_fp16_is_that_in_float32_whatever_the_micro_batches(fp16_allowed, budget):
    config = tiny(micro_batch_tokens=budget, graph_tokens=0)
    expected = train_step(Engine(encoder_of(config), config, CPU), pairs(0), config)
    config = with_precision(config, "fp16")
    engine = Engine(encoder_of(config), config, CPU)
    found = train_step(engine, pairs(0), config)
    while found.overflow:  # the weights are still the first ones
        found = train_step(engine, pairs(0), config)
    assert found.loss == pytest.approx(expected.loss, rel=0.01)
    assert found.grad_norm == pytest.approx(expected.grad_norm, rel=0.01)


def test_fp16_skips_steps_that_overflow_and_lowers_the_scale(fp16_allowed, tmp_path):
    config = with_precision(tiny(micro_batch_tokens=60, graph_tokens=0), "fp16")
    config = replace(config, training=replace(config.training, steps=40))
    engine = Engine(encoder_of(config), config, CPU)
    initial = [p.detach().clone() for p in engine.encoder.parameters()]
    seen = []
    for step in range(20):
        metrics = train_step(engine, pairs(step), config)
        seen.append(metrics)
        if not metrics.overflow:
            break
        assert all(torch.equal(a, b) for a, b in zip(initial, engine.encoder.parameters(), strict=True))
    assert seen[0].overflow and not seen[-1].overflow
    assert seen[-1].loss_scale < seen[0].loss_scale == 65536
    assert any(not torch.equal(a, b) for a, b in zip(initial, engine.encoder.parameters(), strict=True))
    engine.save(str(tmp_path / "0"))
    assert json.loads((tmp_path / "0" / "engine.json").read_text())["adam_steps"] == 1
    expected = losses(engine, config, range(3, 6))
    assert load_and_go_on(config, tmp_path) == expected


def test_fp16_that_overflows_at_every_scale_has_diverged(fp16_allowed):
    config = with_precision(tiny(), "fp16")
    engine = Engine(encoder_of(config), config, CPU)
    weight = engine.encoder.backbone.encoder.layer[0].output.dense.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before, scales = weight.detach().clone(), []
    with pytest.raises(TrainingDiverged, match="the gradient of step"):
        for step in range(30):
            scales.append(train_step(engine, pairs(step), config).loss_scale)
    assert scales[-1] == 2
    assert torch.equal(weight, before)


def test_moments_and_weights_are_whole_and_named(tmp_path):
    config = tiny()
    engine = Engine(encoder_of(config), config, CPU)
    train_step(engine, pairs(0), config)
    engine.save(str(tmp_path))
    shapes = {name: list(p.shape) for name, p in engine.encoder.named_parameters()}
    weights = load_file(tmp_path / "model.safetensors")
    moments = load_file(tmp_path / "optimizer.safetensors")
    assert {name: list(value.shape) for name, value in weights.items()} == shapes
    assert set(moments) == {f"{key}.{name}" for key in ("exp_avg", "exp_avg_sq") for name in shapes}
    save_file({k: v for k, v in moments.items() if "exp_avg_sq" in k}, tmp_path / "optimizer.safetensors")
    with pytest.raises(RunError, match="exp_avg"):
        engine.load(str(tmp_path))


@pytest.mark.parametrize("stage, precision", [(2, "fp32"), (3, "fp32"), (0, "fp16"), (0, "bf16")])
def test_stages_that_the_step_cannot_run_on_are_refused(stage, precision):
    config = with_precision(tiny(zero_stage=stage), precision)
    with pytest.raises(UsageError, match=f"--zero-stage is {stage}"):
        Engine(encoder_of(config), config, CPU)


@pytest.mark.processes
def test_nothing_is_printed_or_compiled():
    script = (
        "import torch, runs; from gte_ray.train.engine import Engine; from gte_ray.train.step import train_step\n"
        "c = runs.tiny(); e = Engine(runs.encoder_of(c), c, runs.CPU); train_step(e, runs.pairs(0), c)\n"
        "import sys; assert not {'mlflow', 'torch._inductor.compile_fx'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=HANGS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
