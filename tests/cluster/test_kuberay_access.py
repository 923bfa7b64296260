"""The manifests of cluster/kuberay: no privileges, no secrets, and nobody reaches what it need not."""

import re
from typing import Any

import manifests
import pytest
from manifests import FOLDER, all_manifests, manifest, may_connect, pod, pods

PODS = [pod.name for pod in pods()]
RAY = [("RayJob", "gte-base"), ("RayCluster", "gte-ray")]
KUBERAY_OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}


@pytest.mark.parametrize("name", PODS)
def test_no_container_is_root_or_has_privileges(name):
    """The `restricted` profile, which the namespace enforces."""
    spec = pod(name).spec
    user = spec["securityContext"]
    assert user["runAsNonRoot"] is True
    assert user["runAsUser"] > 0
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
    assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume]
    for container in pod(name).containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile"} & context.keys()


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_the_autoscalers_container_has_no_privileges_either(kind, name):
    spec = manifests.ray_spec(manifest(kind, name))
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert spec["autoscalerOptions"]["securityContext"] == head["securityContext"]


def test_the_namespace_refuses_pods_with_privileges():
    labels = all_manifests()["Namespace", "gte-ray"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", PODS)
def test_only_heads_have_a_token_of_the_kubernetes_api(name):
    assert pod(name).spec["automountServiceAccountToken"] is ("head" in name)


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_ray_asks_for_a_token(kind, name):
    assert manifests.ray_spec(manifest(kind, name))["authOptions"] == {"mode": "token"}


def test_mlflow_asks_for_a_login():
    (container,) = pod("mlflow").containers
    assert "--app-name=basic-auth" in container["args"]


SECRET = re.compile(r"password|secret|token|credential|access_?key|api_?key", re.IGNORECASE)


def test_no_secret_has_its_value_in_a_file():
    assert not [name for kind, name in all_manifests() if kind == "Secret"]
    seen = 0
    for p in pods():
        for container in p.containers:
            for variable in container.get("env", []):
                if SECRET.search(variable["name"]):
                    seen += 1
                    assert "value" not in variable, f"{p.name}: {variable['name']}"
                    assert "secretKeyRef" in variable["valueFrom"]
    assert seen
    for path in FOLDER.glob("*.yaml"):
        assert not re.search(
            r"://[^/\s:@]+:[^/\s@]+@|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", path.read_text()
        )


def test_nothing_is_reachable_from_outside_the_cluster():
    assert not [name for kind, name in all_manifests() if kind in ("Ingress", "Gateway", "HTTPRoute")]
    for (kind, _), document in all_manifests().items():
        if kind == "Service":
            assert document["spec"].get("type", "ClusterIP") == "ClusterIP"
    for which in RAY:
        head = manifests.ray_spec(manifest(*which))["headGroupSpec"]
        assert not head.get("enableIngress")
        assert head.get("serviceType", "ClusterIP") == "ClusterIP"


def references(value: Any, key: str) -> list[dict[str, Any]]:
    """What is found under `key` anywhere in a manifest."""
    if isinstance(value, list):
        return [found for item in value for found in references(item, key)]
    if isinstance(value, dict):
        below = [found for item in value.values() for found in references(item, key)]
        return [value[key], *below] if key in value else below
    return []


def test_secrets_and_their_keys_are_in_the_commands_that_make_them():
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    commands = re.sub(r"\\\n#\s*", "", text)
    made = {
        name: set(re.findall(r"--from-literal=([\w-]+)=", rest))
        for name, rest in re.findall(r"create secret generic ([\w-]+) (.+)", commands)
    }
    for p in pods():
        for reference in references(p.spec, "secretKeyRef"):
            assert reference["key"] in made[reference["name"]], p.name
        for reference in references(p.spec, "secretRef"):
            assert reference["name"] in made
            assert reference["optional"], p.name  # only for clusters without workload identity


@pytest.mark.parametrize("name", PODS)
def test_what_a_pod_refers_to_exists(name):
    spec = pod(name).spec
    if "serviceAccountName" in spec:
        assert ("ServiceAccount", spec["serviceAccountName"]) in all_manifests()
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    owner = all_manifests().get(("StatefulSet", name), {"spec": {}})
    volumes |= {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in all_manifests()
        assert "persistentVolumeClaim" not in volume
    for container in pod(name).containers:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            assert port is None or port in ports


def test_services_lead_to_pods():
    for (kind, name), document in all_manifests().items():
        if kind != "Service":
            continue
        (target,) = [p for p in pods() if document["spec"]["selector"].items() <= p.labels.items()]
        ports = {port["name"]: port["containerPort"] for c in target.containers for port in c["ports"]}
        for port in document["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"], name


def test_selectors_are_of_their_own_pods():
    for kind, name in (("Deployment", "mlflow"), ("StatefulSet", "postgres")):
        spec = all_manifests()[kind, name]["spec"]
        assert manifests.selects(spec["selector"], spec["template"]["metadata"]["labels"])


def test_network_policies_select_pods_that_exist():
    for (kind, name), document in all_manifests().items():
        if kind == "NetworkPolicy":
            assert [p for p in pods() if manifests.selects(document["spec"]["podSelector"], p.labels)], name


def test_a_pod_is_reached_only_by_those_that_need_it():
    everyone = {p.name: p.labels for p in pods()} | {"other": {"app": "other"}}
    ray = {name for name in everyone if name.startswith("gte-")}

    def sources(target: str, port: int) -> set[str]:
        return {name for name, labels in everyone.items() if may_connect(labels, everyone[target], port)}

    for target in ray:
        for port in (6379, 8265, 10001, 20000):
            assert sources(target, port) == ray
    assert sources("mlflow", 5000) == ray
    assert sources("mlflow", 22) == set()
    assert sources("postgres", 5432) == {"mlflow"}
    assert sources("postgres", 22) == set()
    assert sources("other", 80) == set()  # nor is anything that no policy names


def test_the_operator_reaches_the_dashboard_of_heads_and_nothing_else():
    def reached(namespace: str, labels: dict[str, str]) -> set[tuple[str, int]]:
        return {
            (p.name, port)
            for p in pods()
            for port in (5000, 5432, 6379, 8265, 10001)
            if may_connect(labels, p.labels, port, namespace)
        }

    heads = {("gte-base-headgroup", 8265), ("gte-ray-headgroup", 8265)}
    assert reached("kuberay-system", KUBERAY_OPERATOR) == heads
    assert reached("kuberay-system", {"app": "other"}) == set()
    assert reached("elsewhere", KUBERAY_OPERATOR) == set()
    assert reached("elsewhere", pod("gte-ray-cpu").labels) == set()
