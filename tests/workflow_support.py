"""Workflows by Google's own clients: REST for definitions, gRPC for executions."""

import json
import time
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import workflows_v1
from google.cloud.workflows import executions_v1
from google.cloud.workflows.executions_v1.services.executions.transports import ExecutionsGrpcTransport
from google.oauth2.credentials import Credentials

from localcloud.testing import LocalCloud

PROJECT = "demo-project"
PARENT = f"projects/{PROJECT}/locations/europe-west1"


class Workflows:
    def __init__(self, cloud: LocalCloud, member: str = "") -> None:
        self.cloud, self.number = cloud, 0
        token = cloud.token(member) if member else ""
        credentials: Any = Credentials(token=token) if member else AnonymousCredentials()
        self.client: Any = workflows_v1.WorkflowsClient(
            credentials=credentials, transport="rest", client_options={"api_endpoint": cloud.url("workflows")}
        )
        channel: Any = grpc.insecure_channel(cloud.url("workflowexecutions").removeprefix("http://"))
        self.executions: Any = executions_v1.ExecutionsClient(transport=ExecutionsGrpcTransport(channel=channel))
        self.metadata = [("authorization", f"Bearer {token}")] if member else []

    def deploy(self, source: str, workflow_id: str = "", **fields: Any) -> Any:
        self.number += 1
        request = {
            "parent": PARENT,
            "workflow_id": workflow_id or f"w{self.number}-{time.time_ns()}",
            "workflow": {"source_contents": source} | fields,
        }
        return self.client.create_workflow(request).result(timeout=10)

    def start(self, workflow: str, argument: Any = None, **fields: Any) -> Any:
        execution = {"argument": json.dumps(argument)} | fields
        return self.executions.create_execution(parent=workflow, execution=execution, metadata=self.metadata)

    def get(self, name: str, view: int = 0) -> Any:
        request = {"name": name, "view": view}
        return self.executions.get_execution(request, metadata=self.metadata)

    def end(self, name: str, timeout_s: float = 60) -> Any:
        """The execution, once it has ended."""
        deadline = time.monotonic() + timeout_s
        while (execution := self.get(name)).state.name == "ACTIVE":
            assert time.monotonic() < deadline, execution
            time.sleep(0.05)
        return execution

    def run(self, source: str, argument: Any = None, **fields: Any) -> Any:
        return self.end(self.start(self.deploy(source, **fields).name, argument).name)

    def result(self, source: str, argument: Any = None, **fields: Any) -> Any:
        """What a workflow that succeeds returns."""
        execution = self.run(source, argument, **fields)
        assert execution.state.name == "SUCCEEDED", execution.error
        return json.loads(execution.result)
