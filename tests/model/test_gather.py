"""Gathering with gradient: alone, and over ranks with different numbers of rows."""

import pytest
import torch

from gte_ray.model.gather import Spread, gather, spread, sum_over_ranks
from tests.train.runs import on_ranks

COUNTS = (2, 0, 3)


def all_rows() -> torch.Tensor:
    return torch.arange(10.0).reshape(5, 2) ** 2


def use(rows: torch.Tensor, rank: int) -> torch.Tensor:
    """A different function on each rank."""
    return (rows.pow(2) * torch.arange(1.0, 11).reshape(5, 2).roll(rank, 0)).sum()


def gather_on_rank(rank: int):
    own = slice(sum(COUNTS[:rank]), sum(COUNTS[: rank + 1]))
    local = all_rows()[own].requires_grad_()
    rows, few = spread((len(local), rank // 2), torch.device("cpu"))
    hashes = torch.tensor([2**62 + rank] * COUNTS[rank], dtype=torch.int64)
    everything, hashes, twice, constant = gather(rows, local, hashes, 2 * local, local.detach())
    assert everything.requires_grad and not constant.requires_grad  # as a guide's vectors, which need none
    (use(everything, rank) + use(twice, rank)).backward()
    total = sum_over_ranks(torch.tensor([1.0, rank]))
    assert few.counts == (0, 0, 1)
    assert torch.equal(twice, 2 * everything)
    return rows, everything.detach(), local.grad, total, hashes


@pytest.mark.processes
def test_ranks_with_unequal_rows_get_all_rows_and_the_sum_of_gradients(tmp_path):
    results = on_ranks(3, gather_on_rank, tmp_path)
    whole = all_rows().requires_grad_()
    sum(use(whole, rank) + use(2 * whole, rank) for rank in range(3)).backward()
    for rank, (rows, everything, gradient, total, hashes) in enumerate(results):
        assert (rows.counts, rows.rank, rows.local, rows.total) == (COUNTS, rank, COUNTS[rank], 5)
        assert torch.equal(everything, all_rows())
        torch.testing.assert_close(gradient, whole.grad[rows.offset : rows.offset + rows.local])
        assert total.tolist() == [3, 3]
        assert hashes.tolist() == [2**62, 2**62, 2**62 + 2, 2**62 + 2, 2**62 + 2]


def test_one_process_needs_no_process_group():
    local = all_rows().requires_grad_()
    (rows,) = spread((5,), torch.device("cpu"))
    assert rows == Spread((5,), 0)
    (everything,) = gather(rows, local)
    use(everything, 0).backward()
    expected = all_rows().requires_grad_()
    use(expected, 0).backward()
    assert torch.equal(local.grad, expected.grad)
    assert sum_over_ranks(torch.tensor([2.0])).item() == 2
