"""Fewer steps for a run that has begun: what it becomes, and what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gte_ray.errors import UsageError
from gte_ray.evaluation.scores import Scores
from gte_ray.recipes.paper import tiny
from gte_ray.runs import lowering, tracked
from gte_ray.runs.lowering import ending
from gte_ray.runs.plan import make_stream, plan_run, resolve_tokenizer
from gte_ray.runs.run_folder import open_run, run_key
from gte_ray.train.engine import Engine
from gte_ray.train.step import train_step
from tests.train.runs import CPU, encoder_of, pairs
from tests.train.runs import tiny as tiny_model


@pytest.fixture
def run_of(tiny_store, tmp_path):
    def run_of(steps, **more):
        config = tiny(tiny_store)
        config = replace(config, data=replace(config.data, max_length=24))
        place = replace(config.run, output=str(tmp_path), name="run")
        return plan_run(replace(config, run=place, training=replace(config.training, steps=steps), **more))

    return run_of


@pytest.fixture
def done(monkeypatch):
    """Sets after how many steps the run has a checkpoint."""
    return lambda steps: monkeypatch.setattr(lowering, "next_step", lambda folder: steps)


def steps_of(run):
    training = run.config.training
    return training.steps, training.planned_steps, training.lowered_at


def test_fewer_steps_end_the_run_from_its_last_checkpoint_on(run_of, done, tmp_path):
    first = open_run(run_of(100), fresh=False)
    key = run_key(first)
    done(40)
    ended = open_run(run_of(60), fresh=False)
    assert steps_of(ended) == (60, 100, 40)
    assert run_key(ended) != key, "MLflow has the steps that are done anew"
    key = run_key(ended)
    assert ended.fingerprint not in (first.fingerprint, run_of(60).fingerprint)
    assert "60 of the 100 steps" in ending(ended.config.training) and "from step 40 on" in ending(
        ended.config.training
    )
    assert [ended.plan[t] for t in range(60)] == [first.plan[t] for t in range(60)]
    plan = make_stream(ended, resolve_tokenizer(ended)).plan()
    assert len(plan) == 60 and [plan[t] for t in (0, 59)] == [first.plan[t] for t in (0, 59)]
    # The same command goes on, wherever it is by then.
    done(50)
    again = open_run(run_of(60), fresh=False)
    assert (
        steps_of(again) == (60, 100, 40) and run_key(again) == key and again.fingerprint == ended.fingerprint
    )
    recorded = json.loads((tmp_path / "run/config.json").read_text())
    assert recorded["fingerprint"] == ended.fingerprint and recorded["config"]["training"]["lowered_at"] == 40
    for steps in (55, 70, 100):
        with pytest.raises(
            UsageError, match=rf"--steps is {steps}; those of run run were lowered from 100 to 60 after its"
        ):
            open_run(run_of(steps), fresh=False)


def test_steps_that_are_done_are_not_taken_back(run_of, done, tmp_path):
    open_run(run_of(100), fresh=False)
    done(40)
    with pytest.raises(
        UsageError, match=r"--steps is 39; run run has a checkpoint after 40 of 100 steps, and no fewer"
    ):
        open_run(run_of(39), fresh=False)
    assert steps_of(open_run(run_of(100), fresh=False)) == (100, 0, 0)
    (tmp_path / "run/results.json").write_text("{}")
    with pytest.raises(UsageError, match=r"--steps is 60; run run is finished after 100 steps, and no fewer"):
        open_run(run_of(60), fresh=False)
    (tmp_path / "run/results.json").unlink()
    ended = open_run(run_of(40), fresh=False)
    assert steps_of(ended) == (40, 100, 40)
    assert ending(ended.config.training).endswith("with the weights of its last checkpoint as they are")


def test_before_its_first_checkpoint_a_run_is_planned_anew(run_of, done):
    open_run(run_of(100), fresh=False)
    done(0)
    assert steps_of(open_run(run_of(60), fresh=False)) == (60, 0, 0)
    assert steps_of(open_run(run_of(60), fresh=False)) == (60, 0, 0)


def test_another_run_is_refused_as_before(run_of, done):
    open_run(run_of(100), fresh=False)
    done(40)
    with pytest.raises(UsageError, match=r"other settings \(steps 100 -> 60, seed 42 -> 7\)"):
        open_run(run_of(60, seed=7), fresh=False)
    with pytest.raises(UsageError, match=r"other settings \(steps 100 -> 110\)"):
        open_run(run_of(110), fresh=False)


def test_what_goes_on_is_the_run_that_was_to_end_so_from_the_start(tmp_path):
    """Bit by bit."""
    planned = tiny_model()
    lowered = replace(planned, training=replace(planned.training, steps=5, planned_steps=6, lowered_at=3))
    first, whole = (Engine(encoder_of(planned), config, CPU) for config in (planned, lowered))
    for step in range(3):
        train_step(first, pairs(step), planned)
        train_step(whole, pairs(step), lowered)
    first.save(str(tmp_path))
    gone_on = Engine(encoder_of(planned), lowered, CPU)
    gone_on.load(str(tmp_path))
    for step in (3, 4):
        metrics = [train_step(engine, pairs(step), lowered) for engine in (gone_on, whole)]
        assert (
            metrics[0].learning_rate
            == metrics[1].learning_rate
            == pytest.approx(1e-3 * (6 - 3) / 4 * (5 - step) / 2)
        )
    for one, other in zip(gone_on.encoder.parameters(), whole.encoder.parameters(), strict=True):
        assert one.equal(other)


def test_the_plot_of_losses_ends_where_the_run_does(run_of, monkeypatch):
    """Whatever was done before the steps were lowered."""
    drawn = []
    monkeypatch.setattr(tracked, "loss_curve", lambda numbers, *more: drawn.extend(numbers))
    history = SimpleNamespace(read=lambda: [(step, "web", 1.0, 7) for step in range(70)])
    tracker = SimpleNamespace(log_artifact=lambda *arguments: None)
    tracked.log_plots(run_of(60), Scores((), (), ()), history, tracker)
    assert drawn == list(range(60))
