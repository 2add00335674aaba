import json
import os
from pathlib import Path

import pytest

from ops import outputs, stackfile
from ops.environment import Project, find_project, sourced
from ops.errors import BadRequest
from ops.local import LocalCloud

EXPORT = {
    "project": "p",
    "region": "r",
    "stack": "local",
    "bucket": "b",
    "endpoints": {"run": "http://127.0.0.1:1"},
    "systems": {
        "heavy": {
            "job": "j",
            "job_id": "projects/p/locations/r/jobs/j",
            "location": "r",
            "bucket": "b",
            "service_account": "s",
            "image": "i@sha256:0",
            "cpu": 8,
            "memory_gib": 32,
            "task_timeout_s": 1800,
            "script_timeout_s": 1740,
        }
    },
    "of_a_newer_version": 1,
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "Pulumi.yaml").write_text("name: longhaul\nruntime: python\n")
    (tmp_path / "Pulumi.local.yaml").write_text(
        "config:\n  gcp:project: longhaul-local\n  gcp:cloudRunV2CustomEndpoint: http://127.0.0.1:9471/v2/\n"
        "  gcp:iamBetaCustomEndpoint: http://127.0.0.1:9473/v1/\n"
        "  longhaul:endpoints: {metadata: 'http://127.0.0.1:9479', billing: 'http://127.0.0.1:9488'}\n"
        "  longhaul:registry: 127.0.0.1:9477\n"
    )
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  gcp:project: real\n")
    return Project(root=tmp_path, environ={"PATH": "/usr/bin", "PULUMI_BACKEND_URL": f"file://{tmp_path}/state"})


def test_the_project_is_the_nearest_folder_with_a_pulumi_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = project.root / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_project().root == project.root
    with pytest.raises(BadRequest, match=r"no Pulumi\.yaml in"):
        find_project(deep)


def test_a_real_stack_never_sees_the_local_credentials_backend_or_plugins(project: Project) -> None:
    project.scratch.mkdir()
    (project.scratch / "env.sh").write_text(
        f"export GOOGLE_OAUTH_ACCESS_TOKEN=local-deployer\nexport DOCKER_HOST=unix:///d.sock\n"
        f'export PULUMI_BACKEND_URL=file:///local\nexport PATH={project.scratch}/bin:/cache/bin:"$PATH"\n'
    )
    local = project.engine_environ(local=True)
    assert local["GOOGLE_OAUTH_ACCESS_TOKEN"] == "local-deployer"
    assert local["PATH"] == f"{project.scratch}/bin:/cache/bin:/usr/bin"
    real = project.engine_environ(local=False)
    assert "GOOGLE_OAUTH_ACCESS_TOKEN" not in real
    assert real["PULUMI_BACKEND_URL"] == project.environ["PULUMI_BACKEND_URL"]
    assert real["DOCKER_HOST"] == "unix:///d.sock"
    assert real["PATH"] == "/cache/bin:/usr/bin"


def test_without_a_set_up_the_environment_is_as_it_was(project: Project) -> None:
    assert sourced(project.scratch / "env.sh", {"A": "1"}) == {"A": "1"}


def test_only_a_stack_on_loopback_is_local(project: Project) -> None:
    assert stackfile.load(project, "local").is_local
    assert not stackfile.load(project, "dev").is_local
    with pytest.raises(BadRequest, match="there is no stack 'prod'") as caught:
        stackfile.load(project, "prod")
    assert caught.value.remedy == "stacks are dev, local"


def test_the_local_cloud_listens_where_the_stack_file_says(project: Project) -> None:
    ports = LocalCloud(project).ports()
    assert (ports["run"], ports["iam"], ports["metadata"]) == (9471, 9473, 9479)
    assert (ports["cloudbilling"], ports["registry"]) == (9488, 9477)
    assert ports["control"] == 0
    with pytest.raises(BadRequest, match="stack dev is not pointed at a local cloud"):
        LocalCloud(project, "dev")


def test_outputs_are_checked_and_newer_fields_ignored() -> None:
    found = outputs.parse({"longhaul": EXPORT}, "local")
    assert found.require_heavy().sandbox.max_rows == 50_000
    with pytest.raises(outputs.NotDeployed, match="stack local is not deployed"):
        outputs.parse({}, "local")
    with pytest.raises(BadRequest, match=r"systems\.heavy\.job_id"):
        outputs.parse({"longhaul": {**EXPORT, "systems": {"heavy": {"job": "j"}}}}, "local")


def test_outputs_come_from_the_cache_until_the_state_changes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    state = project.root / "state" / ".pulumi" / "stacks" / "longhaul" / "local.json"
    with pytest.raises(outputs.NotDeployed):
        outputs.read(project, "local")
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    asked: list[str] = []

    def ask(_project: Project, stack: str, _environ: dict[str, str]) -> object:
        asked.append(stack)
        return {"longhaul": EXPORT}

    monkeypatch.setattr(outputs, "_ask_engine", ask)
    assert outputs.read(project, "local") == outputs.read(project, "local")
    assert len(asked) == 1
    os.utime(state, ns=(1, 1))
    outputs.read(project, "local")
    assert len(asked) == 2
    (project.scratch / "cache" / "outputs-local.json").write_text(json.dumps({"version": "x"}))
    outputs.read(project, "local")
    assert len(asked) == 3
