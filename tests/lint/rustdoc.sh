#!/usr/bin/env bash
# bash tests/lint/rustdoc.sh FLAGS...   the library's documentation, by what the tests were built of: a warning is an error
#
# `cargo doc` would compile every dependency once more, as it only checks them. Cargo has rustdoc run the examples of
# the documentation against the compiled dependencies; this script takes rustdoc's place there, and has it write the
# documentation instead. FLAGS are those of the tests' build.
set -euo pipefail
unset CDPATH

if [ -n "${SILVERSMITH_DOCS:-}" ]; then
  # Called by cargo: rustdoc's arguments without those that are for running examples.
  arguments=()
  examples=no
  while [ $# -gt 0 ]; do
    case $1 in
      --test) examples=yes ;;
      --test-run-directory | --test-args | --test-builder | --test-runtool | --test-runtool-arg) shift ;;
      --test-run-directory=* | --test-args=* | --no-run) ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  [ $examples = yes ] || exec rustdoc "${arguments[@]}"
  rustdoc "${arguments[@]}" --deny warnings --out-dir "$SILVERSMITH_DOCS"
  exit
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
docs=$(mktemp -d)
trap 'rm -rf "$docs"' EXIT

document() { # MANIFEST FLAGS...
  local manifest=$1
  shift
  SILVERSMITH_DOCS=$docs RUSTDOC=$root/tests/lint/rustdoc.sh cargo test --doc --manifest-path "$manifest" "$@"
}

# It has to find fault with what is wrong before it is believed.
mkdir -p "$docs/wrong/src"
printf '[package]\nname = "wrong"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n' >"$docs/wrong/Cargo.toml"
echo '//! See [`nothing`].' >"$docs/wrong/src/lib.rs"
if said=$(CARGO_TARGET_DIR=$docs/wrong/target document "$docs/wrong/Cargo.toml" --offline 2>&1); then
  echo "rustdoc.sh: rustdoc finds nothing wrong with a link to nothing" >&2
  exit 1
fi
[[ $said == *broken_intra_doc_links* ]] || {
  echo "rustdoc.sh: rustdoc does not run: $said" >&2
  exit 1
}

bash tests/lint/rust.sh env SILVERSMITH_DOCS="$docs" RUSTDOC="$root/tests/lint/rustdoc.sh" cargo test --doc "$@"
[ -e "$docs/silversmith/index.html" ] || {
  echo "rustdoc.sh: no documentation was written" >&2
  exit 1
}
