"""A build context: which files are in it, and one digest of them all."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One line of an ignore file (https://docs.docker.com/build/concepts/context/#dockerignore-files, 2026-11)."""

    parts: tuple[str, ...]
    negated: bool

    def matches(self, parts: Sequence[str]) -> bool:
        """Whether the path, or a folder it lies in, is meant."""
        return any(_match(self.parts, parts[:length]) for length in range(1, len(parts) + 1))

    def may_lead_into(self, folder: Sequence[str]) -> bool:
        """Whether something below `folder` could match."""
        if "**" in self.parts:
            return True
        return len(self.parts) > len(folder) and _match(self.parts[: len(folder)], folder)


def _match(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(pattern[1:], parts[skip:]) for skip in range(len(parts) + 1))
    return bool(parts) and _segment(pattern[0]).fullmatch(parts[0]) is not None and _match(pattern[1:], parts[1:])


def _segment(glob: str) -> re.Pattern[str]:
    text, index = "", 0
    while index < len(glob):
        letter = glob[index]
        closing = glob.find("]", index + 2) if letter == "[" else -1
        if closing > 0:
            text += f"[{glob[index + 1 : closing]}]"
            index = closing
        elif letter == "\\" and index + 1 < len(glob):
            index += 1
            text += re.escape(glob[index])
        else:
            text += {"*": ".*", "?": "."}.get(letter, re.escape(letter))
        index += 1
    return re.compile(text, re.DOTALL)


def parse_ignore(text: str) -> list[Pattern]:
    """The patterns of an ignore file, in order."""
    patterns = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        negated = line.startswith("!")
        path = PurePosixPath(line.removeprefix("!").strip().strip("/"))
        parts = tuple(part for part in path.parts if part not in (".", "/"))
        if parts:
            patterns.append(Pattern(parts=parts, negated=negated))
    return patterns


def ignore_file(context: Path, dockerfile: Path) -> Path | None:
    """The ignore file that counts: the Dockerfile's own, else the context's, else none."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    return next((file for file in (own, context / ".dockerignore") if file.is_file()), None)


def files(context: Path, dockerfile: Path) -> list[Path]:
    """The files of the context that are not ignored, sorted, relative. Raises FileNotFoundError without a context."""
    if not context.is_dir():
        raise FileNotFoundError(f"build context {context} is not a folder")
    ignoring = ignore_file(context, dockerfile)
    patterns = parse_ignore(ignoring.read_text(encoding="utf-8")) if ignoring else []
    return sorted(_walk(context, (), patterns))


def _walk(context: Path, folder: tuple[str, ...], patterns: list[Pattern]) -> Iterator[Path]:
    with os.scandir(context.joinpath(*folder)) as entries:
        for entry in entries:
            parts = (*folder, entry.name)
            ignored = _ignored(parts, patterns)
            if entry.is_dir(follow_symlinks=False):
                if not ignored or any(item.negated and item.may_lead_into(parts) for item in patterns):
                    yield from _walk(context, parts, patterns)
            elif not ignored:
                yield Path(*parts)


def _ignored(parts: Sequence[str], patterns: list[Pattern]) -> bool:
    ignored = False
    for pattern in patterns:
        if pattern.negated == ignored and pattern.matches(parts):
            ignored = not pattern.negated
    return ignored


def digest(context: Path, dockerfile: Path) -> str:
    """One SHA-256 of names, modes and contents of the context's files and of the Dockerfile."""
    total = hashlib.sha256()
    for path in [Path(os.path.relpath(dockerfile, context)), *files(context, dockerfile)]:
        full = context / path
        mode = full.lstat().st_mode
        content = os.readlink(full).encode() if stat.S_ISLNK(mode) else _sha256(full)
        kind = "l" if stat.S_ISLNK(mode) else "x" if mode & stat.S_IXUSR else "f"
        total.update(f"{kind} {path.as_posix()}\0".encode() + content + b"\n")
    return total.hexdigest()


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
