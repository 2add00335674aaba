"""What the fan-out's three stages are told and what they leave behind: variables, names, manifest, limits.

Imported by the stack, the longhaul command, the workflow's generator and the containers, so it needs the standard
library only.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

SYSTEM = "fanout"
"""Name of this system in the run index."""

MAX_TASKS = 100_000
"""Tasks of one job: https://cloud.google.com/batch/quotas (2026-11)."""
PAGE = 1_000
"""Inputs that one page of the manifest describes: about 120 KB, the most that a task reads to know its own."""
MIN_DIGITS = 4
"""Digits of an index in a name; more where the number of inputs needs them."""

MANIFEST = "manifest.json"
REPOSITORY = "repository.tar"
"""Beside the manifest: the code that stage A cloned, for the tasks of stage B."""
TABLE = "results"
"""Stem of the table of all results."""
CURVES = "curves.png"
PAGE_HTML = "index.html"
GATHERED = "gather.json"

REPO_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
REF_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
SECRET_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,255}")
MODEL_PATTERN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PREFIX = re.compile(r"(?:[^\x00-\x1f\x7f#?*\[\]]{1,900}/)?")


class Stage(StrEnum):
    """The first argument of the container."""

    DISPATCH = "dispatch"
    RUN = "run"
    GATHER = "gather"


class Format(StrEnum):
    """How inputs and results are stored."""

    PICKLE = "pickle"
    """Any Python object; an input is trusted because its digest is in the manifest."""
    JSON = "json"
    """Plain data only, readable by other programs."""

    @property
    def suffix(self) -> str:
        return ".pkl" if self is Format.PICKLE else ".json"


VARIABLES: Mapping[str, str] = {
    "bucket": "GCS_BUCKET",
    "in_prefix": "IN_PREFIX",
    "out_prefix": "OUT_PREFIX",
    "job_id": "JOBID",
    "github_repo": "GITHUB_FORECAST_REPO",
    "github_secret": "GITHUB_PAT_SECRET",
    "project": "GCLOUD_PROJECT_ID",
    "repo_dir": "REPO_DIR",
    "git_ref": "GIT_REF",
    "git_url": "GIT_URL",
    "model": "FANOUT_MODEL",
    "format": "FANOUT_FORMAT",
    "table": "FANOUT_TABLE",
    "parallel": "FANOUT_PARALLEL",
    "manifest": "FANOUT_MANIFEST",
    "manifest_generation": "FANOUT_MANIFEST_GENERATION",
    "index_map": "FANOUT_INDEX_MAP",
    "image": "FANOUT_IMAGE",
}
"""Field of FanoutEnv -> variable. BATCH_TASK_INDEX is the platform's and read with the task."""

DEFAULT_MODEL = "workloads.batch_fanout.epidemic"


