"""A model folder to change."""

import pytest

from tests.model.folders import bare_folder, copy, model_folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A sentence-transformers folder."""
    folder = tmp_path_factory.mktemp("plain")
    return model_folder(bare_folder(folder / "bare"), folder / "model")


@pytest.fixture
def own(plain, tmp_path):
    """A copy of it to change."""
    return copy(plain, tmp_path / "own")
