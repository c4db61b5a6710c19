"""The manifests: valid, alike, and naming only what there is."""

import copy
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.spread import job_files, with_cluster
from medsent.commands.backfill.settings import BackfillConfig
from medsent.commands.nightly.settings import NightlyConfig
from medsent.config.job import JobConfig
from medsent.config.loader import load_settings
from medsent.engine.vllm import _ENVIRONMENT as ENGINE_VARIABLES
from medsent.scoring.cluster import Capacity, shortfalls
from medsent.scoring.pipeline import _GRACE_S
from medsent.scoring.telemetry import COUNTERS, IN_FLIGHT
from tests.cluster.manifests import CLUSTER, REPOSITORY, Manifest, manifests
from tests.cluster.schemas import problem

ALL = manifests()
RAY = [m for m in ALL if m.document["apiVersion"] == "ray.io/v1"]
LONGEST = {"RayCluster": 53, "RayJob": 47, "RayCronJob": 36, "CronJob": 52}
"""Kind to the characters that its name may have; the operator adds to them."""
IMAGE = "/opt/medsent/"
"""Where the images hold the repository's files."""
CONFIGS = "/etc/medsent/"
"""Where the ConfigMap `medsent-jobs` is mounted, and `medsent-night` in the CronJob's pod."""

each = pytest.mark.parametrize("manifest", ALL, ids=str)
each_of_ray = pytest.mark.parametrize("manifest", RAY, ids=str)


def test_every_kind_that_is_promised_is_there() -> None:
    kinds = [manifest.kind for manifest in ALL]
    assert {"RayCluster", "RayJob", "RayCronJob", "CronJob", "PodMonitor", "NetworkPolicy"} <= set(
        kinds
    )
    assert [manifest.name for manifest in ALL if manifest.kind == "RayJob"] == [
        "medsent-backfill", "medsent-evaluate", "medsent-nightly",
    ]  # fmt: skip


@each
def test_a_manifest_is_valid(manifest: Manifest) -> None:
    if manifest.kind == "PodMonitor":
        pytest.skip("the Prometheus operator's; its own test is below")
    assert problem(manifest.document) is None


def planted(manifest: Manifest, *path: Any) -> dict[str, Any]:
    """Return a manifest with the last key of a path misspelt."""
    document = copy.deepcopy(manifest.document)
    inner: Any = document
    for part in path[:-1]:
        inner = inner[part]
    inner[f"{path[-1]}x"] = inner.pop(path[-1])
    return document


POD = ("headGroupSpec", "template", "spec")
CRON_POD = ("spec", "jobTemplate", "spec", "template", "spec")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("RayCluster", ("spec", "authOptions", "mode")),
        ("RayCluster", ("spec", *POD, "nodeSelector")),
        ("RayCluster", ("spec", "workerGroupSpecs", 0, "replicas")),
        ("RayCluster", ("metadata", "labels")),
        ("RayJob", ("spec", "backoffLimit")),
        ("RayJob", ("spec", "rayClusterSpec", *POD, "containers", 0, "resources", "limits")),
        ("RayCronJob", ("spec", "timeZone")),
        ("RayCronJob", ("spec", "jobTemplate", "rayClusterSpec", *POD, "securityContext")),
        ("CronJob", ("spec", "concurrencyPolicy")),
        ("CronJob", (*CRON_POD, "containers", 0, "volumeMounts", 0, "readOnly")),
        ("Role", ("rules", 0, "apiGroups")),
        ("RoleBinding", ("subjects", 0, "namespace")),
        ("ServiceAccount", ("metadata", "namespace")),
        ("PersistentVolumeClaim", ("spec", "accessModes")),
        ("Namespace", ("metadata", "labels")),
        ("NetworkPolicy", ("spec", "policyTypes")),
    ],
    ids=lambda part: part if isinstance(part, str) else str(part[-1]),
)
def test_a_misspelt_key_is_refused(kind: str, path: tuple[Any, ...]) -> None:
    manifest = next(manifest for manifest in ALL if manifest.kind == kind)
    assert f"{path[-1]}x" in (problem(planted(manifest, *path)) or "")


@each
def test_names_are_within_the_operators_limits(manifest: Manifest) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", manifest.name)
    assert len(manifest.name) <= LONGEST.get(manifest.kind, 63)


def test_every_job_holds_the_same_cluster() -> None:
    cluster = (CLUSTER / "raycluster.yaml").read_text(encoding="utf-8")
    assert len(job_files()) == 4
    for file in job_files():
        text = file.read_text(encoding="utf-8")
        assert with_cluster(text, cluster) == text, "run: python cluster/spread.py"
    specs = [spec for manifest in RAY for spec in manifest.clusters()]
    assert len(specs) == 5
    assert all(spec == specs[0] for spec in specs)


