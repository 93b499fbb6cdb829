#!/usr/bin/env bash
# bash infra/lint.sh
#
# Checks what is deployed without deploying it: the templates by cfn-lint, with all of its rules and with rules of our
# own; the Terraform module against the templates; the manifests of docs/kubernetes.md against Kubernetes' schemas; the
# permissions against the calls that were recorded; docs/cost.md against its figures; the first hour on an account of
# stand-ins. What does that is in requirements.txt, fetched to target/infra. Each check first has to find fault with
# something that is wrong.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=target/infra
export PYTHONDONTWRITEBYTECODE=1

say() { echo "lint.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

if ! cmp -s infra/requirements.txt "$venv/requirements.installed" || ! "$venv/bin/python" -c '' 2>/dev/null; then
  mkdir -p target
  "${PYTHON:-python3}" -m venv --clear "$venv" >&2 ||
    fail "cannot make an environment in $venv (on Debian: apt-get install python3-venv)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --requirement infra/requirements.txt >&2 ||
    fail "pip could not install infra/requirements.txt (its own message is above)"
  cp infra/requirements.txt "$venv/requirements.installed"
fi

# Its remarks count as errors, and so do its experimental rules.
templates() { # FILE...
  "$venv/bin/cfn-lint" --include-checks I --include-experimental --regions us-east-1 eu-west-1 -- "$@"
}

wrong=$(mktemp -d)
trap 'rm -rf "$wrong"' EXIT
sed 's/SqsManagedSseEnabled/SqsManagedSeeEnabled/' infra/data.yaml >"$wrong/data.yaml"
if templates "$wrong/data.yaml" >/dev/null 2>&1; then
  fail "cfn-lint finds nothing wrong with a property that does not exist"
fi
templates infra/data.yaml infra/compute.yaml || fail "cfn-lint: see above"
say "the templates"

for check in rules permissions terraform kubernetes cost hour; do
  "$venv/bin/python" "infra/checks/$check.py" --test >&2 || fail "$check.py does not find what is wrong: see above"
  "$venv/bin/python" "infra/checks/$check.py" >&2 || fail "$check.py: see above"
  say "$check"
done
