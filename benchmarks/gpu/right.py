"""Are the numbers right: gradients of the step against float32 on the CPU, and states that move between devices."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from benchmarks.gpu.setup import LENGTH, PAD, SEED, Row, Rows, Setup, random_pairs, step_config, within
from gte_ray.config import Config
from gte_ray.data.batch import PairBatch, TokenLists
from gte_ray.model.gather import Spread, gather_over_ranks
from gte_ray.model.load import build_encoder
from gte_ray.train.engine import Engine
from gte_ray.train.state import MOMENTS_FILE, SCALARS_FILE, WEIGHTS_FILE, Scalars, open_state, write_state
from gte_ray.train.step import train_step

CPU = torch.device("cpu")
PAIRS, TOKENS, BUDGET = 64, 24, 512
ATTEMPTS = 40
"""Steps in which fp16's loss scale has to have come down."""
LEAST = {"fp32": 0.999_999, "tf32": 0.999_9, "fp16": 0.999, "bf16": 0.99}
"""Least cosine between the whole gradient and that of float32 on the CPU."""

Gradients = dict[str, Tensor]


def rows(setup: Setup) -> Rows:
    expected = gradients(config_of(setup, "fp32"), CPU)
    for precision in LEAST:
        with _tf32(precision == "tf32"):
            config = config_of(setup, "fp32" if precision == "tf32" else precision)
            found = gradients(config, setup.device)
        yield compared(
            f"gradient in {precision} against float32 on the CPU", found, expected, LEAST[precision]
        )
    fast = "bf16" if setup.gpu else "fp32"  # where texts are packed by default
    config = config_of(setup, fast)
    packed, padded = (gradients(config, setup.device, packed=how) for how in (True, False))
    yield compared(f"gradient, packed against padded, {fast}", packed, padded, LEAST[fast])
    checkpointed = replace(config, hardware=replace(config.hardware, gradient_checkpointing=True))
    found = gradients(checkpointed, setup.device)
    yield compared(
        f"gradient, with gradient checkpointing against without, {fast}", found, packed, LEAST[fast]
    )
    yield overflow(setup)
    yield from moved(setup)
    yield collectives(setup)
    ranks = gradients_of_two(setup, config_of(setup, "fp32"))
    yield compared(
        "gradient of two processes on the device, gloo, against the CPU", ranks, expected, LEAST["tf32"]
    )


def config_of(setup: Setup, precision: str) -> Config:
    return step_config(
        setup, "gte-small", PAIRS, precision, micro_batch_tokens=BUDGET, graph_tokens=BUDGET, loss_tile=16
    )


def batch_of(config: Config) -> PairBatch:
    return random_pairs(PAIRS, TOKENS, config.model.vocab_size)


def engine_of(config: Config, device: torch.device) -> Engine:
    gpu = device.type == "cuda"
    placed = replace(config, hardware=replace(config.hardware, gpu=gpu))
    if not gpu and config.training.precision == "fp16":
        _allow_fp16()
    return Engine(build_encoder(config.model, config.model.vocab_size, PAD, LENGTH, SEED), placed, device)


def _allow_fp16() -> None:
    """For a dry run: torch computes half precision on any CPU, DeepSpeed allows it on those that are fast at it."""
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda self: True


def gradients(config: Config, device: torch.device, packed: bool | None = None) -> Gradients:
    """The gradient of each weight in the first step, as AdamW's first moment has it: times 1 - beta1."""
    engine = engine_of(config, device)
    if packed is not None:
        engine.encoder.use_packing(packed)
    return _first_moments(engine, config, batch_of(config))


def _first_moments(engine: Engine, config: Config, batch: PairBatch) -> Gradients:
    for _ in range(ATTEMPTS):  # fp16's loss scale begins too high
        if not train_step(engine, batch, config).overflow:
            break
    with tempfile.TemporaryDirectory() as folder:
        engine.save(folder)
        if dist.get_rank() != 0:
            return {}
        with open_state(folder) as state:
            names = [name for name in state.moments.keys() if name.startswith("exp_avg.")]  # noqa: SIM118
            return {name: state.moments.get_tensor(name).clone() for name in names}


