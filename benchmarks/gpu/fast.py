"""How fast is the step: pairs and tokens per second, share of the measured matrix rate, memory, where time goes."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu.right import engine_of
from benchmarks.gpu.setup import Row, Rows, Setup, at_most, random_pairs, step_config, within
from benchmarks.step import peer_step
from gte_ray.config import Config
from gte_ray.data.batch import PairBatch
from gte_ray.model.microbatch import join
from gte_ray.train import step as step_module
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step

BATCH = 16_384
"""Pairs of a step (Table 3)."""
BUDGETS = {"gte-small": 131_072, "gte-base": 65_536, "gte-large": 32_768}
"""Tokens of a micro-batch, and tokens whose activations are kept, that fit 80 GB."""
MEANS = (128, 34, 75, 512)
"""Tokens of a text, on average: what issues say most of first, the longest last."""
REACH = {("gte-base", 128): 0.6, ("gte-base", 34): 0.5}
"""Least share of the matrix rate; none for the others."""
SLOWER = 6.0
"""How much longer than its matrix products at full rate two steps may take, their start included."""
PEER_BATCH = 4_096
PEER_TIMES = 5


def precision_of(setup: Setup) -> str:
    return "bf16" if setup.gpu else "fp32"


def matrix_rate(setup: Setup) -> float:
    """Operations per second of a bare square product in the step's number format: the best of ten."""
    size = 8_192 if setup.gpu else 768
    kind = torch.bfloat16 if setup.gpu else torch.float32
    a, b = (torch.randn(size, size, device=setup.device, dtype=kind) for _ in range(2))
    a @ b
    return 2 * size**3 / min(setup.seconds(lambda: a @ b) for _ in range(10))


def needed_flops(config: Config, batch: PairBatch) -> float:
    """Operations of one forward and one backward pass over real tokens; what is computed twice does not count."""
    model = config.model
    hidden, inner = model.hidden_size, model.intermediate_size
    lengths = join(batch.queries, batch.documents).lengths.astype(float)
    per_token = model.layers * (4 * hidden * hidden + 2 * hidden * inner)
    attention = model.layers * 2 * hidden * (lengths**2).sum()
    loss = 4 * len(batch.queries) ** 2 * hidden * 3
    return float(3 * 2 * (per_token * lengths.sum() + attention) + 2 * loss)


def case(setup: Setup, name: str, mean: int, batch: int) -> tuple[Config, PairBatch, str]:
    """Config, pairs and description of a step with texts of `mean` tokens; both sizes are smaller in a dry run."""
    if setup.small:
        mean, batch = mean // 8, 64
    tokens = BUDGETS[name] if not setup.small else 2_048
    config = step_config(
        setup, name, batch, precision_of(setup), micro_batch_tokens=tokens, graph_tokens=tokens,
        loss_tile=4_096 if not setup.small else 32,
    )  # fmt: skip
    pairs = random_pairs(batch, mean, config.model.vocab_size)
    return config, pairs, f"{name}, {mean} tokens a text, {batch:,} pairs"


def rows(setup: Setup) -> Rows:
    rate = matrix_rate(setup)
    yield Row(f"matrix product in {precision_of(setup)}", f"{rate / 1e12:.3g} TFLOP/s", rate)
    # The model that users train most is first, and what takes longest last.
    names = ("gte-base", "gte-small", "gte-large")
    for name, mean in sorted(itertools.product(names, MEANS), key=lambda c: (c[1] == 512, names.index(c[0]))):
        config, pairs, described = case(setup, name, mean, BATCH)
        needed = needed_flops(config, pairs) / rate
        if setup.gpu and SLOWER * needed > setup.left:
            yield Row(f"step of {described}", "not run: the time is over")
            continue
        seconds, peak = timed_step(setup, config, pairs)
        texts, share = join(pairs.queries, pairs.documents), needed / seconds
        speed = f"{len(pairs.queries) / seconds:,.0f} pairs/s, {len(texts.values) / seconds:,.0f} tokens/s"
        figure = f"{speed}, {share:.1%} of the matrix rate" + (
            f", {peak / 2**30:.1f} GiB" if setup.gpu else ""
        )
        yield within(f"step of {described}", figure, share, REACH.get((name, mean), 0.0))


