# guardian with Debian's PostgreSQL client programs, gnupg and zstd, as a user without privileges.
#
#   docker build -t guardian .
#   docker run --rm -v /etc/guardian:/etc/guardian:ro -v guardian-state:/var/lib/guardian \
#       -e DATABASE_URL guardian backup now

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY guardian ./guardian
RUN python -m venv /opt/guardian \
    && /opt/guardian/bin/pip install --no-cache-dir .

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gnupg postgresql-client zstd \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/guardian --create-home guardian \
    && install -d -o guardian -g guardian -m 0700 /var/lib/guardian /var/lib/guardian/.gnupg
COPY --from=build /opt/guardian /opt/guardian
ENV PATH=/opt/guardian/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/guardian
USER guardian
WORKDIR /var/lib/guardian
VOLUME /var/lib/guardian
STOPSIGNAL SIGTERM
ENTRYPOINT ["guardian"]
CMD ["--help"]
