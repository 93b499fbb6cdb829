# Sourced by container.sh and dependencies.sh: the linters of requirements.txt, in an environment in target/lint.
# shellcheck shell=bash
venv=target/lint

say() { echo "$(basename "$0"): $*" >&2; }
fail() {
  say "$*"
  exit 1
}

install_linters() {
  local python=${PYTHON:-python3} requirements=tests/lint/requirements.txt
  if cmp -s "$requirements" "$venv/requirements.installed" && "$venv/bin/python" -c '' 2>/dev/null; then
    return
  fi
  mkdir -p target
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "needs Python 3.10 or newer with venv: install it, or set PYTHON"
  "$python" -m venv --clear "$venv" >&2 ||
    fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
  # Wheels only: they hold the linters themselves, a source package would download them.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement "$requirements" >&2 || fail "pip could not install $requirements (its own message is above)"
  cp "$requirements" "$venv/requirements.installed"
}