@dataclass(frozen=True, kw_only=True)
class FanoutEnv:
    """What one stage is told; which of it a stage needs is said where the stage begins.

    Raises:
        ValueError: a value is out of range; the message names the variable.
    """

    bucket: str
    """Bucket without gs://, or a folder of this machine as an absolute path."""
    in_prefix: str = ""
    """Prefix of what the stage reads, with `/` at its end: inputs for a task, results for the gather."""
    out_prefix: str = ""
    """Prefix of what the stage writes, with `/` at its end."""
    job_id: str = ""
    """Name of the run, kept in manifest and results."""
    github_repo: str = ""
    """Private repository to clone, OWNER/REPOSITORY; empty: none."""
    github_secret: str = "github-pat"  # noqa: S105  # the name of the secret, not its value
    """Secret that holds the token for `github_repo`; `none` clones without a token."""
    project: str = ""
    """Project of the secret."""
    repo_dir: str = "/tmp/repository"  # noqa: S108  # the container's own
    """Folder for the repository's code; it is put on Python's path."""
    git_ref: str = ""
    """Branch, tag or commit; empty: the repository's default branch."""
    git_url: str = "https://github.com"
    """Server of `github_repo`."""
    model: str = DEFAULT_MODEL
    """Module of the model, of this image or of the repository."""
    format: str = Format.PICKLE
    """How inputs and results are stored, `pickle` (default) or `json`."""
    table: str = "parquet"
    """Format of the table of all results, `parquet` (default) or `csv`."""
    parallel: int = 32
    """Objects that stage A or the gather moves at once, 1 to 256. Default 32: each waits for the network."""
    manifest: str = ""
    """Object name of the manifest. Default: in `in_prefix` for a task, in `out_prefix` for stage A."""
    manifest_generation: int = 0
    """Generation the manifest must have; 0 (default): any."""
    index_map: str = ""
    """Object that says which input each task takes; empty: a task takes the input of its own index."""
    image: str = ""
    """The container's own image by digest, for the record."""

    def __post_init__(self) -> None:
        problems = [*self._malformed(), *self._out_of_range()]
        if problems:
            raise ValueError("; ".join(problems))

    def _malformed(self) -> list[str]:
        rules = (
            ("in_prefix", _PREFIX, "empty, or end in `/` and hold no wildcards or control characters"),
            ("out_prefix", _PREFIX, "empty, or end in `/` and hold no wildcards or control characters"),
            ("model", MODEL_PATTERN, "the name of a module"),
            ("github_secret", SECRET_PATTERN, "the name of a secret"),
        )
        found = [] if self.bucket else ["GCS_BUCKET: must not be empty"]
        for name, pattern, must in rules:
            if not pattern.fullmatch(getattr(self, name)):
                found.append(f"{VARIABLES[name]}: must be {must}, got {getattr(self, name)[:80]!r}")
        if self.github_repo and not REPO_PATTERN.fullmatch(self.github_repo):
            found.append(f"GITHUB_FORECAST_REPO: must be OWNER/REPOSITORY, got {self.github_repo[:80]!r}")
        if self.git_ref and not REF_PATTERN.fullmatch(self.git_ref):
            found.append(f"GIT_REF: must be a branch, tag or commit, got {self.git_ref[:80]!r}")
        if not re.fullmatch(r"https?://[^\s/@]+|file:///\S*", self.git_url):
            found.append(f"GIT_URL: must be a server without path and user, got {self.git_url[:80]!r}")
        return found

    def _out_of_range(self) -> list[str]:
        found = []
        if self.format not in tuple(Format):
            found.append(f"FANOUT_FORMAT: must be pickle or json, got {self.format!r}")
        if self.table not in ("parquet", "csv"):
            found.append(f"FANOUT_TABLE: must be parquet or csv, got {self.table!r}")
        if not 1 <= self.parallel <= 256:
            found.append(f"FANOUT_PARALLEL: must be 1 to 256 transfers, got {self.parallel}")
        if self.manifest_generation < 0:
            found.append(f"FANOUT_MANIFEST_GENERATION: must be 0 or more, got {self.manifest_generation}")
        return found

    def uri(self, name: str) -> str:
        """Where the object `name` lies."""
        return f"{self.bucket.rstrip('/')}/{name}" if self.bucket.startswith("/") else f"gs://{self.bucket}/{name}"

    def to_env(self) -> dict[str, str]:
        """Only what differs from the default, as strings."""
        plain = {item.name: item.default for item in fields(self)}
        values = {name: getattr(self, name) for name in VARIABLES}
        return {VARIABLES[name]: str(value) for name, value in values.items() if value != plain[name]}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ValueError, naming the variable."""
        found: dict[str, Any] = {name: env[key] for name, key in VARIABLES.items() if env.get(key)}
        for name in ("parallel", "manifest_generation"):
            if name in found and not re.fullmatch(r"[0-9]{1,20}", found[name]):
                raise ValueError(f"{VARIABLES[name]}: must be a whole number, got {found[name][:40]!r}")
            if name in found:
                found[name] = int(found[name])
        return cls(**{"bucket": "", **found})


def digits(count: int) -> int:
    """Digits of an index among `count` inputs: 4, or as many as the last index has."""
    return max(MIN_DIGITS, len(str(max(0, count - 1))))


def input_name(index: int, count: int, form: str = Format.PICKLE) -> str:
    """Name of an input within its prefix: `input_0042.pkl`."""
    return f"input_{index:0{digits(count)}d}{Format(form).suffix}"


def result_name(index: int, count: int, form: str = Format.PICKLE) -> str:
    """Name of a result within its prefix: `result_0042.pkl`."""
    return f"result_{index:0{digits(count)}d}{Format(form).suffix}"


def page_name(page: int) -> str:
    """Name of a page of the manifest within the inputs' prefix."""
    return f"manifest/{page:05d}.json"


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """Object names of one run: everything under `{dir_prefix}{sim_id}/{run_id}/`."""

    dir_prefix: str
    sim_id: str
    run_id: str

    @property
    def root(self) -> str:
        return f"{self.dir_prefix}{self.sim_id}/{self.run_id}/"

    @property
    def inputs(self) -> str:
        return f"{self.root}inputs/"

    @property
    def results(self) -> str:
        return f"{self.root}results/"

    @property
    def outputs(self) -> str:
        return f"{self.root}outputs/"

    @property
    def manifest(self) -> str:
        return f"{self.inputs}{MANIFEST}"

    def index_map(self, name: str) -> str:
        """Object name of the index map of one more job over the same inputs."""
        return f"{self.root}maps/{name}.json"


