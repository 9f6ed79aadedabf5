# Reconstruction alone: `mri-n2n batch` and `reconstruct`, without what training and figures need. Weights are mounted.
# docs/containers.md says how to build it, and how it was verified.
#
#   TORCH   cpu, or cuda: torch brings CUDA's libraries with it, so that the base is the same
#   EXTRAS  of pyproject.toml, in brackets, if more is wanted
#   PIP_*   pip does not see the settings of the machine that builds: where it should look beside its usual index.
#           A CPU image needs the place of torch's CPU builds; the usual index has only the one with CUDA, of 5 GB.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=cpu
ARG EXTRAS=
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /source

# The tools of the build stay behind: what reconstructs has no pip.
COPY constraints.txt .
RUN python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --constraint constraints.txt cyclonedx-bom \
    && python3 -m venv --without-pip /opt/mri-n2n

# First, because it is large and changes seldom. "+cpu" is a build of its own: without a place to take it from this ends
# at once, and not with the other one.
RUN version=$(sed -n 's/^torch==//p' constraints.txt) \
    && if [ "${TORCH}" = cpu ]; then version+=+cpu; fi \
    && /opt/tools/bin/pip --python /opt/mri-n2n/bin/python install --constraint constraints.txt "torch==${version}" \
    && /opt/mri-n2n/bin/python -c "import torch; assert bool(torch.version.cuda) == ('${TORCH}' == 'cuda'), torch.version"

COPY pyproject.toml README.md LICENSE ./
COPY mri_n2n mri_n2n
COPY natural_images natural_images
COPY pipelines pipelines
COPY rendering rendering
RUN /opt/tools/bin/pip --python /opt/mri-n2n/bin/python install --constraint constraints.txt ".${EXTRAS}" \
    && /opt/tools/bin/pip --python /opt/mri-n2n/bin/python check \
    && rm -rf /opt/mri-n2n/lib/python3*/site-packages/torch/{include,test} \
    && mkdir /opt/mri-n2n/share/mri-n2n \
    && /opt/tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --output-file /opt/mri-n2n/share/mri-n2n/sbom.cdx.json /opt/mri-n2n/bin/python

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mri-n2n" \
    org.opencontainers.image.description="MRI reconstruction by a network. Not for diagnostic use." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/mri-n2n /opt/mri-n2n
# Nothing is written but the output and /tmp; the last two are for NVIDIA's container runtime, if that is there.
ENV PATH=/opt/mri-n2n/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
USER 10001:10001
# Touched every five seconds or so, beside the one in the output, which several containers may share.
ENV MRI_N2N_HEARTBEAT=/tmp/heartbeat
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m \
    CMD ["sh", "-c", "test -n \"$(find /tmp/heartbeat -mmin -5 2>/dev/null)\""]
ENTRYPOINT ["mri-n2n"]
CMD ["batch", "/studies", "/output", "--model", "/model"]
