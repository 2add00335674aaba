import httpx
import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import artifactregistry_v1
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from localcloud_support import push

from localcloud.testing import LocalCloud

PARENT = "projects/demo-project/locations/europe-west1"


@pytest.fixture(scope="module")
def client(cloud: LocalCloud) -> artifactregistry_v1.ArtifactRegistryClient:
    options = ClientOptions(api_endpoint=cloud.url("artifactregistry"))
    return artifactregistry_v1.ArtifactRegistryClient(
        credentials=AnonymousCredentials(), transport="rest", client_options=options
    )


def make(
    client: artifactregistry_v1.ArtifactRegistryClient, name: str, **fields: object
) -> artifactregistry_v1.Repository:
    repository = artifactregistry_v1.Repository(format_="DOCKER", **fields)
    made: artifactregistry_v1.Repository = client.create_repository(
        parent=PARENT, repository=repository, repository_id=name
    ).result(timeout=10)
    return made


def test_a_repository_is_created_read_changed_listed_and_deleted(
    client: artifactregistry_v1.ArtifactRegistryClient,
) -> None:
    keep = artifactregistry_v1.CleanupPolicy(
        action="KEEP", most_recent_versions=artifactregistry_v1.CleanupPolicyMostRecentVersions(keep_count=5)
    )
    made = make(client, "first", description="images", labels={"team": "a"}, cleanup_policies={"keep": keep})
    assert made.name == f"{PARENT}/repositories/first"
    assert made.mode == artifactregistry_v1.Repository.Mode.STANDARD_REPOSITORY

    made.description = "more images"
    mask = FieldMask(paths=["description"])
    changed = client.update_repository(repository=made, update_mask=mask)
    assert (changed.description, changed.labels["team"]) == ("more images", "a")
    assert changed.cleanup_policies["keep"].most_recent_versions.keep_count == 5

    assert "first" in [item.name.rpartition("/")[2] for item in client.list_repositories(parent=PARENT)]
    client.delete_repository(name=made.name).result(timeout=10)
    with pytest.raises(NotFound):
        client.get_repository(name=made.name)


def test_what_the_cloud_refuses_is_refused(client: artifactregistry_v1.ArtifactRegistryClient) -> None:
    make(client, "taken")
    with pytest.raises(Conflict, match="the repository already exists"):
        make(client, "taken")
    with pytest.raises(BadRequest, match="repository ID"):
        make(client, "Bad_Id")
    with pytest.raises(BadRequest, match="format"):
        client.create_repository(parent=PARENT, repository=artifactregistry_v1.Repository(), repository_id="nothing")
    with pytest.raises(BadRequest, match="nowhere-9"):
        client.create_repository(
            parent="projects/demo-project/locations/nowhere-9",
            repository=artifactregistry_v1.Repository(format_="DOCKER"),
            repository_id="x",
        )


def test_the_provider_s_snake_case_query_and_synchronous_patch_work(cloud: LocalCloud) -> None:
    base = f"{cloud.url('artifactregistry')}/v1/{PARENT}/repositories"
    body = {"format": "DOCKER", "mode": "STANDARD_REPOSITORY", "labels": {"goog-pulumi-provisioned": "true"}}
    operation = httpx.post(f"{base}?alt=json&repository_id=snake", json=body).json()
    assert operation["done"] is True
    assert httpx.get(f"{cloud.url('artifactregistry')}/v1/{operation['name']}").json()["done"] is True
    patched = httpx.patch(f"{base}/snake?alt=json&updateMask=description", json={**body, "description": "d"}).json()
    assert patched["description"] == "d"
    assert "done" not in patched
    assert "cleanupPolicyDryRun" not in patched


def test_a_policy_is_kept_and_goes_with_its_repository(client: artifactregistry_v1.ArtifactRegistryClient) -> None:
    name = make(client, "guarded").name
    binding = policy_pb2.Binding(role="roles/artifactregistry.reader", members=["user:reader@example.com"])
    client.set_iam_policy(
        iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy_pb2.Policy(bindings=[binding]))
    )
    read = client.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=name))
    assert list(read.bindings[0].members) == ["user:reader@example.com"]
    client.delete_repository(name=name).result(timeout=10)
    make(client, "guarded")
    assert not client.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=name)).bindings


