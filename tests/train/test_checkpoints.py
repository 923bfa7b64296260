"""What Ray Train wrote down of a run's checkpoints."""

import pytest

from gte_ray.errors import RunError
from gte_ray.train.checkpoints import CHECKPOINTS, last_checkpoint, next_step


def test_a_run_without_checkpoints_begins_at_the_start(tmp_path):
    assert last_checkpoint(str(tmp_path)) is None
    assert next_step(str(tmp_path)) == 0


@pytest.mark.parametrize("record", ["", "{", '{"a": 1}'])
def test_a_damaged_record_is_told_in_one_sentence(tmp_path, record):
    folder = tmp_path / CHECKPOINTS
    folder.mkdir()
    (folder / "checkpoint_manager_snapshot.json").write_text(record)
    with pytest.raises(RunError, match=r"checkpoints: the record of the run's checkpoints cannot be read \("):
        last_checkpoint(str(tmp_path))
