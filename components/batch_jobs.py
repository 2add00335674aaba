"""The fan-out's three jobs: as expressions in the workflow, and as templates for a job created by hand."""

import json
from collections.abc import Mapping
from typing import Any

from components.batch_args import JOB_WAIT_S, BatchFanoutArgs, stages_of
from components.batch_stages import StageValues, job_body, stage_inputs
from components.batch_workflow import render
from workloads.batch_fanout.contract import VARIABLES


def _bodies(args: BatchFanoutArgs, values: StageValues, network: tuple[str, str] | None) -> dict[str, Any]:
    """Stage -> its job; `b_standard` is stage B on standard machines."""
    bodies = {}
    for key, stage, spot in (
        ("a", "a", False),
        ("b", "b", args.get("spot", False)),
        ("b_standard", "b", False),
        ("c", "c", False),
    ):
        secret = args.get("github_secret", "none")
        commands, variables = stage_inputs(stage, values, secret=secret, project=args["project"])
        bodies[key] = job_body(
            stages_of(args)[stage],
            commands=commands,
            count=values["tasks"] if stage == "b" else 1,
            parallelism=values["parallelism"] if stage == "b" else 1,
            image=values["image"],
            account=values["account"],
            variables={**args.get("env", {}), **variables},
            labels={**args.get("labels", {}), "stage": key.replace("_", "-")},
            network=network,
            spot=spot,
        )
    return bodies


_EXPRESSIONS: StageValues = {
    "bucket": "${run.bucket}",
    "root": "${run.root}",
    "run_id": "${run.run_id}",
    "image": "${run.image}",
    "account": "${run.account}",
    "repository": "${run.repository}",
    "git_ref": "${run.git_ref}",
    "count": "${string(run.count)}",
    "seed": "${string(run.seed)}",
    "tasks": "${tasks}",
    "parallelism": "${parallelism}",
    "generation": "${generation}",
    "index_map": "${index_map}",
}


def workflow_source(args: BatchFanoutArgs) -> str:
    """The workflow's source: the same for the same arguments, whatever the engine knows later."""
    network = ('${sys.get_env("NETWORK")}', '${sys.get_env("SUBNETWORK")}') if "network" in args else None
    return render(
        {
            "bodies": _bodies(args, _EXPRESSIONS, network),
            "prefix": args.get("prefix", "fanout/"),
            "github_repo": args.get("github_repo", ""),
            "max_parallelism": args.get("max_parallelism", 100),
            "job_wait_s": args.get("job_wait_s", JOB_WAIT_S),
            "poll_s": args.get("poll_s", 5),
            "spot": args.get("spot", False),
            "gather": args.get("gather", True),
            "table": args.get("env", {}).get(VARIABLES["table"], "parquet"),
        }
    )


def job_templates(args: BatchFanoutArgs, known: Mapping[str, str]) -> dict[str, str]:
    """Stage -> its job as JSON; `known` are the workflow's environment variables, by name."""
    values: StageValues = {
        "bucket": known["BUCKET"],
        "root": f"{args.get('prefix', 'fanout/')}manual/RUN_ID/",
        "run_id": "RUN_ID",
        "image": known["IMAGE"],
        "account": known["RUNTIME_ACCOUNT"],
        "repository": args.get("github_repo", ""),
        "git_ref": "",
        "count": "COUNT",
        "seed": "SEED",
        "tasks": 1,
        "parallelism": 1,
        "generation": "",
        "index_map": "",
    }
    network = (known["NETWORK"], known["SUBNETWORK"]) if "network" in args else None
    bodies = _bodies(args, values, network)
    return {stage: json.dumps(bodies[stage], indent=2) for stage in ("a", "b", "c")}
