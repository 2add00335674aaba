#!/bin/sh
# Stage A from a shell: run_dispatcher.sh --count 10 --seed 1234
#
# Reads GCS_BUCKET, OUT_PREFIX and JOBID; with GITHUB_FORECAST_REPO also GITHUB_PAT_SECRET, GCLOUD_PROJECT_ID, REPO_DIR
# and GIT_REF: the repository is cloned with the secret's token before its model makes the inputs. The clone itself is
# the program's, because a shell would have to hold the token in a variable or an argument.
set -eu
: "${GCS_BUCKET:?must name the bucket}"
if [ -n "${GITHUB_FORECAST_REPO:-}" ] && [ "${GITHUB_PAT_SECRET:-github-pat}" != none ]; then
    : "${GCLOUD_PROJECT_ID:?must name the project of the secret}"
fi
exec python3 -m workloads.batch_fanout dispatch "$@"
