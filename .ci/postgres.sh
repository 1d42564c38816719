#!/usr/bin/env bash
# A throw-away PostgreSQL server on loopback for the tests marked postgres.
#
#   postgres.sh start   prints FABNET_TEST_POSTGRES_URL=postgresql+psycopg://…  (a running one is used again)
#   postgres.sh stop    stops it and removes everything it wrote
#
# Exits 77 with a notice when no server is installed. The cluster lives in one directory of the temporary directory
# (FABNET_TEST_POSTGRES_DIR to choose another), has a random password and never syncs: it holds test rows only.
set -euo pipefail

home=${FABNET_TEST_POSTGRES_DIR:-${TMPDIR:-/tmp}/fabnet-postgres-$(id -u)}
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)

# initdb refuses to run as root; any other account will do.
as_owner() {
  if [ "$(id -u)" != 0 ]; then "$@"; return; fi
  su "$(owner)" -s /bin/bash -c 'cd / && exec "$@"' -- owner "$@"
}

owner() { if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }

running() { [ -f "$home/url" ] && as_owner "$bin/pg_ctl" -D "$home/cluster" status >/dev/null 2>&1; }

free_port() {
  local port
  for _ in $(seq 50); do
    port=$((20000 + RANDOM % 20000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  return 1
}

start() {
  if running; then cat "$home/url"; return; fi
  rm -rf "$home"
  mkdir -m 700 "$home"
  local secret port
  secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  (umask 077; printf '%s\n' "$secret" >"$home/secret")
  [ "$(id -u)" != 0 ] || chown -R "$(owner)" "$home"
  as_owner "$bin/initdb" -D "$home/cluster" -U fabnet -E UTF8 --no-locale --no-sync -A scram-sha-256 \
    --pwfile="$home/secret" >"$home/start.log" 2>&1 || { cat "$home/start.log" >&2; exit 1; }
  port=$(free_port)
  as_owner "$bin/pg_ctl" -D "$home/cluster" -w -t 60 -l "$home/server.log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c full_page_writes=off" \
    start >"$home/start.log" 2>&1 || { cat "$home/start.log" >&2; exit 1; }
  echo "FABNET_TEST_POSTGRES_URL=postgresql+psycopg://fabnet:$secret@127.0.0.1:$port/postgres" | tee "$home/url"
}

stop() {
  if running; then as_owner "$bin/pg_ctl" -D "$home/cluster" -m immediate stop >/dev/null; fi
  rm -rf "$home"
}

if [ -z "$bin" ]; then
  echo "NOTICE: no PostgreSQL server is installed here (looked in /usr/lib/postgresql)" >&2
  exit 77
fi

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  *) echo "usage: postgres.sh start|stop" >&2; exit 2 ;;
esac