def compared(what: str, found: Gradients, expected: Gradients, least: float) -> Row:
    """Cosine and ratio of norms of the whole gradients, and the least cosine of one weight's."""
    whole, reference = (
        torch.cat([g[name].flatten() for name in expected]).double() for g in (found, expected)
    )
    cosine = float(torch.cosine_similarity(whole, reference, dim=0))
    norms = float(whole.norm() / reference.norm())
    # A weight whose gradient is nothing beside the others' has only rounding in it: attention's key biases.
    floor = 1e-5 * float(reference.norm())
    each = {
        name: float(torch.cosine_similarity(found[name].flatten(), g.flatten(), dim=0))
        for name, g in expected.items()
        if float(g.norm()) > floor
    }
    worst = min(each, key=lambda name: each[name])
    figure = (
        f"cosine {cosine:.7f}, norm x {norms:.5f}; least {each[worst]:.5f} ({worst.removeprefix('exp_avg.')})"
    )
    return within(what, figure, cosine, least)


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def overflow(setup: Setup) -> Row:
    """fp16 with a loss scale that is far too high: steps are skipped, weights stay, then training goes on."""
    config, folder = config_of(setup, "fp16"), str(setup.scratch / "overflow")
    engine = engine_of(config, setup.device)
    engine.save(folder)
    with open_state(folder) as state:
        scalars = state.scalars
        weights, moments = (
            {name: part.get_tensor(name).clone() for name in part.keys()}  # noqa: SIM118
            for part in (state.weights, state.moments)
        )
    assert scalars.loss_scaler is not None
    high = Scalars(scalars.adam_steps, scalars.loss_scaler | {"cur_scale": 2.0**24})
    write_state(folder, weights, moments, high)
    engine.load(folder)
    skipped = 0
    for _ in range(ATTEMPTS):
        metrics = train_step(engine, batch_of(config), config)
        if not metrics.overflow:
            break
        skipped += 1
    held = skipped > 0 and not metrics.overflow
    figure = f"{skipped} steps skipped from a scale of 2^24, then a step at {metrics.loss_scale:g}"
    return Row("fp16, overflow and recovery", figure, skipped, "recovers", held)


def moved(setup: Setup) -> Rows:
    """A checkpoint that is written on the device, read on a CPU and back is the same, byte by byte."""
    config = config_of(setup, "fp32")
    engine = engine_of(config, setup.device)
    train_step(engine, batch_of(config), config)
    folders = [str(setup.scratch / name) for name in ("there", "cpu", "back")]
    engine.save(folders[0])
    for source, target, device in ((0, 1, CPU), (1, 2, setup.device)):
        other = engine_of(config, device)
        other.load(folders[source])
        other.save(folders[target])
    files = (WEIGHTS_FILE, MOMENTS_FILE, SCALARS_FILE)
    same = all(len({Path(folder, file).read_bytes() for folder in folders}) == 1 for file in files)
    yield Row(
        "checkpoint from the device to a CPU and back",
        "the same bytes" if same else "differs",
        None,
        "same",
        same,
    )


def collectives(setup: Setup) -> Row:
    """The gather of the step through the backend of one rank: NCCL on a GPU."""
    local = torch.randn(5, 8, device=setup.device, requires_grad=True)
    ids = torch.arange(5, device=setup.device)
    everything, numbers = gather_over_ranks(Spread((5,), 0), local, ids)
    everything.pow(2).sum().backward()
    assert local.grad is not None
    right = (
        torch.equal(everything, local) and torch.equal(numbers, ids) and torch.equal(local.grad, 2 * local)
    )
    backend = dist.get_backend()
    return Row(
        f"gather and its gradient over {backend}, one rank",
        "equal" if right else "differ",
        None,
        "equal",
        right,
    )


def gradients_of_two(setup: Setup, config: Config) -> Gradients:
    target = setup.scratch / "two.pt"
    mp.start_processes(
        _on_rank,
        (setup.device.type, config, str(setup.scratch / "store"), str(target)),
        2,
        start_method="forkserver",
    )
    return torch.load(target)


def _on_rank(rank: int, device: str, config: Config, store: str, target: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    engine = engine_of(config, torch.device(device, 0) if device == "cuda" else CPU)
    found = _first_moments(engine, config, _half(batch_of(config), rank))
    if rank == 0:
        torch.save(found, target)
    dist.barrier()
    dist.destroy_process_group()


def _half(batch: PairBatch, rank: int) -> PairBatch:
    own = slice(rank * PAIRS // 2, (rank + 1) * PAIRS // 2)

    def part(tokens: TokenLists) -> TokenLists:
        offsets = tokens.offsets[own.start : own.stop + 1]
        return TokenLists(tokens.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    queries, documents = part(batch.queries), part(batch.documents)
    return PairBatch(0, "bench", queries, documents, batch.query_hashes[own], batch.document_hashes[own])