@each_of_ray
def test_the_cluster_is_what_the_guide_says(manifest: Manifest) -> None:
    [cluster] = manifest.clusters()
    head, [workers] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["enableInTreeAutoscaling"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    pool = head["template"]["spec"]["nodeSelector"], workers["template"]["spec"]["nodeSelector"]
    assert pool == ({"medsent-pool": "head"}, {"medsent-pool": "gpu"})


def test_a_job_may_take_its_time_to_end() -> None:
    [cluster] = next(m for m in ALL if m.kind == "RayCluster").clusters()
    pod = cluster["headGroupSpec"]["template"]["spec"]
    [head] = pod["containers"]
    [wait] = [int(v["value"]) for v in head["env"] if v["name"] == "RAY_JOB_STOP_WAIT_TIME_S"]
    assert _GRACE_S < wait < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("evaluate.yaml", JobConfig),
        ("backfill.yaml", BackfillConfig),
        ("nightly.yaml", NightlyConfig),
    ],
)
def test_the_cluster_holds_the_jobs_that_are_shipped(config: str, kind: type[JobConfig]) -> None:
    plan = load_settings(kind, REPOSITORY / "jobs" / config)
    [cluster] = next(m for m in ALL if m.kind == "RayCluster").clusters()
    [workers] = cluster["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    cpus, gpus, always = int(limits["cpu"]), int(limits["nvidia.com/gpu"]), workers["minReplicas"]
    assert shortfalls(plan, Capacity(always * cpus, always * gpus, gpus)) == []
    assert workers["maxReplicas"] * gpus >= plan.engine.replicas.max


@each_of_ray
def test_what_a_start_costs_is_kept_for_all_nodes(manifest: Manifest) -> None:
    [cluster] = manifest.clusters()
    for group, shared in (
        (cluster["headGroupSpec"], {"HF_HOME"}),
        (cluster["workerGroupSpecs"][0], {"HF_HOME", "VLLM_CACHE_ROOT"}),
    ):
        [container] = group["template"]["spec"]["containers"]
        places = {v["name"]: v["value"] for v in container["env"] if "/" in v.get("value", "")}
        assert set(places) == shared
        assert len(set(places.values())) == len(shared)
        assert all(place.startswith("/shared/") for place in places.values())
        # The engine's own variables go before the pod's.
        assert not shared & set(ENGINE_VARIABLES)


@each_of_ray
def test_workers_have_shared_memory_for_nccl_and_ray(manifest: Manifest) -> None:
    [cluster] = manifest.clusters()
    pod = cluster["workerGroupSpecs"][0]["template"]["spec"]
    [container] = pod["containers"]
    [mount] = [m for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm"]
    [volume] = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert gib(volume["emptyDir"]["sizeLimit"]) < gib(container["resources"]["limits"]["memory"])


def gib(quantity: str) -> int:
    return int(quantity.removesuffix("Gi"))


def test_the_guides_recipe_gives_an_engine_two_gpus(tmp_path: Path) -> None:
    guide = (CLUSTER / "README.md").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^sed -i .*nvidia.*$", guide, re.MULTILINE)
    program, flag, script, file = shlex.split(recipe)
    assert (program, flag, file) == ("sed", "-i", "cluster/raycluster.yaml")
    whole = (REPOSITORY / file).read_text(encoding="utf-8")
    changed = subprocess.run(
        ["sed", script], input=whole, capture_output=True, text=True, check=True
    ).stdout
    for job in (None, *job_files()):
        text = with_cluster(job.read_text(encoding="utf-8"), changed) if job else changed
        documents = list(yaml.safe_load_all(text))
        assert [problem(document) for document in documents] == [None] * len(documents)
    [workers] = yaml.safe_load(changed)["spec"]["workerGroupSpecs"]
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"]
    limits = resources["limits"]
    cpus, gpus, always = int(limits["cpu"]), int(limits["nvidia.com/gpu"]), workers["minReplicas"]
    override = ["model.tensor_parallel_size=2"]
    assert override[0] in guide
    plan = load_settings(JobConfig, REPOSITORY / "jobs" / "evaluate.yaml", override)
    assert shortfalls(plan, Capacity(always * cpus, always * gpus, gpus)) == []
    assert workers["maxReplicas"] * gpus == plan.engine.replicas.max * 2


def test_a_night_is_not_run_again() -> None:
    nights = [job for m in ALL for job in m.jobs() if "nightly" in job["entrypoint"]]
    assert [job["backoffLimit"] for job in nights] == [0, 0]
    [cron] = [manifest.document["spec"] for manifest in ALL if manifest.kind == "CronJob"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_both_ways_to_start_a_night_start_the_same_job() -> None:
    [job] = [m for m in ALL if m.name == "medsent-nightly" and m.kind == "RayJob"]
    [cron] = [m for m in ALL if m.kind == "RayCronJob"]
    assert list(cron.jobs()) == list(job.jobs())


@each
def test_jobs_for_kueue_are_labelled(manifest: Manifest) -> None:
    labels = manifest.document["metadata"].get("labels", {})
    assert ("kueue.x-k8s.io/queue-name" in labels) == (manifest.kind == "RayJob")


@each
def test_nothing_runs_as_root(manifest: Manifest) -> None:
    for pod in manifest.pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in manifest.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@each
def test_every_container_has_requests_and_limits(manifest: Manifest) -> None:
    for container in manifest.containers():
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][kind])


@each
def test_what_a_pod_writes_to_its_node_is_bounded_and_goes_with_it(manifest: Manifest) -> None:
    """Ray's spilled objects hold opinions; the root itself is read-only."""
    for pod in manifest.pods():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        own = {name: volume["emptyDir"] for name, volume in volumes.items() if "emptyDir" in volume}
        on_disk = [gib(each["sizeLimit"]) for each in own.values() if "medium" not in each]
        [container] = pod["containers"]
        assert sum(on_disk) <= gib(container["resources"]["limits"]["ephemeral-storage"])
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == set(volumes)
        if "start_night" not in " ".join(container.get("command", [])):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert {mounts["/tmp"], mounts["/home/medsent"]} <= set(own)


@each_of_ray
def test_workers_know_no_secret_but_those_of_storage(manifest: Manifest) -> None:
    [cluster] = manifest.clusters()
    [worker] = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert "envFrom" not in worker
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in worker["env"]
        if "valueFrom" in variable
    }
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= set(secrets)
    assert all(name.startswith("AWS_") for name in secrets)
    for name, source in secrets.items():
        assert source == {"name": "medsent-credentials", "key": name, "optional": True}
    [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert head["envFrom"] == [{"secretRef": {"name": "medsent-credentials"}}]


@each_of_ray
def test_nobody_is_told_that_a_job_runs(manifest: Manifest) -> None:
    for container in manifest.containers():
        if container["name"] != "ray-job-submitter":
            told = {v["name"]: v.get("value") for v in container["env"]}
            assert told["RAY_USAGE_STATS_ENABLED"] == "0"


def test_rays_ports_are_for_the_namespace_and_who_must_ask() -> None:
    [policy] = [m.document["spec"] for m in ALL if m.kind == "NetworkPolicy"]
    assert (policy["podSelector"], policy["policyTypes"]) == ({}, ["Ingress", "Egress"])
    from_others = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {
            each["port"] for each in rule["ports"]
        }
        for rule in policy["ingress"]
        for peer in rule["from"]
        if "namespaceSelector" in peer
    }
    assert from_others == {"kuberay": {8265, 6379}, "monitoring": {8080}}
    anywhere = [rule for rule in policy["egress"] if "to" not in rule]
    assert [{each["port"] for each in rule["ports"]} for rule in anywhere] == [{443, 6443}]


