"""The MLflow server of cluster/kuberay: what its manifest sets is what MLflow reads."""

import configparser
import importlib.util
from pathlib import Path

from manifests import all_manifests, pod, pods


def test_mlflow_knows_its_options():
    from mlflow.cli import server

    (container,) = pod("mlflow").containers
    program, command, *options = container["args"]
    assert (program, command) == ("mlflow", "server")
    parsed = server.make_context("server", options).params
    assert parsed["artifacts_destination"].startswith("s3://")
    assert parsed["app_name"] == "basic-auth"


def test_the_jobs_address_of_mlflow_is_one_that_it_answers_to():
    from mlflow.server.security_utils import is_allowed_host_header

    (container,) = pod("mlflow").containers
    (allowed,) = [a.partition("=")[2] for a in container["args"] if a.startswith("--allowed-hosts=")]
    environment = {e["name"]: e.get("value") for e in pod("gte-base-headgroup").containers[0]["env"]}
    service, _, port = environment["MLFLOW_TRACKING_URI"].removeprefix("http://").partition(":")
    assert all_manifests()["Service", service]["spec"]["ports"][0]["port"] == int(port)
    hosts = allowed.split(",")
    assert is_allowed_host_header(hosts, f"{service}:{port}")
    assert is_allowed_host_header(hosts, "localhost:5000")
    assert not is_allowed_host_header(hosts, "elsewhere.example:5000")


def test_mlflow_knows_the_variables_that_are_set_for_it():
    from mlflow import environment_variables

    names = {v["name"] for p in pods() for c in p.containers for v in c.get("env", [])}
    ours = {name for name in names if name.startswith("MLFLOW_")}
    assert {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"} <= ours
    assert [name for name in ours if not hasattr(environment_variables, name)] == []


def test_the_settings_of_mlflows_login_are_among_those_that_it_reads():
    def settings(text: str) -> configparser.SectionProxy:
        parser = configparser.ConfigParser()
        parser.read_string(text)
        return parser["mlflow"]

    config_map = all_manifests()["ConfigMap", "mlflow-auth"]["data"]
    (container,) = pod("mlflow").containers
    path = Path(next(e["value"] for e in container["env"] if e["name"] == "MLFLOW_AUTH_CONFIG_PATH"))
    assert {"name": "auth", "mountPath": str(path.parent), "readOnly": True} in container["volumeMounts"]
    found = settings(config_map[path.name])
    package = Path(importlib.util.find_spec("mlflow").origin).parent
    assert found.keys() <= settings((package / "server/auth/basic_auth.ini").read_text()).keys()
    # The server and its logins are in the same database, whose password is in neither place.
    assert f"--backend-store-uri={found['database_uri']}" in container["args"]
    assert "@" not in found["database_uri"]
