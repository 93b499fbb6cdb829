#!/usr/bin/env bash
# spark.sh start DIR   starts Spark with Iceberg in DIR (absolute) and prints its URL: one session for all tests
# spark.sh stop DIR    stops it; its log stays
#
# On 127.0.0.1 and a free port, with a heap of 1 GiB and two threads. Installs Spark, Iceberg's runtime and a Java 17
# from PyPI first when they are not there, to SPARK_VENV (default: target/spark-venv), and beside them SQLite's and
# Postgres's JDBC drivers, from the packages of Debian: unpacked there, not installed, so that no rights are needed.
# spark_server.py says what it answers. stdout carries the URL and nothing else.
set -euo pipefail
service=spark
. "$(dirname "${BASH_SOURCE[0]}")/python-service.sh"
venv=${SPARK_VENV:-$root/target/spark-venv}
# A JVM and a session on a busy machine.
seconds=180

drivers=(libxerial-sqlite-jdbc-java libxerial-sqlite-jdbc-jni libpostgresql-jdbc-java)

complete() {
  [ -e "$venv/drivers/complete" ] || unpack_drivers
}

unpack_drivers() {
  local to=$venv/drivers package
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail "the JDBC drivers are Debian's packages ${drivers[*]}: no apt-get and dpkg-deb here to fetch and unpack them"
  rm -rf "$to"
  mkdir -p "$to"
  download "$to" || {
    [ "$(id -u)" = 0 ] || fail "apt-get could not download ${drivers[*]}: run first: sudo apt-get update"
    say "trying again with fresh package lists"
    apt-get update || fail "apt-get update failed (its own message is above)"
    download "$to" || fail "apt-get could not download ${drivers[*]} (its own message is above)"
  }
  for package in "$to"/*.deb; do
    dpkg-deb --extract "$package" "$to" || fail "cannot unpack $package"
  done
  touch "$to/complete"
}

download() { # FOLDER
  # Downloaded as the caller: the user of apt's sandbox cannot write to everyone's folders.
  (cd "$1" && apt-get -o APT::Sandbox::User=root --quiet download "${drivers[@]}")
}

settings() { # PORT
  local native
  native=$(dirname "$(find "$venv/drivers" -name 'libsqlitejdbc.so' | head -n 1)")
  echo "SPARK_DRIVERS=$venv/drivers/usr/share/java"
  echo "SPARK_SQLITE_LIBRARY=$native"
  echo "TZ=UTC"
}

calls() { # URL
  grep -sqx "listening on ${1#http://}" "$dir/log" || return 1
  "${clean[@]}" "$python" - "$1" 9>&- <<'PYTHON'
import json, sys, urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
asked = json.dumps({"statements": ["SELECT 1 AS one"]}).encode()
with direct.open(sys.argv[1], asked, timeout=60) as answer:
    assert json.load(answer) == [{"columns": ["one"], "rows": [["1"]]}]
PYTHON
}

service_main "$@"