def test_pushed_images_are_listed_with_digest_tags_and_times(
    cloud: LocalCloud, client: artifactregistry_v1.ArtifactRegistryClient
) -> None:
    name = make(client, "pushed").name
    digest = push(cloud.url("registry"), "demo-project/pushed/group/app", "v1")
    (image,) = client.list_docker_images(parent=name)
    assert image.uri == f"europe-west1-docker.pkg.dev/demo-project/pushed/group/app@{digest}"
    assert list(image.tags) == ["v1"]
    assert str(image.build_time).startswith("2026-11-01")
    assert client.get_docker_image(name=image.name).uri == image.uri
    (package,) = client.list_packages(parent=name)
    (version,) = client.list_versions(parent=package.name)
    assert version.name.endswith(digest)
    assert client.get_repository(name=name).size_bytes > 0


def test_deleting_a_repository_deletes_its_images(
    cloud: LocalCloud, client: artifactregistry_v1.ArtifactRegistryClient
) -> None:
    name = make(client, "gone").name
    digest = push(cloud.url("registry"), "demo-project/gone/app", "v1", b"only here")
    before = cloud.control("GET", "/status")["parts"]["registry"]["blobs"]
    client.delete_repository(name=name).result(timeout=10)
    make(client, "gone")
    assert httpx.get(f"{cloud.url('registry')}/v2/demo-project/gone/app/manifests/{digest}").status_code == 404
    assert cloud.control("GET", "/status")["parts"]["registry"]["blobs"] < before


def test_a_tag_filter_names_only_the_tags_of_its_version(
    cloud: LocalCloud, client: artifactregistry_v1.ArtifactRegistryClient
) -> None:
    """gcloud deletes what this list gives: a filter that was ignored would delete the tags of other versions."""
    package = f"{make(client, 'filtered').name}/packages/app"
    digests = [push(cloud.url("registry"), "demo-project/filtered/app", tag, tag.encode()) for tag in ("v1", "v2")]
    version = f"{package}/versions/{digests[0]}"
    request = artifactregistry_v1.ListTagsRequest(parent=package, filter=f'version="{version}"')
    assert [item.name.rpartition("/")[2] for item in client.list_tags(request)] == ["v1"]
    with pytest.raises(BadRequest, match="filter must be of"):
        client.list_tags(artifactregistry_v1.ListTagsRequest(parent=package, filter="colour=blue"))


def test_tags_are_moved_and_versions_deleted_as_in_the_cloud(
    cloud: LocalCloud, client: artifactregistry_v1.ArtifactRegistryClient
) -> None:
    package = f"{make(client, 'changing').name}/packages/app"
    old, new = (push(cloud.url("registry"), "demo-project/changing/app", tag, tag.encode()) for tag in ("v1", "v2"))
    prod = artifactregistry_v1.Tag(version=f"{package}/versions/{old}")
    made = client.create_tag(parent=package, tag=prod, tag_id="prod")
    with pytest.raises(Conflict):
        client.create_tag(parent=package, tag=prod, tag_id="prod")
    client.update_tag(tag=artifactregistry_v1.Tag(name=made.name, version=f"{package}/versions/{new}"))
    assert client.get_tag(name=made.name).version.endswith(new)
    got = httpx.get(f"{cloud.url('registry')}/v2/demo-project/changing/app/manifests/prod")
    assert got.headers["docker-content-digest"] == new
    with pytest.raises(BadRequest, match="is tagged"):
        client.delete_version(name=f"{package}/versions/{old}")
    client.delete_tag(name=f"{package}/tags/v1")
    client.delete_version(name=f"{package}/versions/{old}").result(timeout=10)
    assert [item.name.rpartition("/")[2] for item in client.list_versions(parent=package)] == [new]
    client.delete_package(name=package).result(timeout=10)
    with pytest.raises(NotFound):
        client.get_package(name=package)