def test_the_guide_pins_the_image_by_its_digest() -> None:
    guide = (CLUSTER / "README.md").read_text(encoding="utf-8")
    [recipe] = re.findall(r'^sed -i "(s#registry.*)" cluster/\*\.yaml$', guide, re.MULTILINE)
    image = "registry.company.example/medsent-gpu@sha256:" + "0" * 64
    script = recipe.replace("$IMAGE", image)
    for manifest in {m.file for m in ALL}:
        text = (CLUSTER / manifest).read_text(encoding="utf-8")
        changed = subprocess.run(
            ["sed", script], input=text, capture_output=True, text=True, check=True
        ).stdout
        assert "registry.example" not in changed
        assert changed.count(image) == text.count("registry.example/")


@pytest.mark.parametrize(
    "made", ["credentials.env", "models/merged/config.json", "ids.txt", "report.html", "runs/a/b"]
)
def test_git_passes_by_what_the_guides_tell_to_make(made: str, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    told = subprocess.run(["git", "-C", str(tmp_path), "check-ignore", "-q", made], check=False)
    assert told.returncode == 0


@each
def test_secrets_are_only_referred_to(manifest: Manifest) -> None:
    assert manifest.kind != "Secret"
    for container in manifest.containers():
        for variable in container.get("env", []):
            secret = re.search("TOKEN|SECRET|PASSWORD|KEY", variable["name"])
            assert "valueFrom" in variable or not secret


@each
def test_images_are_those_of_the_dockerfiles(manifest: Manifest) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    for pod in manifest.pods():
        for container in pod["containers"]:
            found = re.fullmatch(r"registry\.example/medsent-(\w+):(.+)", container["image"])
            assert found, container["image"]
            assert (CLUSTER / f"Dockerfile.{found[1]}").is_file()
            assert found[2] == version


def test_the_clusters_ray_is_that_of_the_locks() -> None:
    [cluster] = next(m for m in ALL if m.kind == "RayCluster").clusters()
    for lock in ("cpu.txt", "gpu.txt"):
        pins = (REPOSITORY / "requirements" / lock).read_text(encoding="utf-8")
        assert f"\nray=={cluster['rayVersion']} " in pins


@each
def test_commands_name_files_that_there_are(manifest: Manifest) -> None:
    commands = [shlex.split(job["entrypoint"]) for job in manifest.jobs()]
    for pod in manifest.pods():
        commands += [
            container["command"] for container in pod["containers"] if "command" in container
        ]
    for command in commands:
        program, script, config = command
        assert program == "python"
        assert (REPOSITORY / script.removeprefix(IMAGE)).is_file(), script
        folder = CLUSTER if "rayjob-" in config else REPOSITORY / "jobs"
        assert (folder / config.removeprefix(CONFIGS)).is_file(), config


def test_the_head_finds_the_drivers_it_is_to_stop() -> None:
    [cluster] = next(m for m in ALL if m.kind == "RayCluster").clusters()
    [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    *_, hook = head["lifecycle"]["preStop"]["exec"]["command"]
    [pattern] = set(re.findall("-f '([^']+)'", hook))
    submitted = "python jobs/evaluate.py jobs/evaluate.yaml"
    for entrypoint in (submitted, *(job["entrypoint"] for m in ALL for job in m.jobs())):
        assert re.search(pattern, entrypoint)
    assert not re.search(pattern, hook), "it would stop itself"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_dockerfile_copies_what_there_is_and_runs_as_nobody_special(device: str) -> None:
    text = (CLUSTER / f"Dockerfile.{device}").read_text(encoding="utf-8")
    copied = [
        source for line in re.findall("(?m)^COPY (.+)$", text) for source in line.split()[:-1]
    ]
    assert {"medsent", "jobs", f"requirements/{device}.txt", "cluster/start_night.py"} <= set(
        copied
    )
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in ignored or f"!{source.partition('/')[0]}" in ignored
    assert "--require-hashes" in text
    assert re.findall("(?m)^USER (.+)$", text) == ["1000:1000"]
    assert not re.search(r"https?://|\b(curl|git) ", text)


def test_what_is_scraped_is_there() -> None:
    [monitor] = [manifest.document["spec"] for manifest in ALL if manifest.kind == "PodMonitor"]
    assert set(monitor) == {"selector", "podMetricsEndpoints"}
    [endpoint] = monitor["podMetricsEndpoints"]
    labels = monitor["selector"]["matchLabels"]
    assert labels.pop("ray.io/is-ray-node") == "yes"  # the operator's
    [cluster] = next(m for m in ALL if m.kind == "RayCluster").clusters()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert labels.items() <= group["template"]["metadata"]["labels"].items()
        [container] = group["template"]["spec"]["containers"]
        assert {"name": endpoint["port"], "containerPort": 8080} in container["ports"]


def exported() -> set[str]:
    return {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{IN_FLIGHT}"}


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    board = json.loads((CLUSTER / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert set(re.findall(r"\bray_\w+", " ".join(asked))) == exported()
    tags = {tag for _, names in COUNTERS.values() for tag in names.split()}
    grouped = {tag for query in asked for by in re.findall(r"by \(([^)]+)\)", query)
               for tag in by.split(", ")}  # fmt: skip
    assert grouped <= tags | {"NodeAddress"}


def test_the_guide_names_files_that_there_are() -> None:
    guide = (CLUSTER / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:cluster|jobs)/[\w.*-]+\.\w+", guide))
    assert {f"cluster/{manifest.file}" for manifest in ALL} <= named
    for name in named:
        assert list(REPOSITORY.glob(name)), name


def test_the_guide_makes_every_secret_and_config_map_that_is_mounted() -> None:
    guide = (CLUSTER / "README.md").read_text(encoding="utf-8")
    text = json.dumps([manifest.document for manifest in ALL])
    named = r'(?:"secretRef": {"name"|"secretName"|"imagePullSecrets": \[{"name"): "([\w-]+)'
    secrets = set(re.findall(named, text))
    assert secrets == {"medsent-ray-token", "medsent-credentials", "medsent-registry"}
    for name in secrets:
        assert re.search(rf"create secret [\w-]+ {name} ", guide), name
    maps = set(re.findall(r'"configMap": {"name": "([\w-]+)', text))
    assert maps == {"medsent-jobs", "medsent-night"}
    for name in maps:
        assert f"create configmap {name} " in guide
