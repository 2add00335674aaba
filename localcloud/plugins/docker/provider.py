"""The docker stand-in: `docker:index/image:Image`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from localcloud.plugins.contract import (
    Autoname,
    Call,
    Change,
    Checked,
    Difference,
    Failure,
    Log,
    Plugin,
    PluginError,
    Resource,
    State,
)
from localcloud.plugins.docker import context
from localcloud.plugins.docker.builder import Build, Builder, Login
from localcloud.plugins.docker.names import registry_of, without_tag
from localcloud.plugins.values import UNKNOWN, Plain, Properties, PropertyPath, has_unknown

IMAGE: Final = "docker:index/image:Image"
NOTICE: Final = (
    "this is longhaul's stand-in for the docker plugin: it knows docker.Image only, built by the Docker engine at hand"
)
TOP: Final = frozenset({"build", "buildOnPreview", "imageName", "registry", "skipPush"})
BUILD: Final = frozenset(
    {"addHosts", "args", "builderVersion", "cacheFrom", "context", "contextDigest", "dockerfile", "network"}
    | {"platform", "target"}
)
REGISTRY: Final = frozenset({"server", "username", "password"})
BUILDERS: Final = ("BuilderV1", "BuilderBuildKit")


class DockerPlugin(Plugin):
    """One provider; it finds its engine by `docker:host`, DOCKER_HOST, or the client's own default."""

    name = "docker"
    version = "5.2.0"

    def __init__(self) -> None:
        self._log: Log | None = None
        self._host = ""
        self._builders: list[Builder] = []
        self._cancelled = False

    def check_config(self, news: Properties) -> Checked:
        """Takes every key: those of this stand-in are few, and the others concern types it does not have."""
        return Checked(inputs=news)

    def configure(self, args: Properties, log: Log) -> None:
        """Takes the engine's address and says what this is."""
        self._log, self._host = log, str(args.values.get("host") or "")
        log("info", NOTICE, "")

    def diff_config(self, olds: Plain, news: Plain) -> Difference:
        """Another engine builds the same images."""
        keys = sorted(key for key in olds.keys() | news.keys() if key != "version" and olds.get(key) != news.get(key))
        return Difference(changes=[Change(path=(key,), kind="update") for key in keys])

    def check(self, resource: Resource, olds: Properties, news: Properties, options: Autoname) -> Checked:
        """Names and types; adds the digest of the build context, which is what tells a changed tree."""
        _only_images(resource)
        values = dict(news.values)
        failures = [*_unknown(values, TOP, ""), *_missing(values)]
        build = dict(values.get("build") or {}) if values.get("build") is not UNKNOWN else {}
        failures += _unknown(build, BUILD, "build.")
        if isinstance(values.get("registry"), dict):
            failures += _unknown(values["registry"], REGISTRY, "registry.")
        if build.get("builderVersion") not in (None, UNKNOWN, *BUILDERS):
            failures.append(Failure(property="build", reason=f"builderVersion must be one of {', '.join(BUILDERS)}"))
        build.setdefault("context", ".")
        if build["context"] is not UNKNOWN and build.get("dockerfile") is not UNKNOWN:
            build.setdefault("dockerfile", str(Path(build["context"]) / "Dockerfile"))
            failures += _digested(build)
        values["build"] = build
        values.setdefault("skipPush", False)
        values.setdefault("buildOnPreview", False)
        secrets: set[PropertyPath] = set(news.secrets)
        if isinstance(values.get("registry"), dict) and "password" in values["registry"]:
            secrets.add(("registry", "password"))
        return Checked(inputs=Properties(values=values, secrets=frozenset(secrets)), failures=failures)

    def diff(self, call: Call) -> Difference:
        """Inputs against inputs: credentials do not count, all else is an update in place."""
        old, new = _comparable(call.old_inputs.values), _comparable(call.news.values)
        return Difference(changes=list(_changes(old, new, ())))

    def create(self, call: Call) -> State:
        """Builds and pushes; in a preview only if the program asks for it."""
        return State(id=str(call.news.values.get("imageName")), outputs=self._made(call))

    def update(self, call: Call) -> Properties:
        """Builds and pushes again."""
        return self._made(call)

    def read(self, call: Call) -> State | None:
        """What the state says: the plugin does not look into the registry."""
        return State(id=call.id, outputs=call.olds, inputs=call.old_inputs)

    def delete(self, call: Call) -> None:
        """Leaves the image where it is, in the engine and in the registry."""

    def invoke(self, token: str, args: Plain) -> Mapping[str, Any]:
        """It has no functions."""
        raise PluginError(f"longhaul's docker stand-in has no function {token}")

    def cancel(self) -> None:
        """Kills running builds."""
        self._cancelled = True
        for builder in self._builders:
            builder.cancel()

    def _made(self, call: Call) -> Properties:
        _only_images(call.resource)
        values = call.news.values
        outputs = _outputs(values)
        if call.preview:
            if values.get("buildOnPreview") and not has_unknown(values):
                self._built(call, push=False)
            return Properties(values={**outputs, "repoDigest": UNKNOWN})
        digest = self._built(call, push=not values.get("skipPush"))
        return Properties(values={**outputs, "repoDigest": digest})

    def _built(self, call: Call, *, push: bool) -> str:
        urn = call.resource.urn
        builder = Builder(self._host, lambda line: self._say("status", line, urn))
        self._builders.append(builder)
        if self._cancelled:
            builder.cancel()
        build, login = _build(call.news.values), _login(call.news.values)
        if not builder.reachable():
            return self._packed(build, login, urn, push)
        self._say("info", f"building {build.image} from {build.dockerfile}", urn)
        image_id = builder.build(build)
        if not push:
            return image_id
        self._say("status", f"pushing {build.image}", urn)
        return f"{without_tag(build.image)}@{builder.push(build.image, login)}"

    def _packed(self, build: Build, login: Login | None, urn: str, push: bool) -> str:
        from localcloud.plugins.docker import process_image  # rare, and it imports an HTTP client

        image = process_image.pack(build)
        left_out = f"; not followed: {', '.join(image.left_out)}" if image.left_out else ""
        self._say(
            "warning",
            f"no Docker engine is reachable: {build.image} holds the copied files only and runs as a process "
            f"({process_image.LABEL}=process){left_out}",
            urn,
        )
        if not push:
            return image.digest
        return f"{without_tag(build.image)}@{process_image.push(image, build.image, login, self._stop_if_cancelled)}"

    def _stop_if_cancelled(self) -> None:
        if self._cancelled:
            raise PluginError("cancelled")

    def _say(self, severity: str, message: str, urn: str) -> None:
        if self._log is not None:
            self._log(severity, message, urn)


