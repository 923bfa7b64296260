"""Fixtures of tests with a real MLflow."""

import pytest


@pytest.fixture
def folder(tmp_path, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return tmp_path