def timed_step(setup: Setup, config: Config, pairs: PairBatch) -> tuple[float, int]:
    """Seconds of one step after a warm-up, and the most memory that it took."""
    engine = engine_of(config, setup.device)
    setup.reset_memory()
    train_step(engine, pairs, config)
    seconds = setup.seconds(lambda: train_step(engine, pairs, config))
    return seconds, setup.peak_bytes


class Phases:
    """Adds up the time of a step's parts, waiting for the device after each."""

    def __init__(self, setup: Setup):
        self.setup, self.seconds = setup, defaultdict(float)

    def wrap(self, name: Callable[..., str], call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = []
            seconds = self.setup.seconds(lambda: result.append(call(*args, **kwargs)))
            self.seconds[name(*args)] += seconds
            return result[0]

        return wrapped


def split(setup: Setup) -> Rows:
    """Where the time of a step goes: gte-base at 128 tokens."""
    config, pairs, _ = case(setup, "gte-base", 128, BATCH // 4)
    engine = engine_of(config, setup.device)
    train_step(engine, pairs, config)
    free = setup.seconds(lambda: train_step(engine, pairs, config))
    phases, encode, build = Phases(setup), step_module._encode, step_module.build_objective
    step_module._encode = phases.wrap(lambda *a: "second pass" if a[-1] else "first pass", encode)
    step_module.build_objective = lambda c: phases.wrap(lambda *_: "loss", build(c))  # type: ignore[assignment]
    engine.backward = phases.wrap(lambda *_: "second pass", engine.backward)  # type: ignore[method-assign]
    engine.step = phases.wrap(lambda *_: "optimizer", engine.step)  # type: ignore[method-assign]
    try:
        whole = setup.seconds(lambda: train_step(engine, pairs, config))
    finally:
        step_module._encode, step_module.build_objective = encode, build
    parts = phases.seconds | {"rest": whole - sum(phases.seconds.values())}
    figure = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in parts.items())
    yield Row("time of a step, by parts", f"{figure}; waiting after each part costs {whole / free - 1:.1%}")
    outside = (parts["loss"] + parts["rest"]) / whole
    yield at_most("the same, outside encoder and optimizer", f"{outside:.1%}", outside, 0.03)


def peer(setup: Setup) -> Rows:
    """Beside sentence-transformers' cached loss: the same weights, texts and optimizer, in turn."""
    for mean in (128, 34):
        config, pairs, described = case(setup, "gte-base", mean, PEER_BATCH)
        batch = len(pairs.queries)
        engine: Engine = engine_of(config, setup.device)
        largest = replace(config, hardware=replace(config.hardware, graph_tokens=0))
        theirs = peer_step(
            config, pairs, setup.device, mini_batch_num_tokens=config.hardware.micro_batch_tokens
        )
        steps: dict[str, Callable[[], Any]] = {
            "ours": lambda e=engine, p=pairs, c=config: train_step(e, p, c),
            "twice": lambda e=engine, p=pairs, c=largest: train_step(e, p, c),
            "theirs": theirs,
        }
        for step in steps.values():
            step()
        times = [
            {name: setup.seconds(step) for name, step in steps.items()}
            for _ in range(PEER_TIMES if not setup.small else 2)
        ]
        ratios = sorted(t["theirs"] / t["ours"] for t in times)
        median = ratios[len(ratios) // 2]
        twice = sorted(t["theirs"] / t["twice"] for t in times)[len(times) // 2]
        figure = f"{median:.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}; {batch / min(t['ours'] for t in times):,.0f} pairs/s); {twice:.2f} x with all texts encoded twice"
        yield within(
            f"step against sentence-transformers, {described}",
            figure,
            median,
            2.5,
        )
