# The image migration-sidecar, and with `--target embedded` the variant that carries a private
# PostgreSQL for its shadow. The classic builder and BuildKit both build it; docs/image.md tells
# more. Every stage starts from the same image, so that the venv's link to Python stays true.
# Another base (a mirror, a digest): docker build --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# binutils for `strip`. Not pinned: Debian keeps one version of a release, the newest.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils \
 && rm -rf /var/lib/apt/lists/*

# Dependencies first: these layers are made again only when a lock file changes. The venv gets
# no pip of its own; the image that runs has no business installing anything. The parser comes
# with its debugging symbols, three quarters of its 14 MB.
# Bytecode now: at run time the file system is read-only and the user owns nothing. Unchecked,
# because the sources cannot change any more: one look at a file less for each import. The
# lexers of a few hundred languages, which nobody here asks for, stay sources.
COPY requirements-build.lock requirements-runtime.lock ./
RUN python -m pip install --require-hashes -r requirements-build.lock \
 && python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install \
      --no-compile --require-hashes -r requirements-runtime.lock \
 && strip --strip-unneeded /opt/venv/lib/python3*/site-packages/postgast/libpg_query.so \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      -x 'pygments/lexers/[a-z]' /opt/venv/lib

# The package, built by the locked build backend and by nothing fetched for the occasion.
COPY LICENSE README.md pyproject.toml ./
COPY sidecar sidecar
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps dist/*.whl \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      /opt/venv/lib/python3*/site-packages/sidecar


# What is inside, as CycloneDX, told by a tool that does not come along. (Its own check of what
# it wrote takes longer than everything else; the tests look at the result.)
FROM ${BASE_IMAGE} AS sbom
WORKDIR /sbom
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements-sbom.lock ./
RUN python -m venv --without-pip /opt/sbom \
 && python -m pip --python /opt/sbom/bin/python install \
      --no-compile --require-hashes -r requirements-sbom.lock
COPY pyproject.toml ./
COPY --from=build /opt/venv /opt/venv
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --no-validate \
      --pyproject pyproject.toml --output-file sbom.cdx.json /opt/venv/bin/python


FROM ${BASE_IMAGE} AS slim
# The bytecode is there already (nothing to write); log lines must leave at once.
ENV PATH="/opt/venv/bin:${PATH}" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv
COPY --from=sbom /sbom/sbom.cdx.json /usr/share/sbom/migration-sidecar.cdx.json

# The default SIDECAR_MIGRATIONS_DIR is relative: put the folder at /app/prisma/migrations.
WORKDIR /app

# A number, so that Kubernetes can check runAsNonRoot; any other number works as well,
# because nothing is written and no home is needed.
USER 65532:65532

# Exec form: the program is process 1 and gets SIGTERM itself.
ENTRYPOINT ["migration-sidecar"]
CMD ["run"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="migration-sidecar" \
      org.opencontainers.image.description="Repairs half-done Prisma migrations before a backend starts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


# With a PostgreSQL of its own, for roles that may not CREATE DATABASE: Debian's server with
# contrib and pgvector, and a data directory made now, so that a run only has to copy it.
# Purged are packages that it serves without: the compiler of its JIT, and Debian's tools for
# many clusters with their Perl. Forced, because they count as needed; nothing is installed later.
FROM slim AS embedded
ARG POSTGRES_MAJOR=17
ENV SIDECAR_EMBEDDED_DIR=/opt/postgres
# hadolint ignore=DL3002
USER 0:0
# hadolint ignore=DL3008
RUN mkdir -p /etc/postgresql-common /opt/postgres \
 && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
 && apt-get update && apt-get install --yes --no-install-recommends \
      "postgresql-${POSTGRES_MAJOR}" "postgresql-${POSTGRES_MAJOR}-pgvector" \
 && dpkg-query --show --showformat '${Package}\n' 'libllvm*' 'libz3-*' perl 'libperl5*' \
      'perl-modules-*' 'postgresql-*common' ssl-cert locales libc-l10n > /tmp/needless \
 && xargs --arg-file=/tmp/needless dpkg --purge --force-depends \
 && apt-get clean \
 && rm -rf /tmp/needless /var/lib/apt/lists/* "/usr/lib/postgresql/${POSTGRES_MAJOR}/lib/bitcode" \
 && ln -s "/usr/lib/postgresql/${POSTGRES_MAJOR}/bin" /opt/postgres/bin \
 && python -c 'from pathlib import Path; from sidecar import embedded; \
      embedded.prepare(Path("/opt/postgres"))'
USER 65532:65532
LABEL org.opencontainers.image.title="migration-sidecar (embedded)"


# Last, so that it is what `docker build .` makes. The classic builder goes through every stage
# above it; `--target slim` spares it the PostgreSQL.
FROM slim
