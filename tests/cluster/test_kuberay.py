"""The manifests of cluster/kuberay: valid, of the pinned versions, and as large as the training needs."""

import re
import shlex
import tomllib

import jsonschema
import manifests
import pytest
import yaml
from manifests import FOLDER, ROOT, all_manifests, manifest, pod, pods, quantity

from gte_ray.cli.flags import parse
from gte_ray.pretrain import Arguments
from tests.cluster.ray_autoscaler import is_setting, kuberay_groups

DOCUMENTS = [f"{kind}/{name}" for kind, name in all_manifests()]
PODS = [pod.name for pod in pods()]
RAY = [("RayJob", "gte-base"), ("RayCluster", "gte-ray")]
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def entrypoint() -> list[str]:
    return shlex.split(manifest("RayJob", "gte-base")["spec"]["entrypoint"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_manifest_is_valid(name):
    manifests.validate(manifest(*name.split("/")))


def change(document, path, value):
    """Sets `value` at `path`; removes what is there for None."""
    *parents, last = path
    for key in parents:
        document = document[key]
    if value is None:
        del document[last]
    else:
        document[last] = value


CLUSTER = ("spec", "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
WORKERS = (*CLUSTER, "workerGroupSpecs")


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("RayJob", "gte-base", ("spec", "entryPoint"), "python"),
        ("RayJob", "gte-base", ("spec", "submissionMode"), "HttpMode"),
        ("RayJob", "gte-base", ("spec", "backoffLimit"), "3"),
        ("RayJob", "gte-base", HEAD, None),
        ("RayJob", "gte-base", (*HEAD, "rayStartParams", "num-cpus"), 0),
        ("RayJob", "gte-base", (*HEAD, "template", "spec", "containers", 0, "volumeMount"), []),
        ("RayJob", "gte-base", (*HEAD, "template", "spec", "containers", 0, "name"), None),
        ("RayJob", "gte-base", (*CLUSTER, "authOptions", "mode"), "tokens"),
        ("RayJob", "gte-base", (*CLUSTER, "autoscalerOptions", "idleTimeoutSecond"), 60),
        ("RayJob", "gte-base", (*WORKERS, 1, "minReplicas"), None),
        ("RayJob", "gte-base", (*WORKERS, 1, "maxReplicas"), "1"),
        ("RayCluster", "gte-ray", ("spec", "enableInTreeAutoscaling"), "true"),
        ("RayCluster", "gte-ray", ("spec", "workerGroupSpecs", 0, "template", "spec", "tolerance"), []),
        ("Deployment", "mlflow", ("spec", "template", "spec", "containers", 0, "enviroment"), []),
        ("Deployment", "mlflow", ("spec", "selector"), None),
        ("StatefulSet", "postgres", ("spec", "replicas"), "one"),
        ("NetworkPolicy", "nobody", ("spec", "podSelectors"), {}),
        ("Service", "mlflow", ("spec", "ports", 0, "port"), "http"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_refused(kind, name, path, value):
    document = manifest(kind, name)
    change(document, path, value)
    with pytest.raises(jsonschema.ValidationError):
        manifests.validate(document)


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(yaml.constructor.ConstructorError, match="twice"):
        yaml.load("a: {b: 1, b: 2}", manifests.UniqueKeys)


def test_everything_is_in_the_one_namespace():
    for (kind, name), document in all_manifests().items():
        assert kind == "Namespace" or document["metadata"]["namespace"] == "gte-ray", name
    assert ("Namespace", "gte-ray") in all_manifests()


def test_the_flags_of_the_job_are_those_of_the_command():
    interpreter, option, module, *flags = entrypoint()
    assert (interpreter, option, module) == ("python", "-m", "gte_ray.pretrain")
    arguments = parse(Arguments, "prog", flags)
    assert not (arguments.fresh or arguments.dry_run)  # a retry would start over
    assert arguments.config.data.store.startswith("s3://")
    assert arguments.config.run.output.startswith("s3://")


def test_the_commands_in_comments_have_flags_that_exist():
    found = []
    for path in FOLDER.glob("*.yaml"):
        text = re.sub(r"\\\n#\s*", "", path.read_text())
        found += re.findall(r"^#   .*python -m gte_ray\.pretrain (--.+)", text, re.MULTILINE)
    assert found
    for flags in found:
        parse(Arguments, "prog", shlex.split(flags))


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_the_gpu_nodes_hold_the_workers_of_the_job(kind, name):
    hardware = parse(Arguments, "prog", entrypoint()[3:]).config.hardware
    (group,) = [
        g for g in manifests.ray_spec(manifest(kind, name))["workerGroupSpecs"] if g["groupName"] == "gpu"
    ]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] * group["maxReplicas"] >= hardware.workers.most
    # One more CPU reads data: without it the stream waits for ever.
    assert quantity(resources["requests"]["cpu"]) > hardware.workers.most * hardware.worker_cpus
    if kind == "RayJob":
        assert group["minReplicas"] * resources["limits"]["nvidia.com/gpu"] >= hardware.workers.fewest


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_rays_autoscaler_reads_the_groups_as_they_are_meant(kind, name):
    groups = kuberay_groups(name, manifests.ray_spec(manifest(kind, name)))
    head, cpu, gpu = (groups[group]["resources"] for group in ("headgroup", "cpu", "gpu"))
    assert head["CPU"] == 0
    assert "GPU" not in head
    assert cpu["CPU"] > 0
    assert "GPU" not in cpu
    assert gpu["GPU"] == 8
    assert groups["cpu"]["min_workers"] == 0 < groups["cpu"]["max_workers"]


def test_the_job_and_the_standing_cluster_have_the_same_pods():
    job, cluster = (manifests.ray_spec(manifest(*which)) for which in RAY)
    for spec in (job, cluster):
        for group in spec["workerGroupSpecs"]:
            for field in ("replicas", "minReplicas", "maxReplicas"):
                del group[field]
    assert job == cluster


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_parameters_of_ray_start_exist(kind, name):
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    spec = manifests.ray_spec(manifest(kind, name))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert {f"--{key}" for key in group["rayStartParams"]} <= known


def test_a_retry_of_the_job_is_possible_and_ends():
    spec = manifest("RayJob", "gte-base")["spec"]
    assert 1 <= spec["backoffLimit"] <= 10
    assert spec["shutdownAfterJobFinishes"]
    assert "clusterSelector" not in spec  # KubeRay refuses it together with backoffLimit
    assert "entrypointNumCpus" not in spec  # the driver would move to a worker, which may be lost
    assert len("gte-base") <= 47  # of which KubeRay makes the name of the cluster


@pytest.mark.parametrize("name", [name for name in PODS if "mlflow" not in name and "postgres" not in name])
def test_a_spot_node_that_is_taken_back_leaves_time_for_a_checkpoint(name):
    spec = pod(name).spec
    environment = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert is_setting("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")
    drain = float(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert 10 <= drain < spec["terminationGracePeriodSeconds"] <= 120


@pytest.mark.parametrize(("kind", "name"), RAY)
def test_ray_is_of_the_version_that_is_pinned(kind, name):
    assert manifests.ray_spec(manifest(kind, name))["rayVersion"] == CONSTRAINTS["ray"]


def test_images_are_pinned_to_the_versions_here():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {c["image"] for p in pods() for c in p.containers}
    assert {i for i in images if "gte-ray" in i} == {
        f"REGISTRY/gte-ray:{version}",
        f"REGISTRY/gte-ray-mlflow:{CONSTRAINTS['mlflow']}",
    }
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+(\.\d+)?(-\w+)?", image), image


@pytest.mark.parametrize("name", PODS)
def test_every_container_says_what_it_needs(name):
    for container in pod(name).containers:
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert quantity(requests["cpu"]) > 0
        assert quantity(limits["memory"]) >= quantity(requests["memory"]) > 0


@pytest.mark.parametrize("name", [name for name in PODS if name.startswith("gte-")])
def test_shared_memory_is_sized_and_fits_the_memory(name):
    spec = pod(name).spec
    (container,) = spec["containers"]
    (mount,) = [m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm"]
    (volume,) = [v["emptyDir"] for v in spec["volumes"] if v["name"] == mount]
    assert volume["medium"] == "Memory"
    assert 2**30 <= quantity(volume["sizeLimit"]) < quantity(container["resources"]["limits"]["memory"]) / 2


def test_every_placeholder_is_marked():
    placeholder = re.compile(r"\b(REGISTRY|BUCKET|ACCOUNT)\b")
    for path in FOLDER.glob("*.yaml"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if placeholder.search(line) and not line.lstrip().startswith("#"):
                near = lines[max(0, number - 4) : number + 1]
                assert any("CHANGE" in text for text in near), f"{path.name}:{number + 1}"


def test_files_are_named_in_the_commands_that_apply_them():
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    for path in FOLDER.glob("*.yaml"):
        assert f"-f cluster/kuberay/{path.name}" in text
