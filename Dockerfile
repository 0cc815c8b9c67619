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
ENTRYPOINT ["cdc-agent"]
