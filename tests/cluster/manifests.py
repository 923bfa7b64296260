"""The manifests of cluster/kuberay as data: their pods, what these refer to, and who may reach whom."""

import functools
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/kuberay"
KUBERAY_SCHEMA = Path(__file__).parent / "crds/ray.io_v1.yaml"
KUBERNETES = "1.37"


class UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, f"a key twice in {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.load_all((FOLDER / name).read_text(), UniqueKeys))


@functools.cache
def all_manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """By kind and name."""
    found = [m for path in sorted(FOLDER.glob("*.yaml")) for m in read(path.name)]
    return {(m["kind"], m["metadata"]["name"]): m for m in found}


def manifest(kind: str, name: str) -> dict[str, Any]:
    """A copy, to change at will."""
    return json.loads(json.dumps(all_manifests()[kind, name]))


@functools.cache
def _kuberay_validator(kind: str) -> jsonschema.Draft202012Validator:
    folder = files("kubernetes_validate") / f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict"
    kubernetes = json.loads((folder / "_definitions.json").read_text())
    kuberay = yaml.safe_load(KUBERAY_SCHEMA.read_text())
    registry: Registry = Registry().with_resources(
        [
            (kubernetes["$id"], Resource.from_contents(kubernetes)),
            (
                kuberay["$id"],
                Resource.from_contents({"$schema": kubernetes["$schema"], **kuberay}),
            ),
        ]
    )
    schema = {"$ref": f"{kuberay['$id']}#/$defs/{kind}"}
    return jsonschema.Draft202012Validator(schema, registry=registry)


def validate(document: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError for what the API server would refuse, unknown fields included."""
    if document["apiVersion"] == "ray.io/v1":
        _kuberay_validator(document["kind"]).validate(document)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


class Pod(NamedTuple):
    """A kind of pod that the manifests bring about."""

    name: str
    labels: dict[str, str]
    """Those that KubeRay adds included."""
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def ray_spec(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]


def pods() -> list[Pod]:
    """All kinds of pods of all manifests."""
    return [pod for document in all_manifests().values() for pod in _pods(document)]


def _pods(document: dict[str, Any]) -> Iterator[Pod]:
    name = document["metadata"]["name"]
    if document["kind"] in ("Deployment", "StatefulSet"):
        template = document["spec"]["template"]
        yield Pod(name, template["metadata"]["labels"], template["spec"])
    if document["kind"] in ("RayJob", "RayCluster"):
        spec = ray_spec(document)
        yield _ray_pod(name, "head", "headgroup", spec["headGroupSpec"]["template"])
        for group in spec["workerGroupSpecs"]:
            yield _ray_pod(name, "worker", group["groupName"], group["template"])


def _ray_pod(name: str, node_type: str, group: str, template: dict[str, Any]) -> Pod:
    labels = {
        "app.kubernetes.io/created-by": "kuberay-operator",
        "app.kubernetes.io/name": "kuberay",
        "ray.io/cluster": name,
        "ray.io/group": group,
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": node_type,
    }
    own = template.get("metadata", {}).get("labels", {})
    return Pod(f"{name}-{group}", {**labels, **own}, template["spec"])


def pod(name: str) -> Pod:
    return next(pod for pod in pods() if pod.name == name)


def quantity(text: str | int) -> float:
    """The number that a quantity of Kubernetes' stands for; ValueError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|Ki|Mi|Gi|Ti)?", str(text))
    if found is None:
        raise ValueError(f"{text} is no quantity")
    units = {"m": 1e-3, None: 1, "k": 1e3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(found[1]) * units[found[2]]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "only matchLabels is understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def may_connect(
    source: dict[str, str], target: dict[str, str], port: int, namespace: str = "gte-ray"
) -> bool:
    """Whether the network policies let a pod with labels `source`, in `namespace`, connect to `target`.

    The rules of the policies that select the target add up; where none selects it, all may connect.
    """
    policies = [m["spec"] for (kind, _), m in all_manifests().items() if kind == "NetworkPolicy"]
    selecting = [policy for policy in policies if selects(policy["podSelector"], target)]
    rules = [rule for policy in selecting for rule in policy.get("ingress", [])]
    return not selecting or any(
        any(_is_peer(peer, source, namespace) for peer in rule["from"])
        and ("ports" not in rule or port in [p["port"] for p in rule["ports"]])
        for rule in rules
    )


def _is_peer(peer: dict[str, Any], labels: dict[str, str], namespace: str) -> bool:
    if "namespaceSelector" in peer:
        inside = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        inside = namespace == "gte-ray"
    return inside and selects(peer["podSelector"], labels)
