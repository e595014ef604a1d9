# syntax=docker/dockerfile:1
#
# msgcenter as one image for every role: `docker run IMAGE serve --roles submit`. Without arguments it is the embedded set-up: all
# roles in one process, SQLite in the volume, the API on 8080, probes and metrics on 9464.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t msgcenter .
#   docker run -p 8080:8080 -v msgcenter:/var/lib/msgcenter -v "$PWD/config:/etc/msgcenter:ro" msgcenter

# To pin the base for good: --build-arg PYTHON=3.11-slim-bookworm@sha256:…
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
# The environment has no pip of its own: the one of this stage installs into it, and stays behind.
RUN python -m venv --without-pip /opt/msgcenter
COPY requirements.lock ./
RUN pip --python /opt/msgcenter/bin/python install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md ./
COPY protocols protocols
COPY msgcenter msgcenter
COPY adapters adapters
# The lock also holds what building takes; none of it goes into the final image.
RUN pip --python /opt/msgcenter/bin/python install --no-cache-dir --no-deps --no-build-isolation --no-index . \
    && pip --python /opt/msgcenter/bin/python uninstall --yes hatchling editables trove-classifiers pathspec pluggy \
    && /opt/msgcenter/bin/python -m compileall -q -j 0 /opt/msgcenter/lib

FROM python:${PYTHON}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="msgcenter" \
      org.opencontainers.image.description="Unified message-channel middleware: WeCom, SMS, grid PUSH and the platform inbox behind one durable API" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

RUN pip uninstall --yes pip setuptools wheel \
    && groupadd --system --gid 10001 msgcenter \
    && useradd --system --uid 10001 --gid msgcenter --no-create-home --home-dir /var/lib/msgcenter msgcenter \
    && install --directory --owner=msgcenter --group=msgcenter --mode=0750 /var/lib/msgcenter \
    && install --directory /etc/msgcenter
COPY --from=build /opt/msgcenter /opt/msgcenter

ENV PATH=/opt/msgcenter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MSGCENTER_CONFIG=/etc/msgcenter \
    MSGCENTER__DATA=/var/lib/msgcenter \
    MSGCENTER__API__HOST=0.0.0.0 \
    MSGCENTER__HEALTH__HOST=0.0.0.0 \
    MSGCENTER__HEALTH__PORT=9464 \
    MSGCENTER__LOG__FORMAT=json

USER 10001:10001
WORKDIR /var/lib/msgcenter
# Are the three packages ours and from one place, is every adapter there, and no build tool?
RUN ["python", "-m", "msgcenter.packaging"]

VOLUME /var/lib/msgcenter
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "msgcenter.healthcheck"]
ENTRYPOINT ["msgcenter"]
CMD ["serve"]
