"""The steps of a run whose folder is in a bucket."""

import time

from gte_ray.runs import history
from gte_ray.runs.history import History
from gte_ray.runtime import storage
from gte_ray.train.step_report import StepMetrics, StepReport
from tests.commands import HANGS


def report(step: int) -> StepReport:
    metrics = StepMetrics(
        loss=1 / (step + 1),
        accuracy=0.5,
        masked_share=0.0,
        grad_norm=1.0,
        learning_rate=1e-3,
        overflow=False,
        loss_scale=1.0,
        tokens=10,
        computed_tokens=10,
        pairs=2,
        digest=100 + step,
    )
    return StepReport(step, "web", seconds=0.1, waited=0.0, metrics=metrics)


def test_steps_outlive_the_machine_of_the_driver(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEEP_SECONDS", 0.0)
    kept = f"s3://bucket/{tmp_path.name}/history.jsonl"
    first = History(str(tmp_path / "first.jsonl"), kept, print)
    first.append([report(0), report(1)])
    until = time.monotonic() + HANGS
    while not storage.exists(kept) and time.monotonic() < until:
        time.sleep(0.05)
    elsewhere = History(str(tmp_path / "elsewhere.jsonl"), kept, print)
    elsewhere.append([report(2)])
    elsewhere.keep()
    back = History(str(tmp_path / "first.jsonl"), kept, print)
    assert back.read() == [(0, "web", 1.0, 100), (1, "web", 1 / 2, 101), (2, "web", 1 / 3, 102)]


def test_a_bucket_that_is_away_does_not_stop_the_steps(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEEP_SECONDS", 0.0)
    path, kept = tmp_path / "history.jsonl", f"s3://bucket/{tmp_path.name}/history.jsonl"
    steps = History(str(path), kept, print)
    bucket.stop()
    try:
        began = time.monotonic()
        steps.append([report(0)])
        steps.append([report(1)])
        waited = time.monotonic() - began
    finally:
        bucket.start()
    assert waited < 5  # a request is tried again for 90 s
    steps.append([report(2)])
    steps.keep()
    assert storage.read_bytes(kept) == path.read_bytes()
    assert path.read_bytes().count(b"\n") == 3


def test_steps_wait_in_memory_for_a_disk_that_is_full(tmp_path):
    """A folder in the place of the file stands for the disk."""
    path, said = tmp_path / "history.jsonl", []
    steps = History(str(path), str(path), said.append)
    steps.append([report(0)])
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    steps.append([report(1)])
    steps.append([report(2)])
    assert said == [f"{path} cannot be written to (Is a directory); steps wait in memory"]
    path.rmdir()
    path.write_bytes(content)
    assert len(steps.read()) == 3
    steps.append([report(3)])
    assert [step for step, *_ in History(str(path), str(path), said.append).read()] == [0, 1, 2, 3]
