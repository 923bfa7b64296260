"""One training step (section 3.4) on one rank: the same for any number of ranks and any micro-batches."""

import hashlib
import math
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gte_ray.config import Config
from gte_ray.data.batch import PairBatch
from gte_ray.errors import RunError
from gte_ray.model.contrast import Candidates, Contrast, Guide, Loss, Teacher
from gte_ray.model.encoder import Encoder
from gte_ray.model.gather import Spread, gather, spread, sum_over_ranks
from gte_ray.model.guide import GuideModel
from gte_ray.model.microbatch import MicroBatch, join
from gte_ray.model.objective import build_objective
from gte_ray.model.transfer import to_device
from gte_ray.train.engine import Engine
from gte_ray.train.optimizer import learning_rate
from gte_ray.train.step_report import StepMetrics

COUNTS = ("tokens", "computed_tokens", "pairs", "digest")
"""Fields of `StepMetrics` that are counted on each rank, and summed."""


class TrainingDiverged(RunError):
    """The loss or the gradient is not finite; the weights are those before the step."""

    def __init__(self, what: str, step: int, source: str):
        super().__init__(what, step, source)
        self.step, self.source = step, source

    def __str__(self) -> str:
        return (
            f"training diverged: the {self.args[0]} of step {self.step} (source {self.source}) is not finite"
        )


def train_step(
    engine: Engine, batch: PairBatch, config: Config, guide: GuideModel | None = None
) -> StepMetrics:
    """Contrast the pairs of all ranks and update the weights; `batch` is this rank's shard of the step.

    `guide` is that of the config, None if it has none.

    Raises TrainingDiverged, on all ranks and before the weights change, if the loss is not finite, or if the
    gradient is not and fp16's loss scale cannot be lowered.
    """
    encoder = engine.encoder
    texts = join(batch.queries, batch.documents, batch.negatives)
    parts = encoder.micro_batches(texts, config.hardware.micro_batch_tokens)
    rows, negative_rows = spread((len(batch.queries), len(batch.negatives)), engine.device)

    # Compute all embeddings first. Micro-batches beyond graph_tokens keep no graph (gradient caching).
    seeds = [_seed(config.seed, batch.step, len(rows.counts), rows.rank, k) for k in range(len(parts))]
    kept = _count_within([encoder.computed_tokens(p) for p in parts], config.hardware.graph_tokens)
    outputs = [_encode(encoder, part, seeds[k], k < kept) for k, part in enumerate(parts)]

    # Compute the loss over all ranks' pairs, and its gradient with respect to the embeddings.
    embeddings = torch.empty(len(texts), encoder.dimensions, device=engine.device)
    for part, output in zip(parts, outputs, strict=True):
        embeddings[_index(part, engine.device)] = output.detach()
    graphs = deque(outputs[:kept])
    del outputs, output
    guided = guide(batch) if guide else None
    contrast = _contrast(embeddings.requires_grad_(), batch, (rows, negative_rows), guided)
    result = build_objective(config)(contrast)
    sums = _sums(result, batch, parts, encoder, guided)
    (gradient,) = torch.autograd.grad(result.loss, embeddings)

    # Backpropagate from the embeddings to the weights, by micro-batch, with the same dropout as before.
    for k, part in enumerate(parts):
        output = graphs.popleft() if graphs else _encode(encoder, part, seeds[k], True)
        engine.backward((output * gradient[_index(part, engine.device)]).sum())
        del output  # frees its graph

    totals = _finite(
        sums, batch, config
    )  # waits for the device, which has all of the second pass to do by now
    info = engine.step(rate := learning_rate(batch.step, config.training))
    if info.overflow and info.loss_scale <= 1:  # no fp16, or nothing left to lower
        raise TrainingDiverged("gradient", batch.step, batch.source)
    return StepMetrics(**totals, **info._asdict(), learning_rate=rate)


