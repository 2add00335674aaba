"""The plugin protocol: starts a gRPC server on 127.0.0.1, prints its port, and turns calls into those of a `Plugin`."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from localcloud.plugins.contract import (
    Autoname,
    Call,
    Change,
    Checked,
    Difference,
    InitFailed,
    Plugin,
    PluginError,
    Resource,
    State,
)
from localcloud.plugins.values import Properties, decode, encode, path_text

MAX_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit
WORKERS = 64  # more than the engine's parallel steps on a laptop: waiting calls must not keep a Cancel out
log = logging.getLogger(__name__)
Reply = TypeVar("Reply")
KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class EngineLog:
    """Writes lines to the engine; without an engine (tests, `PULUMI_DEBUG_PROVIDERS`) to Python's logging."""

    def __init__(self) -> None:
        self._stub: engine_pb2_grpc.EngineStub | None = None

    def attach(self, address: str) -> None:
        """Sends lines to the engine at `address` (HOST:PORT) from now on."""
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def __call__(self, severity: str, message: str, urn: str = "") -> None:
        if self._stub is None:
            log.log(getattr(logging, severity.upper(), logging.INFO), "%s", message)
            return
        passing = severity == "status"
        level = engine_pb2.LogSeverity.Value("INFO" if passing else severity.upper())
        request = engine_pb2.LogRequest(severity=level, message=message, urn=urn, ephemeral=passing)
        try:
            self._stub.Log(request, timeout=5)
        except grpc.RpcError as error:
            # the engine is gone: what the plugin does for it is over, and stderr is all that is left
            print(f"{severity}: {message} (not logged: {error})", file=sys.stderr)


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Translates; holds no state of its own."""

    def __init__(self, plugin: Plugin, engine_log: EngineLog) -> None:
        self._plugin = plugin
        self._log = engine_log

    def _run(self, context: grpc.ServicerContext, work: Callable[[], Reply]) -> Reply:
        try:
            return work()
        except InitFailed as error:
            _abort_partial(context, error)
        except PluginError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as error:
            # a defect of the stand-in: the trace is for whoever mends it, the engine gets one line
            log.exception("%s", self._plugin.name)
            text = f"the {self._plugin.name} stand-in failed: {type(error).__name__}: {error}"
            context.abort(grpc.StatusCode.INTERNAL, text)

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._plugin.version)

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._log.attach(request.address)
        return empty_pb2.Empty()

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        return self._run(context, lambda: _check_response(self._plugin.check_config(decode(request.news))))

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        def work() -> provider_pb2.DiffResponse:
            olds = decode(request.old_inputs if request.HasField("old_inputs") else request.olds)
            return _diff_response(self._plugin.diff_config(olds.values, decode(request.news).values))

        return self._run(context, work)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        self._run(context, lambda: self._plugin.configure(decode(request.args), self._log))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=False,
            acceptOutputs=False,
            supports_autonaming_configuration=True,
        )

    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        def work() -> provider_pb2.CheckResponse:
            resource = Resource.of(request.urn)
            checked = self._plugin.check(resource, decode(request.olds), decode(request.news), _autoname(request))
            return _check_response(checked)

        return self._run(context, work)

    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        return self._run(context, lambda: _diff_response(self._plugin.diff(_call(request))))

    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        def work() -> provider_pb2.CreateResponse:
            call = Call(
                resource=Resource.of(request.urn),
                news=decode(request.properties),
                timeout_s=request.timeout,
                preview=request.preview,
            )
            state = self._plugin.create(call)
            return provider_pb2.CreateResponse(id=state.id, properties=_encoded(state.outputs))

        return self._run(context, work)

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        def work() -> provider_pb2.ReadResponse:
            call = Call(
                resource=Resource.of(request.urn),
                id=request.id,
                olds=decode(request.properties),
                old_inputs=decode(request.inputs),
            )
            state = self._plugin.read(call)
            if state is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(
                id=state.id, properties=_encoded(state.outputs), inputs=_encoded(state.inputs or Properties(values={}))
            )

        return self._run(context, work)

    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        def work() -> provider_pb2.UpdateResponse:
            return provider_pb2.UpdateResponse(properties=_encoded(self._plugin.update(_call(request))))

        return self._run(context, work)

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        call = Call(
            resource=Resource.of(request.urn),
            id=request.id,
            olds=decode(request.properties),
            old_inputs=decode(request.old_inputs),
            timeout_s=request.timeout,
        )
        self._run(context, lambda: self._plugin.delete(call))
        return empty_pb2.Empty()

    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        def work() -> provider_pb2.InvokeResponse:
            response = provider_pb2.InvokeResponse()
            # the field is called `return`, which Python cannot name
            getattr(response, "return").CopyFrom(encode(self._plugin.invoke(request.tok, decode(request.args).values)))
            return response

        return self._run(context, work)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._plugin.cancel()
        return empty_pb2.Empty()


def _encoded(properties: Properties) -> Any:
    return encode(properties.values, properties.secrets)


def _autoname(request: provider_pb2.CheckRequest) -> Autoname:
    if not request.HasField("autonaming"):
        return Autoname(seed=request.randomSeed)
    mode, modes = request.autonaming.mode, provider_pb2.CheckRequest.AutonamingOptions
    return Autoname(
        seed=request.randomSeed,
        proposed=request.autonaming.proposed_name,
        enforced=mode == modes.ENFORCE,
        disabled=mode == modes.DISABLE,
    )


def _call(request: provider_pb2.DiffRequest | provider_pb2.UpdateRequest) -> Call:
    call = Call(
        resource=Resource.of(request.urn),
        id=request.id,
        olds=decode(request.olds),
        old_inputs=decode(request.old_inputs),
        news=decode(request.news),
        ignore_changes=tuple(request.ignoreChanges),
    )
    if isinstance(request, provider_pb2.UpdateRequest):
        return replace(call, timeout_s=request.timeout, preview=request.preview)
    return call


def _check_response(checked: Checked) -> provider_pb2.CheckResponse:
    failures = [provider_pb2.CheckFailure(property=item.property, reason=item.reason) for item in checked.failures]
    return provider_pb2.CheckResponse(inputs=_encoded(checked.inputs), failures=failures)


def _diff_response(difference: Difference) -> provider_pb2.DiffResponse:
    changes: list[Change] = list(difference.changes)
    tops = sorted({str(change.path[0]) for change in changes})
    response = provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=sorted({str(change.path[0]) for change in changes if change.replace}),
        diffs=tops,
        deleteBeforeReplace=difference.delete_before_replace,
        hasDetailedDiff=bool(changes),
    )
    for change in changes:
        response.detailedDiff[path_text(change.path)].kind = KINDS[change.kind, change.replace]
    return response


def _abort_partial(context: grpc.ServicerContext, error: InitFailed) -> NoReturn:
    state: State = error.state
    detail = provider_pb2.ErrorResourceInitFailed(
        id=state.id,
        properties=_encoded(state.outputs),
        reasons=[str(error)],
        inputs=_encoded(state.inputs) if state.inputs else None,
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[packed])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, str(error))
    raise AssertionError("abort returned")


def serve(plugin: Plugin, argv: list[str]) -> None:
    """Serves `plugin` until the engine that started it is gone. `argv` may name the engine's address."""
    engine_log = EngineLog()
    address = next((item for item in argv if not item.startswith("-")), "")
    if address:
        engine_log.attach(address)
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(ThreadPoolExecutor(WORKERS), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(plugin, engine_log), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    _wait_for_orphanhood()
    plugin.cancel()
    server.stop(grace=1).wait()


def _wait_for_orphanhood() -> None:
    # the engine kills its plugins; one whose engine was itself killed must end on its own
    parent = os.getppid()
    stop = threading.Event()
    while os.getppid() == parent:
        stop.wait(1)
