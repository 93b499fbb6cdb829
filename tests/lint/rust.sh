#!/usr/bin/env bash
# bash tests/lint/rust.sh COMMAND...   runs a command of cargo with clippy compiling this crate in rustc's place
#
# `cargo clippy` would compile every dependency once more, as it only checks them. Here the lints and the tests are one
# build: cargo's RUSTC_WORKSPACE_WRAPPER is what `cargo clippy` itself sets, and is for this crate alone. Warnings of
# clippy and of rustc are errors.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
  echo "rust.sh: $*" >&2
  exit 1
}

[ $# -gt 0 ] || fail "usage: bash tests/lint/rust.sh COMMAND..."
driver=$(command -v clippy-driver) || fail "there is no clippy-driver: rustup component add clippy"
# `cargo clippy -- -D warnings`, as clippy's driver reads it.
export RUSTC_WORKSPACE_WRAPPER=$driver CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__

# It has to find fault with what is wrong before it is believed.
wrong=$(mktemp -d)
trap 'rm -rf "$wrong"' EXIT
mkdir "$wrong/src"
printf '[package]\nname = "wrong"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' >"$wrong/Cargo.toml"
echo '#![warn(clippy::unwrap_used)] pub fn first(of: &[u8]) -> u8 { *of.first().unwrap() }' >"$wrong/src/lib.rs"
if said=$(CARGO_TARGET_DIR=$wrong/target cargo build --offline --manifest-path "$wrong/Cargo.toml" 2>&1); then
  fail "clippy finds nothing wrong with an unwrap"
fi
[[ $said == *unwrap_used* ]] || fail "clippy does not run: $said"

"$@"
