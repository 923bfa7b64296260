"""Tracking URIs: what is allowed, and how one is shown."""

import pytest

from gte_ray.errors import UsageError
from gte_ray.tracking.server import resolve_uri, viewing_command


def test_tracking_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:////srv/mlflow.db") == "sqlite:////srv/mlflow.db"
    assert resolve_uri("http://host:5000") == "http://host:5000"
    assert resolve_uri("mysql+pymysql://u@h/d") == "mysql+pymysql://u@h/d"
    assert viewing_command("sqlite:///x.db").endswith(" ui --backend-store-uri sqlite:///x.db")
    assert viewing_command(f"sqlite:///{tmp_path}/x.db").endswith(" sqlite:///x.db")
    assert viewing_command("sqlite:////srv/x.db").endswith(" sqlite:////srv/x.db")
    assert viewing_command("http://me:secret@host:5000") == "open http://***@host:5000"
    for wrong in ("mlruns", "file:///srv/mlruns", "htp://host", ""):
        with pytest.raises(UsageError, match="tracking-uri"):
            resolve_uri(wrong)
