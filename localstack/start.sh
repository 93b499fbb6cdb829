#!/usr/bin/env bash
# start.sh [DIR]   starts LocalStack in DIR (default: target/localstack) and prints its URL, nothing else
#
# On 127.0.0.1 only. LOCALSTACK_PORT fixes the port; otherwise it is 4566, or a free one when
# that is taken. Installs LocalStack first when it is not there, to LOCALSTACK_VENV (default:
# target/localstack-venv). Every service is there and loads at its first call. All that it
# writes is in DIR; nothing is kept from one start to the next. stop.sh ends it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seconds=60

taken() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Nothing of the caller's environment but PATH: LocalStack reads a hundred variables, and those
# that someone has for another LocalStack, for AWS or for a proxy must not steer this one.
# DISABLE_EVENTS and SKIP_SSL_CERT_DOWNLOAD keep it off the network, DNS_ADDRESS=0 off port 53.
launch() { # PORT
  rm -rf "$dir/state"
  mkdir -p "$dir/state/home" "$dir/state/tmp"
  # Descriptors closed or redirected: a reader of this script's output must not wait for LocalStack's end.
  env -i PATH="$PATH" LANG=C.UTF-8 PYTHONUNBUFFERED=1 \
    HOME="$dir/state/home" TMPDIR="$dir/state/tmp" FILESYSTEM_ROOT="$dir/state/fs" \
    GATEWAY_LISTEN="127.0.0.1:$1" LOCALSTACK_HOST="127.0.0.1:$1" SQS_ENDPOINT_STRATEGY=path \
    DNS_ADDRESS=0 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 \
    "$python" "$here/run.py" "$dir" </dev/null >"$dir/log" 2>&1 9>&- &
  pid=$!
  echo "$pid" >"$dir/pid"
}

# Health says nothing about calls, which can all fail while it is fine: so these are made.
answers() { # PORT SECONDS
  env -i PATH="$PATH" HOME="$dir/state/home" "$python" - "http://127.0.0.1:$1" "$2" 9>&- <<'PYTHON'
import json, signal, sys, urllib.request
import boto3
from botocore.config import Config

signal.signal(signal.SIGALRM, lambda *_: sys.exit("a call does not come back"))
signal.alarm(int(sys.argv[2]))
url = sys.argv[1]
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
health = json.load(direct.open(url + "/_localstack/health"))
missing = {"s3", "sqs", "events", "sns", "stepfunctions", "cloudformation", "iam", "sts"} - health["services"].keys()
if missing:
    sys.exit(f"no service {', '.join(sorted(missing))}")
session = boto3.Session("test", "test", region_name="eu-west-1")
once = Config(retries={"total_max_attempts": 1}, proxies={})
session.client("s3", endpoint_url=url, config=once).list_buckets()
session.client("sqs", endpoint_url=url, config=once).list_queues()
PYTHON
}

# 0: up; 1: failed for good; 2: the port was taken.
start_on() { # PORT
  local deadline=$((SECONDS + seconds)) reason=
  launch "$1"
  while [ $SECONDS -lt $deadline ]; do
    if ! kill -0 "$pid" 2>/dev/null; then
      ! grep -q CannotListenError "$dir/log" || return 2
      say "LocalStack ended by itself"
      return 1
    fi
    if grep -sqx "run.py: listening on 127.0.0.1:$1" "$dir/log" && reason=$(answers "$1" $((deadline - SECONDS)) 2>&1); then
      return 0
    fi
    sleep 0.2
  done
  say "LocalStack is not up after $seconds s: ${reason##*$'\n'}"
  return 1
}

give_up() {
  end_process
  rm -rf "$dir/pid" "$dir/state"
}

if [ -d "$dir" ] && [ ! -e "$dir/lock" ] && [ ! -e "$dir/log" ] && [ -n "$(ls -A "$dir")" ]; then
  fail "$dir is not empty and not LocalStack's: choose another DIR"
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd -P)
take_turns
! runs || fail "LocalStack already runs in $dir, on http://127.0.0.1:$(cat "$dir/port"): stop it first"
rm -f "$dir/pid" "$dir/port"

port=${LOCALSTACK_PORT:-4566}
case $port in *[!0-9]*) fail "LOCALSTACK_PORT is not a number: '$port'" ;; esac
python=$(bash "$here/install.sh" "${LOCALSTACK_VENV:-$root/target/localstack-venv}" 9>&-)

status=2
for _ in 1 2 3 4 5 6 7 8; do
  if ! taken "$port"; then
    # Whatever breaks this off, ^C too, leaves no process behind.
    trap give_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    status=0
    start_on "$port" || status=$?
    if [ $status = 0 ]; then
      echo "$port" >"$dir/port"
      trap - EXIT
      echo "http://127.0.0.1:$port"
      exit
    fi
  fi
  # Another port helps only where the port was the cause.
  [ $status = 2 ] || break
  [ -z "${LOCALSTACK_PORT:-}" ] || fail "port $port is taken: free it, or unset LOCALSTACK_PORT"
  port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
done
tail -n 20 "$dir/log" >&2 || true
fail "LocalStack did not start (the end of $dir/log is above)"
