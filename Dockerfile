# Both stages start from the same image, so that the venv's link to Python stays true.
# Another base (a mirror, a digest): docker build --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# Dependencies first: these layers are made again only when a lock file changes. The venv gets
# no pip of its own; the image that runs has no business installing anything.
COPY requirements-build.lock requirements-runtime.lock ./
RUN python -m pip install --require-hashes -r requirements-build.lock \
 && python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install \
      --no-compile --require-hashes -r requirements-runtime.lock

# The package, built by the locked build backend and by nothing fetched for the occasion.
COPY LICENSE README.md pyproject.toml ./
COPY sidecar sidecar
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps dist/*.whl

# Bytecode now: at run time the file system is read-only and the user owns nothing. Unchecked,
# because the sources cannot change any more: one look at a file less for each import.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib


FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="migration-sidecar" \
      org.opencontainers.image.description="Repairs half-done Prisma migrations before a backend starts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The bytecode is there already (nothing to write); log lines must leave at once.
ENV PATH="/opt/venv/bin:${PATH}" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv

# The default SIDECAR_MIGRATIONS_DIR is relative: put the folder at /app/prisma/migrations.
WORKDIR /app

# A number, so that Kubernetes can check runAsNonRoot; any other number works as well,
# because nothing is written and no home is needed.
USER 65532:65532

# Exec form: the program is process 1 and gets SIGTERM itself.
ENTRYPOINT ["migration-sidecar"]
CMD ["run"]
