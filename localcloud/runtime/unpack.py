"""Unpacking of archives, also by the Python 3.11.0 to 3.11.3 of stable Debian, whose tarfile has no filters."""

import posixpath
import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, target: Path, *, as_given: bool = False) -> None:
    """Unpack below `target`; `as_given`: with links, modes and numeric owners of the archive.

    Raises:
        tarfile.TarError: a member lies outside of `target`, or, unless `as_given`, what a link points to does.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extractall(target, filter=_as_given if as_given else "data", numeric_owner=as_given)  # noqa: S202 - checked by the filter
        return
    members = archive.getmembers()
    for member in members:
        _check(member, links=not as_given)
    archive.extractall(target, members, numeric_owner=as_given)  # noqa: S202 - checked above


def _as_given(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo:
    tarfile.tar_filter(member, target)  # raises on a member outside of target
    return member  # unlike tar_filter's result with the archive's own modes and owners


def _check(member: tarfile.TarInfo, *, links: bool) -> None:
    if links and not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise tarfile.ExtractError(f"{member.name}: a special file")
    paths = [member.name]
    if member.issym() and links:
        paths.append(posixpath.join(posixpath.dirname(member.name), member.linkname))
    elif member.islnk():
        paths.append(member.linkname)
    for path in paths:
        if path.startswith("/") or posixpath.normpath(path).split("/")[0] == "..":
            raise tarfile.ExtractError(f"{member.name}: leads outside of the archive")
