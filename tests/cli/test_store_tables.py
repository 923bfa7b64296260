"""What a store has, beside what the paper has."""

import io

from gte_ray.cli.console import plain_console
from gte_ray.cli.store_tables import paper_table
from gte_ray.data.mixture import PlanSource
from gte_ray.data.step_plan import StepPlan
from gte_ray.data.store import open_store


def test_the_groups_of_table_1_beside_a_store(tiny_store):
    store = open_store(tiny_store)
    sources = tuple(PlanSource(source.name, source.rows) for source in store.manifest.sources)
    plan = StepPlan(sources, alpha=0.5, global_batch=16, seed=0, steps=50)
    console = plain_console(file=io.StringIO(), width=120)
    console.print(paper_table(store, plan))
    rows = [line.strip("│").split("│") for line in console.file.getvalue().splitlines()]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) == 7}
    assert len(cells) == 9
    pairs = sum(source.rows for source in sources)
    assert cells["Web Page"] == ["147,000,000", "3", "none", "", "", ""]
    assert cells["Others"] == ["91,000,000", "3", f"{pairs:,}", "3", "100.0%", f"{50 * 16 / pairs:.2f}"]
