"""`longhaul doctor`: what is missing, and what to run."""

from dataclasses import asdict

import typer

from ops.commands.common import DEFAULT_STACK, JsonOption, StackOption, app_of


def doctor(context: typer.Context, as_json: JsonOption = False, stack: StackOption = DEFAULT_STACK) -> None:
    """Look at credentials, engine, Docker, local cloud, stack, job, bucket and logs. Ends with 1 if one is not well."""
    from ops.doctor import examine

    app, findings = app_of(context), []
    for finding in examine(app.project, stack):
        findings.append(finding)
        if not as_json:
            mark = "ok  " if finding.ok else "FAIL"
            app.tell(f"{mark} {finding.name}: {finding.detail}")
            if finding.remedy:
                app.tell(f"     -> {finding.remedy}")
    if as_json:
        app.print_json([asdict(finding) for finding in findings])
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
