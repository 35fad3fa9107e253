"""The cluster files: valid against the schemas of those who read them, and safe by rules of our own.

KubeRay's definitions are used where they are beside the repository. They hold the schemas of pods, services and network rules
too, which serve for the kinds of Kubernetes itself. They are made strict: an unknown key, which an API server drops in
silence, is an error here.
"""

import argparse
import copy
import json
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from unictokens import __version__

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster/manifests"
KUBERNETES = sorted(file for file in FOLDER.glob("*.yaml") if file.name not in ("ray-up.yaml", "kustomization.yaml"))
DOCUMENTS = {
    f"{file.stem}-{document['kind']}-{document['metadata']['name']}": document
    for file in KUBERNETES
    for document in yaml.safe_load_all(file.read_text())
}
RAY_KINDS = ("RayCluster", "RayJob", "RayService")
SECRET_NAME = re.compile(r"TOKEN$|PASSWORD|SECRET|_KEY|CREDENTIAL")
IMAGE = f"registry.example.com/unictokens:{__version__}"
SAVING_SECONDS = 60
"""What a pod with lanes needs at least to save and leave."""

Json = dict[str, Any]


def strict(schema: Json) -> Json:
    """A Kubernetes schema as JSON schema that knows no unknown keys."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema:
        made["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = strict(schema["items"])
    # Their formats (int32, int64) are no JSON schema formats.
    made.pop("format", None)
    return made


def with_defaults(value: Any, schema: Json) -> Any:
    """What an API server makes of a value before it looks at it."""
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = with_defaults(value[name], inner)
    elif isinstance(value, list):
        value = [with_defaults(each, schema.get("items", {})) for each in value]
    return value


def complain(value: Any, schema: Json) -> list[str]:
    """What is wrong with a value."""
    checked = with_defaults(json.loads(json.dumps(value)), schema)
    validator = jsonschema.Draft202012Validator(strict(schema))
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator.iter_errors(checked)
    ]


@pytest.fixture(scope="module")
def schemas(shared_data: Path) -> dict[str, Json]:
    """Kind to schema, of Ray's kinds."""
    found = {}
    for kind in RAY_KINDS:
        file = shared_data / "kuberay_crds" / f"ray.io_{kind.lower()}s.yaml"
        # The loader in C: these are megabytes.
        versions = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]["versions"]
        found[kind] = next(version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    return found


def at(schema: Json, path: str) -> Json:
    """A part of a schema, by property names; "[]" is the item of a list."""
    for part in path.split("."):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


@pytest.mark.parametrize("name", [name for name, document in DOCUMENTS.items() if document["kind"] in RAY_KINDS])
def test_kuberay_knows_every_key(name: str, schemas: dict[str, Json]) -> None:
    document = DOCUMENTS[name]
    assert document["apiVersion"] == "ray.io/v1"
    assert complain(document, _named(schemas[document["kind"]])) == []


def _named(schema: Json) -> Json:
    # A definition leaves `metadata` open; these are the keys we use of it.
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    metadata = {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": words}
    return {**schema, "properties": {**schema["properties"], "metadata": {"type": "object", "properties": metadata}}}


def test_kubernetes_knows_every_key(schemas: dict[str, Json]) -> None:
    cluster = schemas["RayCluster"]
    template = at(cluster, "spec.headGroupSpec.template")
    claim = at(template, "spec.volumes.[].ephemeral.volumeClaimTemplate.spec")
    rules = at(cluster, "spec.networkPolicy.head.ingressRules")
    selector = at(rules, "[].from.[].podSelector")
    text = {"type": "string"}
    types = {"type": "array", "items": {"enum": ["Ingress", "Egress"]}}
    policy = {"podSelector": selector, "policyTypes": types, "ingress": rules}
    strategy = {"type": "object", "properties": {"type": {"enum": ["Recreate", "RollingUpdate"]}}}
    deployment = {
        "replicas": {"type": "integer"},
        "strategy": strategy,
        "selector": selector,
        "template": _named(template),
    }
    known: dict[str, tuple[str, Json]] = {
        "Deployment": ("apps/v1", {"spec": {"type": "object", "properties": deployment}}),
        "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"type": "object", "properties": policy}}),
        "PersistentVolumeClaim": ("v1", {"spec": claim}),
        "Service": ("v1", {"spec": at(cluster, "spec.headGroupSpec.headService.spec")}),
        "ConfigMap": ("v1", {"data": {"type": "object", "additionalProperties": text}}),
        "Namespace": ("v1", {}),
    }
    for name, document in DOCUMENTS.items():
        if document["kind"] in RAY_KINDS:
            continue
        version, parts = known[document["kind"]]
        schema = {"type": "object", "properties": {"apiVersion": {"enum": [version]}, "kind": text, **parts}}
        assert (name, complain(document, _named(schema))) == (name, [])


def test_a_misspelt_key_is_found(schemas: dict[str, Json]) -> None:
    document = copy.deepcopy(DOCUMENTS["cluster-RayCluster-unictokens"])
    document["spec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image_"] = "x"
    wrong = complain(document, _named(schemas["RayCluster"]))
    assert len(wrong) == 2 and "maxReplica" in wrong[0] + wrong[1] and "image_" in wrong[0] + wrong[1]


def clusters() -> Iterator[tuple[str, Json]]:
    """Name and specification of every Ray cluster in the files."""
    for name, document in DOCUMENTS.items():
        place = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}.get(document["kind"])
        if place is not None:
            yield name, document["spec"][place] if place else document["spec"]


def pods() -> Iterator[tuple[str, Json]]:
    """Name and specification of every pod in the files."""
    for name, spec in clusters():
        yield f"{name} head", spec["headGroupSpec"]["template"]["spec"]
        for group in spec["workerGroupSpecs"]:
            yield f"{name} {group['groupName']}", group["template"]["spec"]
    for name, document in DOCUMENTS.items():
        if document["kind"] == "RayJob":
            yield f"{name} submitter", document["spec"]["submitterPodTemplate"]["spec"]
        if document["kind"] == "Deployment":
            yield name, document["spec"]["template"]["spec"]


CLUSTERS, PODS = dict(clusters()), dict(pods())


@pytest.mark.parametrize("name", PODS)
def test_every_pod_has_its_limits_and_little_rights(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert name.endswith("head") or name.endswith("submitter") or pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["image"] == IMAGE
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        resources = container["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= resources[kind].keys()
        assert resources["requests"].get("nvidia.com/gpu") == resources["limits"].get("nvidia.com/gpu")
        if not name.endswith("submitter"):
            assert {"readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("name", PODS)
def test_secrets_are_named_and_not_told(name: str) -> None:
    for container in PODS[name]["containers"]:
        for variable in container.get("env", []):
            assert "valueFrom" in variable or not SECRET_NAME.search(variable["name"])
    assert not any(document["kind"] == "Secret" for document in DOCUMENTS.values())


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_asks_for_its_token_and_keeps_its_head_free(name: str) -> None:
    spec = CLUSTERS[name]
    assert spec["authOptions"] == {"mode": "token", "secretName": "unictokens-ray"}
    assert spec["rayVersion"] == pinned("ray")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["enableInTreeAutoscaling"] is True
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        # What the operator checks and no schema says: the second autoscaler restarts nothing itself.
        assert pod["restartPolicy"] == "Never" and spec["autoscalerOptions"]["version"] == "v2"
        variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert variables["RAY_AUTH_MODE"] == "token"
        assert group["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "unictokens"


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_worker_that_must_go_has_time_to_save(name: str) -> None:
    for group in CLUSTERS[name]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        (seconds,) = re.findall(r"--deadline-remaining-seconds (\d+)", script)
        assert SAVING_SECONDS <= int(seconds) < pod["terminationGracePeriodSeconds"]
        assert group["minReplicas"] <= group["maxReplicas"]


def test_whatever_listens_to_everybody_asks_who_it_is() -> None:
    for file in KUBERNETES:
        if "0.0.0.0" in file.read_text():
            assert file.name in ("mlflow.yaml", "service.yaml")
    (server,) = PODS["mlflow-Deployment-unictokens-mlflow"]["containers"]
    assert "basic-auth" in server["command"]
    settings = DOCUMENTS["mlflow-ConfigMap-unictokens-mlflow-auth"]["data"]["auth.ini"]
    assert "default_permission = NO_PERMISSIONS" in settings
    service = CLUSTERS["service-RayService-unictokens"]
    for group in (service["headGroupSpec"], *service["workerGroupSpecs"]):
        assert {"secretRef": {"name": "unictokens-keys"}} in group["template"]["spec"]["containers"][0]["envFrom"]
    assert "0.0.0.0" not in (FOLDER / "ray-up.yaml").read_text()
    services = [document for document in DOCUMENTS.values() if document["kind"] == "Service"]
    assert all(document["spec"]["type"] == "ClusterIP" for document in services)


def test_everything_is_named_once_and_lives_in_one_namespace() -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in DOCUMENTS.values()]
    assert len(names) == len(set(names))
    for document in DOCUMENTS.values():
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "unictokens"
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert all((FOLDER / name).is_file() for name in kustomization["resources"])


def test_what_pods_refer_to_is_there() -> None:
    there = {(document["kind"], document["metadata"]["name"]) for document in DOCUMENTS.values()}
    for pod in PODS.values():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes.keys()


def test_the_command_of_the_job_is_one_of_ours() -> None:
    from cluster.train import add
    from unictokens.cli.options import read_config

    words = shlex.split(DOCUMENTS["job-RayJob-unictokens-train"]["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "cluster", "train"]
    parser = argparse.ArgumentParser(exit_on_error=False)
    add(parser)
    parsed = parser.parse_args(words[4:])
    assert read_config(parsed).precision == "bf16"
    assert parsed.resume is not None and parsed.out == Path("/shared/out")


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_ray_up_knows_every_key() -> None:
    import ray

    config = yaml.safe_load((FOLDER / "ray-up.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(config)] == []
    assert config["docker"]["image"] == IMAGE
    assert config["head_node_type"] in config["available_node_types"]
    (start,) = [line for line in config["head_start_ray_commands"] if "--head" in line]
    assert "--num-cpus=0" in start and "--dashboard-host=127.0.0.1" in start
    assert any("RAY_AUTH_MODE=token" in option for option in config["docker"]["run_options"])
    assert any(node["node_config"].get("InstanceMarketOptions") for node in config["available_node_types"].values())


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_ray_serve_knows_every_key() -> None:
    """Serve drops unknown keys in silence; what it kept must be all there was."""
    from ray.serve.schema import ServeDeploySchema

    given = yaml.safe_load(DOCUMENTS["service-RayService-unictokens"]["spec"]["serveConfigV2"])
    kept = ServeDeploySchema.model_validate(given).model_dump(mode="json", exclude_unset=True)
    assert kept == given
    assert given["applications"][0]["import_path"] == "serve.deployment:app"


def test_the_image_is_pinned_unprivileged_and_copies_what_is_there() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("FROM")]
    assert re.fullmatch(r"FROM python:3\.11\.\d+-slim-\w+", base)
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 1000:100"] and "constraints.txt" in "\n".join(lines)
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / part).exists() for part in line.split()[1:-1]), line
    allowed = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"


def pinned(name: str) -> str:
    """The version of a library in constraints.txt."""
    (version,) = re.findall(rf"^{name}==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    return str(version)
