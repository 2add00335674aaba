"""Unpacking of archives, with tarfile's filters and without."""

import io
import tarfile
from pathlib import Path

import pytest

from localcloud.runtime.unpack import unpack


@pytest.fixture(params=["filters", "no filters"])
def tar(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    return str(request.param)


def archive(*members: tuple[str, bytes, str]) -> tarfile.TarFile:
    """(name, kind, link) by member; a file contains its own name."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as out:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o751
            content = name.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return tarfile.open(fileobj=io.BytesIO(data.getvalue()))


def test_files_folders_and_links_within_come_out(tar: str, tmp_path: Path) -> None:
    members = ("a", tarfile.DIRTYPE, ""), ("a/b", tarfile.REGTYPE, ""), ("a/c", tarfile.SYMTYPE, "../a/b")
    unpack(archive(*members), tmp_path)
    assert (tmp_path / "a" / "c").read_text() == "a/b"


@pytest.mark.parametrize(
    "member",
    [
        ("../out", tarfile.REGTYPE, ""),
        ("a/../../out", tarfile.REGTYPE, ""),
        ("link", tarfile.SYMTYPE, "../out"),
        ("link", tarfile.SYMTYPE, "/etc/passwd"),
        ("link", tarfile.LNKTYPE, "../out"),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_what_leads_out_is_refused(tar: str, tmp_path: Path, member: tuple[str, bytes, str]) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(tarfile.TarError):
        unpack(archive(member), target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_as_given_keeps_modes_and_links_that_mean_the_container(tar: str, tmp_path: Path) -> None:
    unpack(archive(("a", tarfile.REGTYPE, ""), ("link", tarfile.SYMTYPE, "/usr/bin/x")), tmp_path, as_given=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o751
    assert str((tmp_path / "link").readlink()) == "/usr/bin/x"
    with pytest.raises(tarfile.TarError):
        unpack(archive(("../out", tarfile.REGTYPE, "")), tmp_path / "a", as_given=True)
