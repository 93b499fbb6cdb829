#!/usr/bin/env bash
# postgres.sh start DIR   starts a private Postgres in DIR (absolute) and prints its URL
# postgres.sh stop DIR    stops it
#
# For tests: trust authentication, 127.0.0.1 and a free port only, nothing synced to
# disk. Installs Debian's postgresql when there is none. A cluster that was stopped
# starts again with its data, on its old port when that is still free.
# stdout carries the URL and nothing else.
set -euo pipefail

say() { echo "postgres.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# Someone's own Postgres settings must not steer this one.
for name in $(compgen -e); do
  case $name in PG*) unset "$name" ;; esac
done

# The folder of Postgres's programs: initdb is not on Debian's PATH.
programs() {
  local initdb
  initdb=$(command -v initdb || true)
  if [ -z "$initdb" ]; then
    initdb=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1 || true)
  fi
  [ -n "$initdb" ] || return 1
  dirname "$(readlink -f "$initdb")"
}

install_debian() {
  command -v apt-get >/dev/null || fail "no initdb found, and no apt-get to install it: install PostgreSQL"
  [ "$(id -u)" = 0 ] || fail "no initdb found: run as root, or first: sudo apt-get install postgresql"
  say "installing postgresql"
  # Debian's package would make and start a cluster of its own, which is not needed.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  fi
  local install=(setsid --wait env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends
    -o Dpkg::Options::=--force-confold postgresql)
  "${install[@]}" >&2 || {
    say "trying again with fresh package lists"
    apt-get update >&2 || fail "apt-get update failed (its own message is above)"
    "${install[@]}" >&2 || fail "apt-get could not install postgresql (its own message is above)"
  }
}

# Postgres refuses to run as root, so root hands over to the user `postgres`.
as_user() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    runuser -u postgres -- "$@"
  else
    su -s /bin/sh postgres -c 'exec "$0" "$@"' -- "$@"
  fi
}

answers() { # PORT
  [ "$(PGCONNECT_TIMEOUT=2 "$bin/psql" -h 127.0.0.1 -p "$1" -U postgres -d postgres -Atc 'SELECT 1' 2>/dev/null)" = 1 ]
}

taken() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

running() { as_user "$bin/pg_ctl" -D "$dir/data" status >/dev/null 2>&1; }

start() {
  if ! bin=$(programs); then
    install_debian
    bin=$(programs) || fail "postgresql was installed, but there is no initdb in /usr/lib/postgresql"
  fi
  [ ${#dir} -le 80 ] || fail "$dir is too long for a socket's path: choose a shorter DIR"

  mkdir -p "$dir"
  if [ ! -e "$dir/data/PG_VERSION" ]; then
    [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty and holds no cluster: choose another DIR"
    if [ "$(id -u)" = 0 ]; then
      id postgres >/dev/null 2>&1 || fail "initdb refuses root, and there is no user 'postgres' to run it as"
      chown postgres "$dir"
    fi
    as_user test -w "$dir" || fail "the user 'postgres' cannot reach $dir: a folder above it is closed to others"
    as_user mkdir "$dir/socket"
    # From inside DIR, since initdb complains about a current folder it may not enter.
    (cd "$dir" && as_user "$bin/initdb" -D "$dir/data" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync) >&2 ||
      fail "initdb failed (its own message is above)"
  elif running; then
    fail "a server already runs in $dir: stop it first"
  fi

  local port try
  port=$(cat "$dir/port" 2>/dev/null || true)
  for try in 1 2 3 4 5 6 7 8; do
    while [ -z "$port" ] || taken "$port"; do
      port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    done
    if start_on "$port"; then
      echo "$port" >"$dir/port"
      echo "postgres://postgres@127.0.0.1:$port/postgres"
      return
    fi
    # Another process may have taken the port in between; anything else is final.
    grep -q "could not bind" "$dir/log" || break
    port=
  done
  tail -n 20 "$dir/log" >&2 || true
  fail "the server did not start (the end of $dir/log is above)"
}

start_on() { # PORT
  as_user rm -f "$dir/log"
  (cd "$dir" && as_user "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 \
    -o "-c listen_addresses=127.0.0.1 -c port=$1 -c unix_socket_directories='$dir/socket' -c fsync=off -c synchronous_commit=off -c full_page_writes=off" \
    start) >&2 || return 1
  for _ in $(seq 1 100); do
    if answers "$1"; then
      return 0
    fi
    sleep 0.1
  done
  say "the server runs, but SELECT 1 does not answer on port $1"
  stop
  return 1
}

stop() {
  bin=$(programs) || fail "no pg_ctl found to stop $dir with"
  [ -e "$dir/data/PG_VERSION" ] || fail "$dir holds no cluster"
  if [ ! -e "$dir/data/postmaster.pid" ]; then
    say "no server runs in $dir"
    return 0
  fi
  (cd "$dir" && as_user "$bin/pg_ctl" -D "$dir/data" -m fast -w -t 20 stop) >&2 ||
    (cd "$dir" && as_user "$bin/pg_ctl" -D "$dir/data" -m immediate -w -t 20 stop) >&2 ||
    ! running ||
    fail "the server in $dir does not stop"
}

usage="usage: postgres.sh start|stop DIR"
[ $# -eq 2 ] || fail "$usage"
dir=${2%/}
case $dir in
  /*) ;;
  *) fail "DIR must be absolute and not the root folder: '$2'" ;;
esac
case $dir in
  *[[:space:]\'\"\\]*) fail "DIR must not hold spaces, quotes or backslashes: '$dir'" ;;
esac
case $1 in
  start) start ;;
  stop) stop ;;
  *) fail "$usage" ;;
esac
