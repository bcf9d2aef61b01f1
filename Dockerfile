# By digest, so that the same sources give the same image tomorrow; a newer one is a change like any other. To build on
# another base: make image PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1
# At the same path as in the second stage: the scripts of a virtual environment name their interpreter in full.
RUN python3 -m venv /opt/build && python3 -m venv /opt/sbom && python3 -m venv /opt/handshake-proxy
WORKDIR /src
# The dependencies before the sources, so that a change of the sources does not fetch them again. Tracing is among them,
# though it is off by default: switching it on must not take another image.
COPY requirements/build.txt requirements/sbom.txt requirements/image.txt requirements/
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
    && /opt/sbom/bin/pip install --require-hashes -r requirements/sbom.txt \
    && /opt/handshake-proxy/bin/pip install --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md ./
COPY config/ config/
COPY store/ store/
COPY proxy/ proxy/
# The wheel is built with the hashed tools alone, and installed without a look at the index.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/handshake-proxy/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/handshake-proxy/bin/pip uninstall --yes pip setuptools \
    && /opt/build/bin/python -m compileall -q /opt/handshake-proxy/lib
# What is in the image is listed from what was installed, not from what should have been.
RUN mkdir /sbom && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
    --output-file /sbom/handshake-proxy.cdx.json /opt/handshake-proxy

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/handshake-proxy /opt/handshake-proxy
COPY --from=build /sbom/ /usr/share/sbom/
# A number, so that Kubernetes can see that it is not root. The group is the same one; the directory takes a volume.
RUN mkdir /data && chown 65532:65532 /data
ENV PATH=/opt/handshake-proxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=1 \
    HANDSHAKE_OPS__LISTEN=0.0.0.0:9464 \
    HANDSHAKE_STORE__URL=sqlite:////data/handshake.db
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["handshake-proxy", "probe"]
ENTRYPOINT ["handshake-proxy"]
CMD ["serve"]
# Last, for they differ with each build: `make image` gives them.
ARG PYTHON_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="handshake-proxy" \
      org.opencontainers.image.description="A sidecar caching proxy for the user and business data of an attendance service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
