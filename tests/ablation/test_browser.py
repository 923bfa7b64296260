"""What a person sees of an ablation in `mlflow ui`, in a real browser. Skipped where no Chromium is installed."""

import json

import pytest

from gte_ray.ablation.metric import HELD_OUT_PAIRS
from gte_ray.ablation.records import TRIALS_FILE, Records
from gte_ray.ablation.results import log_report, read_report
from gte_ray.ablation.study import Ablation, more_is_better
from gte_ray.tracking.server import to_view
from gte_ray.tracking.tracker import TrackedRun, Tracker
from tests.browser import needs_chromium, new_page
from tests.servers import Server

pytestmark = [pytest.mark.processes, needs_chromium]
ROWS = ("small", "large")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A server that holds an ablation of two rows, written as `run_study` writes it."""
    folder = tmp_path_factory.mktemp("ui")
    uri, experiment = f"sqlite:///{folder}/mlflow.db", "ablation demo"
    tags = {"gte_ray.ablation": "demo", "gte_ray.profile": "laptop"}

    def track(name, more, parent_run_id=None):
        run = TrackedRun(name, name, experiment, {}, tags | more, parent_run_id)
        return Tracker(uri, run, str(folder / f"{name}.jsonl"), pytest.fail)

    parent = track("demo, laptop", {})
    parent_id = parent.run_id(60)
    trials = []
    for number, row in enumerate(ROWS):
        child = track(f"demo {row}", {"gte_ray.row": row, "gte_ray.fingerprint": row}, parent_id)
        for step in range(20):
            child.log_step(step, {"loss": 5 - step / (10 - number), "loss/docs": 5 - step / 9})
        child.log_step(20, {"heldout/ndcg_at_10": 0.5 + number / 10, "ndcg_at_10/docs": 0.4})
        assert child.finish(timeout_s=60) == ""
        trials.append(
            {
                "row": row,
                "x": float(number),
                "paper": 59.0,
                "seed": 42,
                "step": 20,
                "fingerprint": row,
                "series": "",
            }
        )
    (folder / TRIALS_FILE).write_text(json.dumps(trials))
    parent.log_artifact(str(folder / TRIALS_FILE))
    assert parent.flush(60)
    records = Records(uri, experiment)
    ablation = Ablation("Table 0", "which?", "Up.", lambda *_: [], more_is_better, "size", curves=True)
    report = read_report(records, parent_id, "demo", ablation, "laptop", [HELD_OUT_PAIRS])
    assert [result.scores for result in report.results] == [(50.0,), (60.0,)]
    log_report(report, records, parent_id, parent)
    assert parent.finish(timeout_s=60) == ""
    server = Server(folder)
    server.start()
    yield f"{server.uri}/#/experiments/{records.experiment_id}", parent_id
    server.stop()


@pytest.fixture(scope="module")
def page(shown):
    with new_page() as found:
        yield found


EXPANDER = "button[data-component-id*='runnamecellrenderer']"


def test_the_experiment_shows_the_parent_its_children_and_their_losses(shown, page):
    page.goto(f"{shown[0]}/runs?compareRunsMode=CHART")
    page.get_by_text("demo, laptop", exact=True).first.wait_for(timeout=60_000)
    page.locator(EXPANDER).first.click()
    for row in ROWS:
        page.get_by_text(f"demo {row}", exact=True).first.wait_for(timeout=60_000)
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="loss/docs").first
    card.locator("path.js-line").nth(len(ROWS) - 1).wait_for(state="attached", timeout=60_000)


def test_the_page_that_the_command_prints_compares_the_rows_without_a_click(shown, page):
    server, _, experiment = shown[0].partition("/#/experiments/")
    (address,) = to_view(server, experiment, shown[1], "heldout/ndcg_at_10")
    # A document of its own: the page that is open would show the runs of its last search until the new ones are there.
    page.goto("about:blank")
    page.goto(address)
    for row in ROWS:
        page.get_by_text(f"demo {row}", exact=True).first.wait_for(timeout=60_000)
    assert page.get_by_text("demo, laptop", exact=True).count() == 0
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="loss/docs").first
    card.locator("path.js-line").nth(len(ROWS) - 1).wait_for(state="attached", timeout=60_000)


def test_the_report_and_the_plot_are_there(shown, page):
    page.goto(f"{shown[0]}/runs/{shown[1]}")
    page.get_by_text("The claim cannot be told from these runs").first.wait_for(timeout=60_000)
    page.goto(f"{shown[0]}/runs/{shown[1]}/artifacts")
    page.get_by_text("plot.png", exact=True).first.click(timeout=60_000)
    image = page.locator("img[alt='plot.png'], img[src^='blob:'], img[src*='plot.png']").first
    image.wait_for(timeout=60_000)
    assert image.evaluate("image => image.naturalWidth") > 500
