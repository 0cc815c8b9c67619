# cdc-agent and cdc-sink in an image: docker build -t cdc-agent .
FROM rust:1.95.0-slim-trixie AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make pkg-config libssl-dev zlib1g-dev
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bins
RUN tests/support/install.sh duckdb

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3t64 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/cdc-agent --create-home cdc-agent
COPY --from=build /build/target/release/cdc-agent /build/target/release/cdc-sink /usr/local/bin/
COPY --from=build /build/target/servers/duckdb/libduckdb.so /usr/local/lib/cdc-agent/
USER cdc-agent
WORKDIR /var/lib/cdc-agent
EXPOSE 8383 8384
# cdc-agent's own port, or cdc-sink's where the image runs that.
HEALTHCHECK --interval=10s --start-period=30s CMD bash -c '\
    for port in 8383 8384; do \
        { exec 3<>/dev/tcp/127.0.0.1/$port; } 2>/dev/null || continue; \
        printf "GET /health/live HTTP/1.0\r\n\r\n" >&3; \
        read -r _ status _ <&3; [ "$status" = 200 ] && exit 0; \
    done; exit 1'
ENTRYPOINT ["cdc-agent"]
