# The MLflow server of compose.yaml, for those who train: reconstruction needs none. PIP_*: as in Dockerfile.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY constraints.txt .
RUN python3 -m venv /opt/tools \
    && python3 -m venv --without-pip /opt/mlflow \
    && /opt/tools/bin/pip --python /opt/mlflow/bin/python install --constraint constraints.txt mlflow 'psycopg[binary]'

FROM ${BASE}
COPY --from=build /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_BACKEND_STORE_URI=sqlite:////mlflow/mlflow.db MLFLOW_ARTIFACTS_DESTINATION=/mlflow/artifacts
WORKDIR /tmp
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health')"]
ENTRYPOINT ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"]
