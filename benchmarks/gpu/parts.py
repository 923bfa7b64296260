"""Parts of the trainer by themselves: the loss at large batches, and encoding."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from transformers import BertTokenizerFast

from benchmarks.gpu.fast import PEER_TIMES
from benchmarks.gpu.setup import (
    LENGTH,
    PAD,
    SEED,
    Row,
    Rows,
    Setup,
    at_most,
    model_config,
    random_pairs,
    within,
)
from benchmarks.loss import naive_loss, tiled_loss
from gte_ray.model.load import build_encoder, load_model

LARGEST_NAIVE = 16_384
GIB = 2**30


def loss(setup: Setup) -> Rows:
    """Time and extra memory of the tiled loss, forward and backward, in float32; D = 768."""
    sizes = (256, 512) if setup.small else (16_384, 65_536, 131_072)
    width, tile = (32, 64) if setup.small else (768, 4_096)
    for n in sizes:
        seconds, extra = _loss_cost(setup, n, width, lambda q, d: tiled_loss(q, d, tile))
        what = f"loss of {n:,} pairs, D = {width}, tiles of {tile:,} rows"
        figure = f"{seconds:.3f} s, {extra / GIB:.2f} GiB extra"
        if n == sizes[-1] and setup.gpu:
            yield at_most(what, figure, extra / GIB, 4)
        else:
            yield Row(what, figure, extra / GIB)
        if n <= LARGEST_NAIVE:
            seconds, extra = _loss_cost(setup, n, width, naive_loss)
            yield Row(
                f"naive loss of {n:,} pairs", f"{seconds:.3f} s, {extra / GIB:.2f} GiB extra", extra / GIB
            )


def _loss_cost(
    setup: Setup, n: int, width: int, loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> tuple[float, int]:
    torch.manual_seed(SEED)
    q, d = (
        F.normalize(torch.randn(n, width, device=setup.device), dim=-1).requires_grad_() for _ in range(2)
    )

    def run() -> None:
        torch.autograd.grad(loss_of(q, d), (q, d))

    run()
    setup.reset_memory()
    before = torch.cuda.memory_allocated(setup.device) if setup.gpu else 0
    seconds = setup.seconds(run)
    return seconds, setup.peak_bytes - before if setup.gpu else 0


def encode(setup: Setup) -> Rows:
    """Texts to vectors beside sentence-transformers' `encode`: the same folder, texts and number format."""
    shape = model_config("gte-base", setup.small)
    folder, count = str(setup.scratch / "model"), 16_384 if setup.gpu else 96
    build_encoder(shape, shape.vocab_size, PAD, LENGTH, SEED).backbone.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(shape.vocab_size - 5))]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=LENGTH).save_pretrained(folder)
    tokens = random_pairs(count, 75 if setup.gpu else 12, shape.vocab_size).documents
    spans = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    texts = [" ".join(words[i] for i in tokens.values[start:stop]) for start, stop in spans]
    ours = load_model(folder, str(setup.device), half=setup.gpu)
    theirs = SentenceTransformer(folder, device=str(setup.device))
    if setup.gpu:
        theirs.half()
    calls = {
        "ours": lambda: ours.embed(texts, 65_536 if setup.gpu else 2_048),
        "theirs": lambda: theirs.encode(texts, batch_size=256 if setup.gpu else 32, show_progress_bar=False),
    }
    for call in calls.values():
        call()
    times = [
        {name: setup.seconds(call) for name, call in calls.items()}
        for _ in range(2 if setup.small else PEER_TIMES)
    ]
    ratios = sorted(t["theirs"] / t["ours"] for t in times)
    median = ratios[len(ratios) // 2]
    figure = f"{median:.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f}; {count / min(t['ours'] for t in times):,.0f} texts/s)"
    yield within("encoding against sentence-transformers, tokenising included", figure, median, 1.2)
