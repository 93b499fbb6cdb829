#!/usr/bin/env bash
# bash infra/lint.sh   checks silversmith.yaml with cfn-lint, which it fetches to target/cfn-lint, and its size
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=1.51.0
venv=target/cfn-lint

say() { echo "lint.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

if [ "$("$venv/bin/cfn-lint" --version 2>/dev/null)" != "cfn-lint $version" ]; then
  mkdir -p target
  "${PYTHON:-python3}" -m venv --clear "$venv" >&2 ||
    fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "cfn-lint==$version" >&2 ||
    fail "pip could not install cfn-lint $version (its own message is above)"
fi

# It has to find fault with what is wrong before it is believed.
wrong=$(mktemp -d)
trap 'rm -rf "$wrong"' EXIT
sed 's/SqsManagedSseEnabled/SqsManagedSeeEnabled/' infra/silversmith.yaml >"$wrong/silversmith.yaml"
if "$venv/bin/cfn-lint" "$wrong/silversmith.yaml" >/dev/null 2>&1; then
  fail "cfn-lint finds nothing wrong with a property that does not exist"
fi
"$venv/bin/cfn-lint" infra/silversmith.yaml

# What CreateStack takes as text. More would need a bucket to upload the template to, before there is any.
size=$(wc -c <infra/silversmith.yaml)
[ "$size" -le 51200 ] || fail "infra/silversmith.yaml has $size bytes, more than the 51200 that deploy without a bucket"
