"""Scoring beside the training: nothing waits for it, nothing is scored twice, what fails is tried at the end."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gte_ray.cli.flags import parse
from gte_ray.config.fields import Evaluation
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation import async_evaluation
from gte_ray.evaluation.async_evaluation import AsyncEvaluation, HeldOutBoard
from gte_ray.evaluation.heldout import SourceScores
from gte_ray.model.weights_file import kept_weights
from gte_ray.pretrain import Arguments
from gte_ray.recipes.paper import tiny
from gte_ray.runtime import storage
from tests.commands import HANGS

CONFIG = replace(tiny("store"), training=replace(tiny("store").training, steps=8))
CONFIG = replace(CONFIG, run=replace(CONFIG.run, checkpoint_every=2, eval=Evaluation("heldout", 2)))


@pytest.fixture
def folder(ray_local, tmp_path, monkeypatch):
    """A run's folder. A score is the content of the weights file, once there is a file named `go`."""
    go = tmp_path / "go"

    def score(config, tokenizer, weights, gpu):
        with open(tmp_path / "scored", "a") as scored:
            scored.write(f"{Path(weights).stem}\n")
        while not go.exists():
            time.sleep(0.02)
        return (SourceScores(float(Path(weights).read_text()), 0.0, 0.0, 0.0, "a", 1, 2),)

    monkeypatch.setattr(async_evaluation, "score_in_task", score)
    monkeypatch.setattr(async_evaluation, "LOOK_SECONDS", 0.0)
    return tmp_path


def keep(folder: Path, step: int, content: str) -> None:
    storage.write_bytes(kept_weights(str(folder), step), content.encode())


def scoring(folder: Path, start: int = 0) -> tuple[AsyncEvaluation, dict[int, float]]:
    said: dict[int, float] = {}

    def on_scores(step, rows):
        said[step] = rows[0].ndcg_at_10

    return AsyncEvaluation(CONFIG, str(folder), start, HeldOutBoard(CONFIG, None), on_scores), said


def look_until(found: AsyncEvaluation, said: dict[int, float], steps: int) -> None:
    """Looks after `steps` again and again, until there are scores."""
    until = time.monotonic() + HANGS
    while not said and time.monotonic() < until:
        found.look(steps)


def test_training_does_not_wait_and_steps_come_in_order(folder):
    found, said = scoring(folder)
    for step in (2, 4, 6):
        keep(folder, step, str(step / 10))
        found.look(step)  # would not return if it waited: nothing is scored before `go` is there
    assert said == {}
    (folder / "go").touch()
    steps = found.finish()
    assert [(step, rows[0].ndcg_at_10) for step, rows in steps] == [(2, 0.2), (4, 0.4), (6, 0.6)]
    assert list(said) == [2, 4, 6]
    assert not list((folder / "weights").iterdir())


def test_weights_are_scored_while_training_goes_on(folder):
    (folder / "go").touch()
    found, said = scoring(folder)
    found.look(2)
    assert found.task is None, "weights that are not written yet"
    keep(folder, 2, "0.5")
    look_until(found, said, 3)
    assert said == {2: 0.5}


def test_another_attempt_scores_only_what_has_no_scores(folder):
    (folder / "go").touch()
    found, said = scoring(folder)
    keep(folder, 2, "0.5")
    look_until(found, said, 2)
    keep(folder, 4, "0.6")
    again, said = scoring(folder, start=4)
    assert said == {2: 0.5}
    keep(folder, 6, "0.7")
    assert len(again.finish()) == 3
    assert (folder / "scored").read_text().split() == ["step-2", "step-4", "step-6"]


def test_scores_of_another_board_are_not_taken_for_its_own(folder):
    (folder / "go").touch()
    found, said = scoring(folder)
    keep(folder, 2, "0.5")
    look_until(found, said, 2)
    keep(folder, 4, "0.6")
    other, said = HeldOutBoard(CONFIG, None), {}
    other.key = "-other"
    again = AsyncEvaluation(CONFIG, str(folder), 4, other, said.__setitem__)
    assert said == {} and again.waiting == [4, 6]


def test_weights_from_before_it_was_asked_for_are_not_waited_for(folder):
    (folder / "go").touch()
    found, _ = scoring(folder, start=4)
    keep(folder, 6, "0.7")
    assert [step for step, _ in found.finish()] == [6]


def test_what_fails_is_left_alone_until_the_end_and_then_told(folder):
    (folder / "go").touch()
    found, _ = scoring(folder)
    keep(folder, 2, "no number")
    found.look(2)
    while not found.failed:
        found.look(3)
    with pytest.raises(RunError, match="after 2 steps: ValueError: could not convert"):
        found.finish()
    keep(folder, 2, "0.1")
    keep(folder, 4, "0.2")
    keep(folder, 6, "0.3")
    again, _ = scoring(folder, start=8)
    assert len(again.finish()) == 3


def test_storage_that_is_away_does_not_disturb_training(folder, monkeypatch):
    (folder / "go").touch()
    found, said = scoring(folder)
    for step in (2, 4, 6):
        keep(folder, step, str(step / 10))

    def away(uri):
        raise OSError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "exists", away)
        found.look(2)
    found.finish()
    assert said == {2: 0.2, 4: 0.4, 6: 0.6}


@pytest.mark.parametrize("value", ["heldout", "heldout@0", "heldout@3", "beir@3", "@2"])
def test_what_may_be_asked_for(value):
    with pytest.raises(
        UsageError, match=f"--eval is '{value}'; allowed is BOARD@STEPS, with heldout, .* multiple of"
    ):
        parse(Arguments, "prog", ["--checkpoint-every", "2", "--eval", value])
