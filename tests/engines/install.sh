#!/usr/bin/env bash
# install.sh VENV_DIR
#
# Makes a Python environment with the engines of requirements.txt in VENV_DIR
# and prints the path of its python. Does nothing when VENV_DIR already holds
# exactly these requirements; builds it anew when they changed or when an
# earlier run was cut short. Safe to call from several tests at once.
#
# PYTHON names another interpreter than python3; it must be 3.11 or newer.
set -euo pipefail

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: install.sh VENV_DIR"
venv=$1
python=${PYTHON:-python3}
requirements=$(cd "$(dirname "$0")" && pwd)/requirements.txt

command -v "$python" >/dev/null || fail "no $python found: install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version 2>&1) is too old: install Python 3.11 or newer, or set PYTHON"
[ -f "$requirements" ] || fail "$requirements is missing"

mkdir -p "$(dirname "$venv")"
venv=$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")
if command -v flock >/dev/null; then
  exec 9>"$venv.lock"
  flock 9
fi

wanted=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$requirements")
stamp=$venv/requirements.sha256
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
  echo "$venv/bin/python"
  exit 0
fi

if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
  fail "$venv exists and is not a Python environment: choose another folder"
fi
"$python" -m venv --clear "$venv" >&2 ||
  fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2 ||
  fail "pip could not install $requirements into $venv (its own message is above)"
echo "$wanted" >"$stamp"
echo "$venv/bin/python"
