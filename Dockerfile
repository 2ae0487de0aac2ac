# The image of recsys: nights, trainings and, with more packages, the servers of compose.yaml.
#
#   docker build -t recsys .                                          torch as the package index has it: with CUDA
#   docker build -t recsys --build-arg DEVICE=cpu --build-arg TORCH_INDEX=URL .
#                                                                     torch for CPUs, from an index of such wheels
# Further arguments: VERSION (of recsys, since the image is built without the git history), BASE_IMAGE (Debian with Python
# 3.11 or newer), EXTRAS (of pyproject.toml), PACKAGES (further ones).
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG DEVICE=cuda
ARG TORCH_INDEX=""
ARG EXTRAS=postgres,offline-encoder,report
ARG PACKAGES=""
ARG VERSION=0.1.0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 SETUPTOOLS_SCM_PRETEND_VERSION=${VERSION}
WORKDIR /build
RUN python3 -m venv /opt/recsys/.venv
COPY constraints.txt ./
# torch first and by itself, so that no range of another package chooses its build.
RUN /opt/recsys/.venv/bin/pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && if [ "$DEVICE" = cpu ] && [ -n "$(/opt/recsys/.venv/bin/python -c 'import torch; print(torch.version.cuda or "")')" ]; \
    then echo "DEVICE is cpu, but this torch is built for CUDA; give TORCH_INDEX an index of wheels for CPUs" >&2; exit 2; fi
COPY pyproject.toml README.md LICENSE ./
COPY recsys recsys
# Bytecode is compiled here, since nothing can be written later.
# hadolint ignore=SC2086
RUN /opt/recsys/.venv/bin/pip install --constraint constraints.txt ".[$EXTRAS]" $PACKAGES \
    && { /opt/recsys/.venv/bin/python -m compileall -q /opt/recsys/.venv/lib > /dev/null || true; }

FROM ${BASE_IMAGE}
# LightGBM and implicit compute with OpenMP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# A number, so that Kubernetes can see that it is not root; without a home.
RUN groupadd --gid 10001 recsys \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin recsys \
    && install --directory --owner 10001 --group 10001 --mode 700 /srv/recsys/home \
    && install --directory /srv/recsys/raw /srv/recsys/figures
COPY --from=build /opt/recsys /opt/recsys
COPY configs /opt/recsys/configs
COPY schedules /opt/recsys/schedules
COPY airflow_dags /opt/recsys/airflow_dags
COPY deploy/entrypoint /opt/recsys/deploy/entrypoint
# Only RECSYS_HOME and /tmp are written to; what libraries cache goes to /tmp. recsys itself keeps compiled loops in
# RECSYS_HOME, since the installation is read-only.
ENV PATH=/opt/recsys/.venv/bin:/opt/recsys/schedules:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    RECSYS_HOME=/srv/recsys/home RECSYS_DATA=/srv/recsys/raw RECSYS_CONFIG=/opt/recsys/configs/demo.yaml \
    XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/cache/matplotlib \
    HF_HUB_OFFLINE=1 MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /opt/recsys
USER 10001:10001
# An engine runs it without the entry point, which reads the secrets.
HEALTHCHECK --interval=10m --timeout=60s --start-period=30s \
    CMD ["/opt/recsys/deploy/entrypoint", "sh", "-c", "recsys doctor --config \"$RECSYS_CONFIG\" > /dev/null"]
ENTRYPOINT ["/opt/recsys/deploy/entrypoint"]
CMD ["recsys", "--help"]
