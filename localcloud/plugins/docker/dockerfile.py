"""Reads of a Dockerfile what an image without a build needs: what is copied where, and how it is started."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from localcloud.plugins.contract import PluginError

WITHOUT_EFFECT: Final = frozenset(
    {"RUN", "LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "SHELL", "VOLUME", "MAINTAINER"}
)
VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One COPY from the context. `into` says that the destination is a folder."""

    sources: tuple[str, ...]
    destination: PurePosixPath
    into: bool


@dataclass(kw_only=True)
class Stage:
    """The last stage (or the target), as far as it can be told without building."""

    copies: list[Copy] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    directory: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def parse(text: str, args: Mapping[str, str], target: str = "") -> Stage:
    """The stage that is built. Raises PluginError naming the line that cannot be followed."""
    stage, known, found = Stage(), dict(args), False
    for number, (word, rest) in _instructions(text):
        if word == "FROM":
            if found:
                break
            stage = Stage()
            words = rest.split()
            name = words[-1] if len(words) > 2 and words[-2].upper() == "AS" else ""
            found = bool(target) and name == target
        elif word == "ARG":
            name, _, default = rest.partition("=")
            known.setdefault(name.strip(), default.strip().strip("\"'"))
        else:
            _apply(stage, word, rest, {**known, **stage.env}, number)
    if target and not found:
        raise PluginError(f"target: argument must be a stage of the Dockerfile, got {target!r}")
    return stage


def _instructions(text: str) -> list[tuple[int, tuple[str, str]]]:
    found: list[tuple[int, tuple[str, str]]] = []
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not pending):
            continue
        start = start if pending else number
        pending += line.rstrip().removesuffix("\\") if line.rstrip().endswith("\\") else line.rstrip()
        if not line.rstrip().endswith("\\"):
            word, _, rest = pending.strip().partition(" ")
            found.append((start, (word.upper(), rest.strip())))
            pending = ""
    return found


def _apply(stage: Stage, word: str, rest: str, known: Mapping[str, str], number: int) -> None:
    if word == "COPY":
        _copy(stage, rest, known, number)
    elif word == "ENV":
        stage.env |= _pairs(_filled(rest, known))
    elif word == "WORKDIR":
        stage.directory = stage.directory / _filled(rest, known)
    elif word == "USER":
        stage.user = _filled(rest, known)
    elif word == "ENTRYPOINT":
        stage.entrypoint = _words(rest)
    elif word == "CMD":
        stage.command = _words(rest)
    elif word in WITHOUT_EFFECT:
        stage.left_out += [f"line {number}: {word}"] if word == "RUN" else []
    else:
        raise PluginError(f"Dockerfile line {number}: {word} cannot be followed without a Docker engine")


def _copy(stage: Stage, rest: str, known: Mapping[str, str], number: int) -> None:
    words = _words(_filled(rest, known)) if rest.lstrip().startswith("[") else shlex.split(_filled(rest, known))
    flags = [word for word in words if word.startswith("--")]
    if any(flag.startswith("--from=") for flag in flags):
        stage.left_out.append(f"line {number}: COPY --from")
        return
    *sources, last = [word for word in words if not word.startswith("--")]
    if not sources or any(source.startswith("<<") for source in sources):
        raise PluginError(f"Dockerfile line {number}: this COPY cannot be followed without a Docker engine")
    into = last.endswith("/") or last in (".", "..") or len(sources) > 1
    stage.copies.append(Copy(sources=tuple(sources), destination=stage.directory / last, into=into))


def _words(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        words: list[str] = json.loads(text)
        return words
    return ["/bin/sh", "-c", text]


def _pairs(text: str) -> dict[str, str]:
    words = shlex.split(text)
    if "=" not in words[0]:
        return {words[0]: " ".join(words[1:])}
    return dict(word.split("=", 1) for word in words)


def _filled(text: str, known: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: known.get(match[1] or match[2], match[3] or ""), text)
