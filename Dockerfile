# guardian as a container: the daemon by default, any of its commands on request.
#
#   docker build -t guardian .
#   docker build -t guardian --build-arg PG_MAJORS="16 17" .       # fewer majors, a smaller image
#   docker build -t guardian --build-arg PG_SOURCE=debian .        # Debian's own PostgreSQL alone
#
#   docker run -d --name guardian --read-only --tmpfs /tmp --cap-drop ALL \
#       --security-opt no-new-privileges -v /etc/guardian:/etc/guardian:ro \
#       -v guardian-state:/var/lib/guardian -e DATABASE_URL guardian
#   docker exec guardian guardian status
#
# Runs as uid 10001 without any capability, and with a read-only root file system: what it writes
# lies in /var/lib/guardian (catalog, gpg's home, local stores if you like) and /tmp (drills: give
# it room, or name another folder in verify.scratch_dir). config/compose.yaml and config/kubernetes
# are complete examples.

# Any Debian or Debian-based Python image; one without Python gets Debian's.
ARG BASE=python:3.12-slim-bookworm

# --- build: the wheel's environment, without the tools that made it -----------------------------
FROM ${BASE} AS build
ARG EXTRAS=apprise
RUN if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then \
        apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv; \
    fi
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY guardian ./guardian
RUN python3 -m venv /opt/guardian \
    && /opt/guardian/bin/pip install --no-cache-dir --disable-pip-version-check ".[${EXTRAS}]" \
    && /opt/guardian/bin/pip uninstall --yes --quiet pip setuptools \
    && /opt/guardian/bin/guardian --version

# --- the image ----------------------------------------------------------------------------------
FROM ${BASE}
# Client programs and, for drills in a throw-away server (verify.scratch: embedded), server programs
# of these majors. A dump needs the server's own major or a newer one.
ARG PG_MAJORS="14 15 16 17 18"
# pgdg: the PostgreSQL project's packages, all majors. debian: Debian's own, one major.
ARG PG_SOURCE=pgdg
ARG PG_SERVERS=yes
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    install="apt-get install --yes --no-install-recommends"; \
    # Nobody reads manuals in here.
    for folder in doc man info locale; do echo "path-exclude=/usr/share/$folder/*"; done \
        >/etc/dpkg/dpkg.cfg.d/guardian; \
    apt-get update; \
    $install ca-certificates gnupg postgresql-common tini zstd; \
    command -v python3 >/dev/null || $install python3; \
    # No cluster of its own: what runs in here is made and thrown away by drills.
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf; \
    if [ "$PG_SOURCE" = pgdg ]; then \
        bash /usr/share/postgresql-common/pgdg/*.sh -y; \
        for major in $PG_MAJORS; do \
            $install "postgresql-client-$major"; \
            [ "$PG_SERVERS" != yes ] || $install "postgresql-$major"; \
        done; \
    else \
        $install postgresql-client; \
        [ "$PG_SERVERS" != yes ] || $install postgresql postgresql-contrib; \
    fi; \
    rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/*; \
    groupadd --system --gid 10001 guardian; \
    useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/guardian --no-create-home guardian; \
    install -d -o guardian -g guardian -m 0700 /var/lib/guardian
COPY --from=build /opt/guardian /opt/guardian

ENV PATH=/opt/guardian/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/guardian \
    STATE_DIRECTORY=/var/lib/guardian
USER 10001
WORKDIR /var/lib/guardian
VOLUME /var/lib/guardian
EXPOSE 8765
# SIGTERM lets running backups take back what they began.
STOPSIGNAL SIGTERM
# The daemon's own word; for other commands there is nobody to ask, so run those with
# --no-healthcheck. GUARDIAN_PORT only where service.listen has another port.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('GUARDIAN_PORT', '8765') + '/health', timeout=8)"]
LABEL org.opencontainers.image.title="guardian" \
    org.opencontainers.image.description="Backs up PostgreSQL, proves every backup, watches, escalates" \
    org.opencontainers.image.licenses="MIT"
# tini reaps what dies under us, gpg's agents and pg_dump.
ENTRYPOINT ["/usr/bin/tini", "--", "guardian"]
CMD ["run"]