def _only_images(resource: Resource) -> None:
    if resource.type != IMAGE:
        raise PluginError(
            f"longhaul's stand-in for the docker plugin has no row for {resource.type}; it has {IMAGE}. "
            "Use the real plugin for others"
        )


def _unknown(values: Plain, known: frozenset[str], prefix: str) -> list[Failure]:
    return [
        Failure(reason=f"{prefix}{key}: invalid or unknown key; it must be one of {', '.join(sorted(known))}")
        for key in sorted(values.keys() - known)
        if not key.startswith("__")
    ]


def _missing(values: Plain) -> list[Failure]:
    if values.get("imageName") in (None, ""):
        return [Failure(property="imageName", reason="missing required property 'imageName'")]
    return []


def _digested(build: Plain) -> list[Failure]:
    try:
        build["contextDigest"] = context.digest(Path(build["context"]), Path(build["dockerfile"]))
    except OSError as error:
        return [Failure(reason=f"could not read the build context {build['context']!r}: {error}")]
    return []


def _comparable(values: Plain) -> Plain:
    registry = values.get("registry")
    server = {"server": registry.get("server")} if isinstance(registry, dict) else None
    kept = {key: value for key, value in values.items() if not key.startswith("__")}
    return {**kept, "registry": server}


def _changes(old: Plain, new: Plain, path: PropertyPath) -> list[Change]:
    changes = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += _changes(before, after, (*path, key))
        elif before != after:
            kind = "add" if before is None else "delete" if after is None else "update"
            changes.append(Change(path=(*path, key), kind=kind))
    return changes


def _outputs(values: Plain) -> Plain:
    build, name = values["build"], values["imageName"]
    server = (values.get("registry") or {}).get("server") if isinstance(values.get("registry"), dict) else None
    return {
        "baseImageName": name,
        "imageName": name,
        "context": build.get("context"),
        "dockerfile": build.get("dockerfile"),
        "platform": build.get("platform"),
        "registryServer": server or (name if name is UNKNOWN else registry_of(name)),
    }


def _build(values: Plain) -> Build:
    build = values["build"]
    return Build(
        image=values["imageName"],
        context=Path(build["context"]).resolve(),
        dockerfile=Path(build["dockerfile"]).resolve(),
        args={key: str(value) for key, value in (build.get("args") or {}).items()},
        platform=build.get("platform") or "",
        target=build.get("target") or "",
        network=build.get("network") or "",
        add_hosts=tuple(build.get("addHosts") or ()),
        cache_from=tuple((build.get("cacheFrom") or {}).get("images") or ()),
        buildkit=build.get("builderVersion") != "BuilderV1",
    )


def _login(values: Plain) -> Login | None:
    registry = values.get("registry") or {}
    if not registry.get("password"):
        return None
    server = registry.get("server") or ""
    return Login(server=server, username=registry.get("username") or "", password=registry["password"])
