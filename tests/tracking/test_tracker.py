"""Tracking against a real MLflow: an sqlite database, and a server that comes late, fails and comes back."""

import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from gte_ray.tracking.queue import Record, RecordQueue
from gte_ray.tracking.tracker import TrackedRun
from tests.commands import HANGS
from tests.servers import Server
from tests.tracking.trackers import RUN, query, start


def test_new_run_has_all_that_was_logged(folder, capfd):
    tracker = start(folder, TrackedRun("k'1", "shown", "laptop", {"a b(c)": 1}, {"store": "ab"}, "parent"))
    (folder / "plots").mkdir()
    (folder / "plots/loss.png").write_bytes(b"png")
    for step in range(1500):
        tracker.log_step(step, {"loss": 1 / (step + 1), "loss/docs(1)": float("nan")})
    tracker.log_artifact(str(folder / "plots"), "plots")
    tracker.set_tags({f"tag{i}": "x" * 9000 for i in range(130)})
    tracker.log_params({f"param{i}": "ü" * 9000 for i in range(130)})
    assert tracker.finish(timeout_s=60) == ""

    assert query(folder, "select count(*) from metrics where key = 'loss'") == [(1500,)]
    assert query(folder, "select value from metrics where key = 'loss' and step = 999") == [(0.001,)]
    assert query(folder, "select count(*), sum(is_nan) from metrics where key = 'loss/docs_1_'") == [
        (1500, 1500)
    ]
    assert query(folder, "select count(*) from params") == [(131,)]
    assert query(folder, "select count(*) from tags where key like 'tag%'") == [(130,)]
    ((status, name, uri, ended),) = query(folder, "select status, name, artifact_uri, end_time from runs")
    assert (status, name, ended is not None) == ("FINISHED", "shown", True)
    assert uri.startswith(f"{folder}/mlartifacts/laptop/")
    assert (folder / uri / "plots/loss.png").read_bytes() == b"png"
    tags = dict(query(folder, "select key, value from tags"))
    assert tags["mlflow.parentRunId"] == "parent" and tags["store"] == "ab" and "mlflow.user" in tags
    assert not (folder / "run/queue.jsonl").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.processes
