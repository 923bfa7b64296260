"""Tracking URIs: what is allowed, and how one is shown."""

import pytest

from gte_ray.errors import UsageError
from gte_ray.tracking.server import resolve_uri, to_view


def test_tracking_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:////srv/mlflow.db") == "sqlite:////srv/mlflow.db"
    assert resolve_uri("http://host:5000") == "http://host:5000"
    assert resolve_uri("mysql+pymysql://u@h/d") == "mysql+pymysql://u@h/d"
    command, page = to_view("sqlite:///x.db", "3", "ab")
    assert command.endswith(" ui --backend-store-uri sqlite:///x.db")
    assert page == "http://127.0.0.1:5000/#/experiments/3/runs/ab?workflowType=machine_learning"
    assert to_view(f"sqlite:///{tmp_path}/x.db")[0].endswith(" sqlite:///x.db")
    assert to_view("sqlite:////srv/x.db")[0].endswith(" sqlite:////srv/x.db")
    assert to_view("http://me:secret@host:5000/") == [
        "http://***@host:5000/#/experiments?workflowType=machine_learning"
    ]
    for wrong in ("mlruns", "file:///srv/mlruns", "htp://host", ""):
        with pytest.raises(UsageError, match="tracking-uri"):
            resolve_uri(wrong)
