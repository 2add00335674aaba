"""Settings of Workflows in the local cloud."""

from dataclasses import dataclass

from localcloud.settings import Settings, WrongSettings, build


@dataclass(frozen=True, kw_only=True)
class WorkflowSettings:
    """What `extra.workflows` of the settings may hold."""

    poll_ceiling_s: float = 2.0
    """Longest pause between two looks at an operation, whatever polling_policy says (60 in the cloud); 0.05 to 60 seconds."""
    failed_batch_job: str = "raise"
    """What the connector does when the Batch job that it waits for fails: raise an OperationError, or return the job. Google does
    not document which; a workflow should work with both."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.poll_ceiling_s <= 60:
            raise WrongSettings(f"extra.workflows: poll_ceiling_s must be 0.05 to 60, got {self.poll_ceiling_s:g}")
        if self.failed_batch_job not in ("raise", "return"):
            raise WrongSettings(
                f"extra.workflows: failed_batch_job must be raise or return, got {self.failed_batch_job!r}"
            )


def from_settings(settings: Settings) -> WorkflowSettings:
    """Raises WrongSettings for an unknown key or a value out of range."""
    return build(WorkflowSettings, "extra.workflows", settings.extra.get("workflows", {}))