def _seed(seed: int, step: int, ranks: int, rank: int, part: int) -> int:
    """Return a 63-bit seed for dropout: a pure function of the position in the run."""
    digest = hashlib.blake2b(f"{seed} {step} {ranks} {rank} {part}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _count_within(costs: list[int], budget: int) -> int:
    """Return how many of the first `costs` fit into `budget` together."""
    return int(np.searchsorted(np.cumsum(costs), budget, side="right"))


def _encode(encoder: Encoder, part: MicroBatch, seed: int, with_graph: bool) -> Tensor:
    torch.manual_seed(seed)  # on CPU and device, so that the second pass drops what the first dropped
    with torch.set_grad_enabled(with_graph):
        return encoder(part)


def _index(part: MicroBatch, device: torch.device) -> Tensor:
    return to_device(part.rows, device)


def _contrast(
    embeddings: Tensor, batch: PairBatch, spreads: tuple[Spread, Spread], guided: Tensor | None
) -> Contrast:
    """Return the local texts and those of all ranks, from local embeddings in the order of `join`.

    `spreads` are those of pairs and of hard negatives, `guided` the vectors of a guide.
    """
    rows, negative_rows = spreads
    sizes = [rows.local, rows.local, negative_rows.local]
    queries, documents, negatives = embeddings.split(sizes)
    of_guide = () if guided is None else guided.split(sizes)

    def ids(values: np.ndarray) -> Tensor:
        return to_device(values.view(np.int64), embeddings.device)

    hashes = ids(batch.query_hashes), ids(batch.document_hashes)
    all_rows = gather(rows, queries, documents, *hashes, *of_guide[:2])
    candidates, guide_columns = Candidates(*all_rows[:4]), list(all_rows[4:])
    if negative_rows.total:
        owners = ids(batch.negative_owners + rows.offset)
        extra = gather(negative_rows, negatives, ids(batch.negative_hashes), owners, *of_guide[2:])
        candidates = replace(
            candidates, negatives=extra[0], negative_hashes=extra[1], negative_owners=extra[2]
        )
        guide_columns += extra[3:]
    teacher = None
    if len(batch.document_scores):
        scores, places = batch.grouped_scores()
        teacher = Teacher(
            to_device(scores, embeddings.device), negatives, ids(batch.negative_owners), ids(places)
        )
    guide = None
    if of_guide:
        all_queries, *all_documents = guide_columns
        guide = Guide(of_guide[0], of_guide[1], all_queries, torch.cat(all_documents))
    return Contrast(queries, documents, candidates, rows.offset, teacher, guide)


def _sums(
    result: Loss, batch: PairBatch, parts: list[MicroBatch], encoder: Encoder, guided: Tensor | None
) -> Tensor:
    """Sum `Loss`, the counts of COUNTS and those of a guide's numbers that are none over ranks; (11,) float64."""
    counts = [
        sum(part.tokens for part in parts),
        sum(encoder.computed_tokens(part) for part in parts),
        len(batch.queries),
        batch.digest,
    ]
    shares = torch.stack([share.detach().double() for share in result])
    unknown = shares.new_zeros(1) if guided is None else (~guided.isfinite()).sum()[None]
    return sum_over_ranks(torch.cat([shares, shares.new_tensor(counts), unknown]))


def _finite(sums: Tensor, batch: PairBatch, config: Config) -> dict[str, Any]:
    """Return `_sums` by the fields of `StepMetrics`; raise, on all ranks, if the loss or the guide is not finite."""
    values = dict(zip((*Loss._fields, *COUNTS, "unknown"), sums.tolist(), strict=True))
    if values.pop("unknown"):
        raise RunError(
            f"the guide {config.objective.guide} gives vectors that are not finite in {config.training.precision} "
            f"(step {batch.step}, source {batch.source}); allowed is another --precision, or another guide"
        )
    if not math.isfinite(values["loss"]):
        raise TrainingDiverged("loss", batch.step, batch.source)
    return values | {name: round(values[name]) for name in COUNTS}
