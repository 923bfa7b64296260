"""The queue of records: in its file, and without a disk."""

import json
import os

from gte_ray.tracking.queue import Record, RecordQueue


def test_queue_is_emptied_when_all_is_done_and_keeps_the_rest(tmp_path):
    queue = RecordQueue(str(tmp_path / "a/queue.jsonl"))
    records = [Record("metrics", {"loss": 0.5, "q": float("inf")}, step, 7) for step in range(3)]
    for record in records:
        queue.add(record)
    queue.done(1)
    queue.close()
    again = RecordQueue(queue.path)
    assert again.first(10) == records
    again.done(3)
    assert os.path.getsize(queue.path) == 0
    again.add(records[1])
    assert json.loads((tmp_path / "a/queue.jsonl").read_text())["step"] == 1
    again.done(1)
    again.close()
    assert not os.path.exists(queue.path)


def test_queue_without_a_disk_keeps_records_in_memory(tmp_path):
    (tmp_path / "file").write_text("")
    queue = RecordQueue(str(tmp_path / "file/queue.jsonl"))
    queue.add(Record("tags", {"a": "b"}))
    assert queue.disk_error is not None and len(queue.first(5)) == 1
    queue.close()
