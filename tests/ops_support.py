"""A platform that runs nothing, for the tests of the command."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ops.errors import OpsError
from ops.platforms import Follow, LogLine, Phase, View


@dataclass
class FakePlatform:
    """Starts nothing; what it says of a run is what the test says."""

    runtime: str = "container"
    says: View = field(default_factory=lambda: View(phase=Phase.RUNNING))
    refuses: str = ""
    started: list[Mapping[str, str]] = field(default_factory=list)
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    tidied: list[Mapping[str, str]] = field(default_factory=list)
    on_cancel: Callable[[], None] | None = None

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        if self.refuses:
            raise OpsError(self.refuses)
        self.started.append(env)
        self.tokens[token] = {"container": f"container-{len(self.started)}"}
        return self.tokens[token]

    def find(self, token: str) -> dict[str, str] | None:
        return self.tokens.get(token)

    def view(self, names: Mapping[str, str]) -> View:
        return self.says

    def cancel(self, names: Mapping[str, str]) -> None:
        if self.on_cancel is not None:
            self.on_cancel()

    def tidy(self, names: Mapping[str, str]) -> None:
        self.tidied.append(names)

    def logs(self, names: Mapping[str, str], *, follow: Follow | None = None) -> Iterator[LogLine]:
        yield LogLine(time="", severity="INFO", message="hello")