def batch_job_id(execution_id: str, stage: str) -> str:
    """Id of the Batch job that an execution of the workflow creates for `stage`: a, b, b-standard or c.

    The workflow computes the same text, so that whoever knows an execution finds, and can cancel, its jobs.
    """
    return f"fanout-{execution_id}-{stage}"


JOB_STAGES = ("a", "b", "b-standard", "c")


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """One input as the manifest names it."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class ManifestPage:
    """Where the entries of inputs `first` to `first + count - 1` are."""

    name: str
    first: int
    count: int
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The code that stage A cloned."""

    repository: str
    commit: str
    name: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json`: how many inputs there are, and a digest of every page that lists them.

    Small whatever the count, because the workflow reads it into a variable and every task reads it: the entries lie in
    pages of 1,000, so that a task reads one of them.
    """

    count: int
    """Number of inputs, 0 to 100,000: the tasks of stage B."""
    format: str
    model: str
    seed: int
    requested: int
    """`--count` of stage A; the model decides on the number of inputs."""
    job_id: str = ""
    pages: Sequence[ManifestPage] = ()
    repository: Repository | None = None
    version: int = 1

    def to_json(self) -> bytes:
        return _compact(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ValueError: it is cut, or its numbers do not fit each other."""
        raw = _object(data, "manifest")
        if raw.get("version") != 1:
            raise ValueError(f"manifest: version must be 1, got {raw.get('version')!r}")
        try:
            raw["pages"] = tuple(ManifestPage(**page) for page in raw["pages"])
            raw["repository"] = Repository(**raw["repository"]) if raw.get("repository") else None
            made = cls(**raw)
        except (KeyError, TypeError) as error:
            raise ValueError(f"manifest: {error}") from error
        made.check()
        return made

    def check(self) -> None:
        """Raises ValueError: pages and count do not fit each other."""
        if not 0 <= self.count <= MAX_TASKS:
            raise ValueError(f"manifest: count must be 0 to {MAX_TASKS}, got {self.count}")
        if self.format not in tuple(Format):
            raise ValueError(f"manifest: format must be pickle or json, got {self.format!r}")
        following = 0
        for page in self.pages:
            if page.first != following or not 1 <= page.count <= PAGE:
                raise ValueError(f"manifest: page {page.name} must begin at input {following}, got {page.first}")
            following += page.count
        if following != self.count:
            raise ValueError(f"manifest: pages must list {self.count} inputs, got {following}")

    def page_of(self, index: int) -> ManifestPage:
        """The page that lists input `index`. Raises ValueError: there is no such input."""
        if not 0 <= index < self.count:
            raise ValueError(f"index: must be 0 to {self.count - 1}, got {index}")
        return next(page for page in self.pages if page.first <= index < page.first + page.count)


def page_json(entries: Sequence[InputEntry]) -> bytes:
    """A page of the manifest."""
    return _compact({"inputs": [asdict(entry) for entry in entries]})


def read_page(data: bytes, page: ManifestPage) -> list[InputEntry]:
    """The entries of `page`. Raises ValueError: `data` is not what the manifest says."""
    if len(data) != page.size or hashlib.sha256(data).hexdigest() != page.sha256:
        raise ValueError(f"{page.name}: its content is not the one the manifest names")
    entries = [InputEntry(**entry) for entry in _object(data, page.name)["inputs"]]
    if len(entries) != page.count:
        raise ValueError(f"{page.name}: must list {page.count} inputs, got {len(entries)}")
    return entries


@dataclass(frozen=True, kw_only=True)
class IndexMap:
    """Which input each task of one more job takes: task 0 the first of `indices`, and so on."""

    indices: Sequence[int]
    count: int
    """Number of indices, so that a cut object is noticed."""
    base: str = ""
    """Object name of another map: then `indices` are positions in that one. Empty: they are inputs."""

    @classmethod
    def of(cls, indices: Sequence[int], base: str = "") -> Self:
        return cls(indices=tuple(indices), count=len(indices), base=base)

    def to_json(self) -> bytes:
        return _compact({"count": self.count, "indices": list(self.indices), "base": self.base})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ValueError: it is cut or no list of different indices."""
        raw = _object(data, "index map")
        indices, count = raw.get("indices"), raw.get("count")
        if not isinstance(indices, list) or not all(type(index) is int and index >= 0 for index in indices):
            raise ValueError("index map: indices must be a list of whole numbers")
        if count != len(indices) or len(set(indices)) != len(indices):
            raise ValueError(f"index map: must hold {count} different indices, got {len(set(indices))}")
        return cls(indices=tuple(indices), count=len(indices), base=str(raw.get("base") or ""))


def _compact(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, separators=(",", ":")) + "\n").encode()


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{what}: is no JSON ({error})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{what}: must be a JSON object, got {type(raw).__name__}")
    return raw
