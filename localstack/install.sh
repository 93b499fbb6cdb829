#!/usr/bin/env bash
# install.sh VENV_DIR
#
# Makes a Python environment with LocalStack and boto3, at the versions of
# constraints.txt, in VENV_DIR and prints the path of its python, nothing else.
# Does nothing when VENV_DIR already holds exactly these versions; builds it anew
# when they changed or when an earlier run was cut short. Safe to call several
# times at once. Fails, and never skips, when it cannot be done.
#
# LocalStack 4.14 works on Python 3.13 alone: on an older one it starts and every call
# fails, and for 3.14 not all of its libraries are built. PYTHON may name one; otherwise one
# is looked for, pyenv's included, and as a last resort uv downloads one to VENV_DIR.python.
set -euo pipefail
unset CDPATH

say() { echo "install.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# It is run, not just found: pyenv's shims are on PATH for versions that they refuse to start.
suits() { # PYTHON
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null
}

# uv knows Pythons that are not on PATH, and can download one.
with_uv() { # UV
  local found
  found=$("$1" python find --system --no-python-downloads 3.13 2>/dev/null || true)
  if [ -z "$found" ]; then
    say "downloading Python 3.13 with uv to $venv.python"
    # Beside the environment that needs it: nothing is left elsewhere on the machine.
    export UV_PYTHON_INSTALL_DIR=$venv.python
    "$1" python install --no-bin 3.13 >&2 || return 1
    found=$("$1" python find --managed-python --no-python-downloads 3.13) || return 1
  fi
  suits "$found" && echo "$found"
}

fetch_uv() {
  local python
  python=$(command -v python3) || return 1
  say "fetching uv"
  "$python" -m venv "$scratch/uv" >&2 &&
    "$scratch/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 &&
    echo "$scratch/uv/bin/uv"
}

find_python() {
  local candidate pyenv uv
  pyenv=$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")
  for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3 "$pyenv"/versions/3.13*/bin/python3; do
    if suits "$candidate"; then
      echo "$candidate"
      return
    fi
    # PYTHON may be meant for another script, so this is not the end, but it is said.
    [ "$candidate" != "${PYTHON:-}" ] || say "PYTHON=$PYTHON is not a Python 3.13: looking for another"
  done
  say "no Python 3.13 on PATH or in $pyenv: trying uv"
  uv=$(command -v uv || fetch_uv) || uv=
  if [ -z "$uv" ] || ! with_uv "$uv"; then
    fail "LocalStack needs Python 3.13, none was found, and uv could not bring one (its own message is above): install it, or set PYTHON"
  fi
}

[ $# -eq 1 ] || fail "usage: install.sh VENV_DIR"
venv=$1
constraints=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/constraints.txt
[ -f "$constraints" ] || fail "$constraints is missing"

mkdir -p "$(dirname "$venv")"
venv=$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")
if command -v flock >/dev/null; then
  exec 9>"$venv.lock"
  flock 9
fi

# The stamp is the list itself: its comparison needs no Python to be looked for.
stamp=$venv/constraints.installed
if cmp -s "$constraints" "$stamp" && "$venv/bin/python" -c '' 2>/dev/null; then
  echo "$venv/bin/python"
  exit 0
fi

if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
  fail "$venv exists and is not a Python environment: choose another folder"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python=$(find_python)
say "installing LocalStack into $venv with $("$python" --version): a minute or so, 500 MB"
"$python" -m venv --clear "$venv" >&2 ||
  fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
# The version is in the constraints, like all others.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --constraint "$constraints" 'localstack-core[runtime]' >&2 ||
  fail "pip could not install LocalStack into $venv (its own message is above)"
"$venv/bin/python" -c 'import boto3, localstack.runtime.main' >&2 ||
  fail "LocalStack was installed into $venv and does not load (its own message is above)"
cp "$constraints" "$stamp"
echo "$venv/bin/python"
