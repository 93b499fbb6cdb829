#!/usr/bin/env bash
# bash infra/first-hour.sh --region REGION [--binary FILE] [--image URI] [--package FILE.zip] [--budget DOLLARS]
#
# The first hour of silversmith on an AWS account, and a report of it: deploys, asserts with the worker's own role, times
# 100 objects, lets a step fail, breaks a configuration, prints the parts of the bill, tears down. It asks before it
# begins. `--help` has all options. Needs Python 3.9 or newer; boto3 comes to target/first-hour unless PYTHON has it.
set -euo pipefail
unset CDPATH
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "first-hour.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

python=${PYTHON:-python3}
if ! "$python" -c 'import boto3' 2>/dev/null; then
  venv=$here/../target/first-hour
  if ! "$venv/bin/python" -c 'import boto3' 2>/dev/null; then
    say "fetching boto3 to target/first-hour"
    mkdir -p "$here/../target"
    "$python" -m venv --clear "$venv" >&2 || fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'boto3>=1.40' >&2 ||
      fail "pip could not install boto3 (its own message is above)"
  fi
  python=$venv/bin/python
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/first_hour.py" "$@"
