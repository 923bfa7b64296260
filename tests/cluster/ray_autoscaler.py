"""What Ray makes of our files. Ray has no public way to ask it without an account or Kubernetes, so its
private names are here and in no test."""

import copy
from typing import Any

import boto3
from botocore.stub import Stubber
from ray._private import ray_constants
from ray.autoscaler._private.aws import config as aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with Ray's defaults, checked by Ray as `ray up` does first."""
    config = prepare_config(copy.deepcopy(config))
    validate_config(config)
    return config


def node_types(config: dict[str, Any]) -> dict[str, Any]:
    """The types of nodes with what their network interfaces say, as `ray up` has them next."""
    return aws._configure_from_network_interfaces(prepared(config))["available_node_types"]


def request_to_ec2(config: dict[str, Any], node_type: str) -> dict[str, Any]:
    """What Ray asks EC2 for when it launches a node; ParamValidationError where EC2's API has no such thing."""
    region = config["provider"]["region"]
    provider = AWSNodeProvider.__new__(AWSNodeProvider)  # its __init__ makes clients and nothing else
    provider.provider_config, provider.cluster_name = config["provider"], config["cluster_name"]
    provider.ec2_fail_fast = boto3.resource("ec2", region_name=region)
    asked: list[dict[str, Any]] = []
    client = provider.ec2_fail_fast.meta.client
    client.meta.events.register(
        "provide-client-params.ec2.RunInstances", lambda params, **_: asked.append(params)
    )
    with Stubber(client) as stubber:
        launched = {"InstanceId": "i-1", "State": {"Name": "pending"}, "StateReason": {"Message": "pending"}}
        stubber.add_response("run_instances", {"Instances": [launched]})
        provider._create_node(node_types(config)[node_type]["node_config"], {}, 1)
    return asked[0]


def is_setting(name: str) -> bool:
    """Whether this Ray reads an environment variable of that name."""
    return hasattr(ray_constants, name)


def kuberay_groups(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The groups of a RayCluster as Ray's autoscaler reads them."""
    custom_resource = {"metadata": {"namespace": "gte-ray", "name": name}, "spec": spec}
    return _derive_autoscaling_config_from_ray_cr(custom_resource)["available_node_types"]
