#!/usr/bin/env bash
# bash tests/wheel/test.sh BINARY
#
# The wheel, shown without compiling anything again: what `maturin build` writes about it, from pyproject.toml and
# Cargo.toml, around the BINARY that was tested. pip installs it into a fresh environment, and `silversmith demo` runs
# there; uvx runs it once more.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { echo "wheel: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

[ $# -eq 1 ] || fail "usage: bash tests/wheel/test.sh BINARY"
binary=$1
[ -x "$binary" ] || fail "$binary is no program: the tests build it"
tools=$PWD/target/wheel-tools
requirements=tests/wheel/requirements.txt

if ! cmp -s "$requirements" "$tools/requirements.installed" || ! "$tools/bin/python" -c '' 2>/dev/null; then
  "${PYTHON:-python3}" -m venv --clear "$tools" >&2 ||
    fail "cannot make an environment in $tools (on Debian: apt-get install python3-venv)"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2 ||
    fail "pip could not install $requirements (its own message is above)"
  cp "$requirements" "$tools/requirements.installed"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/wheel"
"$tools/bin/maturin" pep517 write-dist-info --metadata-directory "$scratch/wheel" --interpreter "$tools/bin/python" \
  >"$scratch/said" 2>&1 || fail "maturin: $(cat "$scratch/said")"
grep -q 'Found bin bindings' "$scratch/said" || fail "maturin would build no program: $(cat "$scratch/said")"
written=("$scratch"/wheel/*.dist-info)
[ ${#written[@]} = 1 ] || fail "maturin wrote ${written[*]}"
name=$(basename "${written[0]}" .dist-info)
install -D "$binary" "$scratch/wheel/$name.data/scripts/silversmith"
"$tools/bin/python" -m wheel pack "$scratch/wheel" --dest-dir "$scratch" >&2

"${PYTHON:-python3}" -m venv "$scratch/venv" >&2
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index "$scratch"/*.whl >&2 ||
  fail "pip could not install $(basename "$scratch"/*.whl)"
installed=$scratch/venv/bin/silversmith
cmp -s "$binary" "$installed" || fail "what was installed is not what was tested"
[ "$("$installed" --version)" = "silversmith ${name#silversmith-}" ] ||
  fail "the wheel is $name, and the program says $("$installed" --version)"
# Released wheels have every part.
cd "$scratch"
said=$("$installed" lambda 2>&1) && fail "silversmith lambda runs outside of AWS Lambda"
[[ $said != *"this build has no"* ]] || fail "the program that was tested has not everything: $said"
PATH=$scratch/venv/bin:$PATH silversmith demo >"$scratch/demo" || fail "silversmith demo failed: $(cat "$scratch/demo")"
grep -q 'silver' "$scratch/demo" || fail "silversmith demo printed no silver table: $(cat "$scratch/demo")"
rm -r silversmith-demo
# As `uvx silversmith demo`, with this wheel in place of PyPI.
UV_CACHE_DIR=$scratch/uv "$tools/bin/uvx" --offline --no-index --find-links "$scratch" --python "$scratch/venv/bin/python" \
  silversmith demo >"$scratch/demo" || fail "uvx silversmith demo failed: $(cat "$scratch/demo")"
say "$(basename "$scratch"/*.whl): the demo ran as installed by pip, and by uvx"
