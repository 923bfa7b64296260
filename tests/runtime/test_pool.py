"""Ray Data as a pool: how units are put into tasks."""

from gte_ray.runtime import pool


def test_small_units_are_done_in_few_tasks_and_large_ones_alone():
    weights = [1] * 1_000 + [5_000, 0, 0, 3_000, 10]
    groups = pool.grouped_units(list(range(len(weights))), weights, 4_000)
    assert [unit for group in groups for unit in group] == list(range(len(weights)))
    sizes = [sum(weights[unit] for unit in group) for group in groups]
    most = -(-(sum(weights) + 2) // pool.GROUPS)
    assert all(
        size <= most or len([u for u in group if weights[u]]) == 1
        for size, group in zip(sizes, groups, strict=True)
    )
    assert len(groups) <= 2 * pool.GROUPS
    assert pool.grouped_units([], [], 10) == []
    assert [len(group) for group in pool.grouped_units("abc", [4, 4, 4], 5)] == [1, 1, 1]
    assert len(pool.grouped_units(range(640), [0] * 640, 5)) > 1  # an empty one is some work too
