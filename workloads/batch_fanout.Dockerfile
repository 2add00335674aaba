# Context is workloads/; the .dockerignore beside this file lets in only this workload, common/ and the lock.
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS environment
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check "uv>=0.9"
WORKDIR /build
COPY batch_fanout/pyproject.toml batch_fanout/uv.lock ./
# Bytecode is compiled here because the root file system is read-only at run time: without it every start compiles anew.
# netrc: credentials of a private index or repository that the lock names, if there is one; it is in no layer.
RUN --mount=type=secret,id=netrc,target=/root/.netrc,required=false \
    /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --python python3 \
    && find /opt/venv/lib -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
    && rm -rf /opt/venv/lib/python3*/site-packages/pyarrow/include /opt/venv/lib/python3*/site-packages/numpy/_core/include \
    && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

FROM ${BASE_IMAGE}
# stage A clones a repository with git
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fanout
COPY --from=environment /opt/venv /opt/venv
# matplotlib keeps its list of fonts in a folder; the home folder does not exist
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app PYTHONUNBUFFERED=1 LONGHAUL_RUNTIME=container \
    MPLCONFIGDIR=/tmp/matplotlib
COPY __init__.py /app/workloads/
COPY common/ /app/workloads/common/
COPY batch_fanout/ /app/workloads/batch_fanout/
RUN python -m compileall -q /app
# Not where the code is: a runtime may lay memory over the working directory.
WORKDIR /srv
USER 10001:10001
ENTRYPOINT ["python", "-m", "workloads.batch_fanout"]