def test_a_verbose_tracker_lets_mlflow_log(tmp_path):
    script = f"""
        from gte_ray.tracking.tracker import TrackedRun, Tracker
        run = TrackedRun("key", "tiny", "laptop")
        Tracker("sqlite:///{tmp_path}/new.db", run, "{tmp_path}/queue.jsonl", print, verbose=True).finish(timeout_s=60)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=HANGS
    )
    assert done.stdout == "" and "INFO mlflow.store.db" in done.stderr


def test_run_started_twice_goes_on_and_no_step_is_written_twice(folder):
    first = start(folder)
    for step in range(8):
        first.log_step(step, {"loss": 1.0})
    run_id = first.run_id(60)
    assert first.finish("KILLED", timeout_s=60) == ""

    changed = TrackedRun(RUN.key, RUN.name, RUN.experiment, {**RUN.params, "workers": 1})
    second = start(folder, changed)
    assert second.run_id(60) == run_id
    assert second.flush(60)
    assert query(folder, "select status from runs") == [("RUNNING",)]
    for step in range(5, 12):
        second.log_step(step, {"loss": 2.0})
        second.log_step(step, {"loss": 3.0})
    second.log_step(3, {"held_out": 0.5})
    assert second.finish(timeout_s=60) == ""

    rows = query(folder, "select step, value from metrics where key = 'loss' order by step, timestamp")
    assert rows == [(step, 1.0 if step < 8 else 2.0) for step in range(12)]
    assert query(folder, "select step from metrics where key = 'held_out'") == [(3,)]
    assert query(folder, "select value from params where key = 'workers'") == [("2",)]
    assert query(folder, "select value from tags where key = 'workers'") == [("1",)]
    assert query(folder, "select status from runs") == [("FINISHED",)]


def test_a_file_that_is_gone_is_told_and_the_rest_is_written(folder):
    tracker = start(folder)
    tracker.log_artifact(str(folder / "no-such-file"))
    tracker.log_step(1, {"loss": 1.0})
    assert tracker.finish(timeout_s=60) == f"{folder}/no-such-file: gone before MLflow could store it"
    assert query(folder, "select step from metrics") == [(1,)]


def test_one_value_that_mlflow_refuses_takes_no_other_with_it(folder):
    queue = RecordQueue(str(folder / "run/queue.jsonl"))
    for step in range(5):
        queue.add(Record("metrics", {"loss": float(step), "../bad": 1.0, "accuracy": 0.5}, step, 1))
    queue.close()
    assert start(folder).finish(timeout_s=60).startswith("MLflow refused 5 value(s), which are lost (")
    assert query(folder, "select key, count(*), max(value) from metrics group by key") == [
        ("accuracy", 5, 0.5),
        ("loss", 5, 4.0),
    ]
    assert query(folder, "select status from runs") == [("FINISHED",)]


def test_names_that_mlflow_does_not_allow_are_changed_and_stay_apart(folder):
    names = ["../x", "/x", "a//b", "a/./b", "..", "x/", "a(1)", "a[1]", "n" * 400, "n" * 401, "ü/b: c-d.e"]
    tracker = start(folder, TrackedRun("k", "n", "laptop", dict.fromkeys(names, 1)))
    for number, name in enumerate(names):
        tracker.log_step(1, {name: float(number)})
    tracker.set_tags(dict.fromkeys(names, 1))
    assert tracker.finish(timeout_s=60) == ""
    assert query(folder, "select value from metrics order by value") == [
        (float(n),) for n in range(len(names))
    ]
    assert query(folder, "select count(*) from params") == [(len(names),)]
    assert ("ü/b: c-d.e",) in query(folder, "select key from metrics")


def test_deleted_experiment_is_restored_with_a_word(folder):
    assert start(folder).finish(timeout_s=60) == ""
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("update experiments set lifecycle_stage = 'deleted' where name = 'laptop'")
    warnings: list[str] = []
    tracker = start(folder, warnings=warnings)
    tracker.log_step(0, {"loss": 1.0})
    assert tracker.finish(timeout_s=60) == ""
    assert len(warnings) == 1 and "restored" in warnings[0]


@pytest.mark.processes
def test_killed_driver_loses_nothing(folder):
    """SIGKILL with MLflow away: the queue, its last line cut, is written by the next start."""
    script = f"""
        import os, signal, torch
        from gte_ray.tracking.queue import unwritten
        from gte_ray.tracking.tracker import TrackedRun, Tracker
        run = TrackedRun({RUN.key!r}, "tiny", "laptop", {{"workers": 2}})
        tracker = Tracker("http://127.0.0.1:9", run, {str(folder / "run/queue.jsonl")!r}, print)
        for step in range(300):
            tracker.log_step(step, {{"loss": step}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=HANGS)
    assert killed.returncode == -signal.SIGKILL
    with open(folder / "run/queue.jsonl", "ab") as queue:
        queue.write(b'{"kind": "metrics", "values": {"lo')
    tracker = start(folder)
    tracker.log_step(200, {"loss": -1.0})
    tracker.log_step(300, {"loss": 300.0})
    assert tracker.finish(timeout_s=60) == ""
    assert query(folder, "select step, value from metrics order by step") == [(s, s) for s in range(301)]


def test_records_that_were_written_but_stayed_in_the_queue_are_not_written_again(folder):
    tracker = start(folder)
    for step in range(10):
        tracker.log_step(step, {"loss": step})
    assert tracker.finish(timeout_s=60) == ""
    queue = RecordQueue(str(folder / "run/queue.jsonl"))  # as a kill between writing and emptying leaves it
    for step in range(5, 13):
        queue.add(Record("metrics", {"loss": float(step)}, step, 1))
    queue.close()
    assert start(folder).finish(timeout_s=60) == ""
    assert query(folder, "select step, value from metrics order by step") == [(s, s) for s in range(13)]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None], ids=["503", "silent"]
)
def test_server_that_fails_or_hangs_holds_nothing_up(tmp_path, answer):
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        held: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        tracker = start(tmp_path, uri=uri, warnings=warnings)
        begun = time.monotonic()
        tracker.log_step(1, {"loss": 1.0})
        assert time.monotonic() - begun < 2
        while not (warnings if answer else held):
            time.sleep(0.05)
        begun = time.monotonic()
        left = tracker.finish(timeout_s=0.5)
        assert time.monotonic() - begun < 5  # the request itself may take 10 s
        told = len(warnings)  # a connection that is closed makes one more
        for connection in held:
            connection.close()
    assert "2 records are kept" in left  # the parameters and one step
    assert told == (1 if answer else 0)


@pytest.mark.processes
def test_server_that_is_away_at_the_start_and_again_in_the_middle(folder):
    server, warnings = Server(folder), []
    tracker = start(folder, uri=server.uri, warnings=warnings)
    begun = time.perf_counter()
    for step in range(100):
        tracker.log_step(step, {"loss": step})
    assert time.perf_counter() - begun < 2
    assert tracker.run_id(0.1) is None
    server.start()
    try:
        assert tracker.flush(60)
        assert tracker.run_id() is not None
        server.stop()
        for step in range(100, 200):
            tracker.log_step(step, {"loss": step})
        left = tracker.finish(timeout_s=2)
        assert "100 records are kept in" in left and str(folder / "run/queue.jsonl") in left
        assert len(warnings) == 1 and "training goes on" in warnings[0]

        server.start()
        again = start(folder, uri=server.uri, warnings=warnings)
        (folder / "card.md").write_text("card")
        again.log_artifact(str(folder / "card.md"))
        assert again.finish(timeout_s=60) == ""
    finally:
        server.stop()
    assert query(folder, "select step, value from metrics order by step") == [(s, s) for s in range(200)]
    ((status, uri),) = query(folder, "select status, artifact_uri from runs")
    assert status == "FINISHED" and uri.startswith("mlflow-artifacts:")
    assert [p.read_text() for p in (folder / "served").rglob("card.md")] == ["card"]
    assert len(warnings) == 1
