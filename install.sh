#!/bin/sh
# Installs the released binary of silversmith for this machine (Linux on x86_64 or aarch64).
#
#   SILVERSMITH_REPOSITORY=owner/name sh install.sh
#
#   SILVERSMITH_REPOSITORY   required: the repository on GitHub whose releases are meant
#   SILVERSMITH_VERSION      a tag, such as v0.1.0 (default: the latest release)
#   SILVERSMITH_BIN          where to (default: ~/.local/bin)
#
# The archive's SHA-256 is compared with the one published beside it before anything is unpacked. That
# shows that it came whole, not who built it: `gh attestation verify` shows that.
set -eu

say() { echo "install.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

[ -n "${SILVERSMITH_REPOSITORY:-}" ] || fail "set SILVERSMITH_REPOSITORY to owner/name"
bin=${SILVERSMITH_BIN:-$HOME/.local/bin}

[ "$(uname -s)" = Linux ] || fail "there are binaries for Linux only: build it with cargo install --path ."
case $(uname -m) in
  x86_64 | amd64) machine=x86_64 ;;
  aarch64 | arm64) machine=aarch64 ;;
  *) fail "there are binaries for x86_64 and aarch64 only: build it with cargo install --path ." ;;
esac
for program in curl tar sha256sum; do
  command -v "$program" >/dev/null || fail "needs $program"
done

name=silversmith-$machine-unknown-linux-musl
releases=https://github.com/$SILVERSMITH_REPOSITORY/releases
if [ -n "${SILVERSMITH_VERSION:-}" ]; then
  from=$releases/download/$SILVERSMITH_VERSION
else
  from=$releases/latest/download
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for file in "$name.tar.gz" "$name.tar.gz.sha256"; do
  curl --proto '=https' --fail --silent --show-error --location --retry 3 --output "$scratch/$file" "$from/$file" ||
    fail "cannot download $from/$file"
done
(cd "$scratch" && sha256sum --check --status "$name.tar.gz.sha256") ||
  fail "$name.tar.gz does not have the published checksum: nothing was installed"

tar -C "$scratch" -xzf "$scratch/$name.tar.gz"
mkdir -p "$bin"
install -m 755 "$scratch/$name/silversmith" "$bin/silversmith"
say "installed $("$bin/silversmith" --version) to $bin/silversmith"
case :$PATH: in
  *:"$bin":*) ;;
  *) say "$bin is not on PATH" ;;
esac
