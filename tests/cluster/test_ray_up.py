"""cluster/aws: Ray's own checks of the configuration, and what it asks EC2 for, without network or account."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ParamValidationError
from jsonschema import ValidationError

from tests.cluster.ray_autoscaler import node_types, prepared, request_to_ec2

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/aws"


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "a100.yaml").read_text())


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_ray_accepts_the_configuration(config):
    assert set(prepared(config)["available_node_types"]) == {"head", "a100_spot", "a100", "cpu"}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda c: c.update(workers=3), "Additional properties"),
        (lambda c: c["provider"].update(region=2), "is not of type 'string'"),
        (lambda c: c.update(head_node_type="haed"), "must be one of"),
        (lambda c: c["available_node_types"]["a100"].update(min_workers=5), "smaller than"),
        (
            lambda c: c["available_node_types"]["a100"]["resources"].update(GPU="8"),
            "is not of type 'integer'",
        ),
        (lambda c: c["auth"].update(ssh_proxy_use_node_id=True), "required property"),
    ],
)
def test_ray_refuses_a_configuration_with_a_mistake(config, change, refusal):
    change(config)
    with pytest.raises((ValidationError, ValueError), match=refusal):
        prepared(config)


@pytest.mark.parametrize("node_type", ["head", "a100_spot", "a100", "cpu"])
def test_ec2_knows_all_that_a_node_asks_for(config, node_type):
    asked = request_to_ec2(config, node_type)
    assert asked["MetadataOptions"]["HttpTokens"] == "required"
    assert asked["IamInstanceProfile"]["Name"] == (
        "gte-ray-head" if node_type == "head" else "gte-ray-worker"
    )


def test_a_mistyped_field_of_a_node_is_noticed(config):
    config["available_node_types"]["a100"]["node_config"]["Placment"] = {}
    with pytest.raises(ParamValidationError, match="Placment"):
        request_to_ec2(config, "a100")


def test_gpu_nodes_have_efa_in_one_placement_group(config):
    for node_type in ("a100_spot", "a100"):
        asked = request_to_ec2(config, node_type)
        (interface,) = asked["NetworkInterfaces"]
        assert interface["InterfaceType"] == "efa" and interface["AssociatePublicIpAddress"]
        assert asked["Placement"] == {"GroupName": "gte-ray"}
        assert "SecurityGroupIds" not in asked and "SubnetId" not in asked  # EC2 takes them in one place only


def test_spot_comes_before_on_demand_and_offers_the_same(config):
    types = config["available_node_types"]
    spot, on_demand = types["a100_spot"], types["a100"]
    assert request_to_ec2(config, "a100_spot")["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in request_to_ec2(config, "a100")
    assert spot["resources"] == on_demand["resources"]
    assert spot["priority"] > on_demand.get("priority", 0)


def test_every_node_is_in_the_users_security_group(config):
    """Ray makes one itself, with SSH open to the world, for a node that names none."""
    types = node_types(config)
    groups = {tuple(node_type["node_config"]["SecurityGroupIds"]) for node_type in types.values()}
    assert groups == {(config["metadata"]["group"],)}


def test_ray_starts_with_a_token_and_a_dashboard_for_the_head_alone(config):
    starts = [
        command
        for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start " in command for command in starts)
    assert "--dashboard-host=127.0.0.1 " in starts[0]
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert any(
        "export" in command and "RAY_AUTH_MODE=token" in command for command in config["setup_commands"]
    )


def test_commands_are_whole_and_copied_files_are_there(config):
    ready = prepared(config)
    commands = [c for key, value in ready.items() if key.endswith("_commands") for c in value]
    assert len(commands) > 8
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    for local in config["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).exists()


def test_no_key_is_in_the_configuration():
    text = (FOLDER / "a100.yaml").read_text()
    assert not re.search(r"AKIA|aws_credentials|SECRET", text)


def test_a_notice_of_ec2_reaches_ray(tmp_path):
    """`curl` stands in for the instance's metadata: the third question has an answer."""
    programs = {
        "curl": 'case "$*" in *api/token) echo secret;; *) echo . >>asked; [ "$(wc -l <asked)" -eq 3 ];; esac',
        "sleep": "echo $1 >>slept",
        "ray": 'echo "$RAY_ADDRESS $RAY_AUTH_MODE $*" >told',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_HEAD_IP": "10.0.0.1"}
    subprocess.run(["bash", FOLDER / "spot-notice"], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert (tmp_path / "slept").read_text() == "5\n5\n"
    told = (tmp_path / "told").read_text()
    assert told.startswith("10.0.0.1:6379 token drain-node --address 10.0.0.1:6379 ")
    assert "--reason DRAIN_NODE_REASON_PREEMPTION" in told
