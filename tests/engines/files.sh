#!/usr/bin/env bash
# files.sh DIR
#
# Fetches the odd CSV files of other projects to DIR, and prints its path:
#   csv-spectrum   npm     csvs/ and, of each file, what it holds as JSON
#   csvkit, agate  PyPI    the examples of their source packages
#   ieee-data      Debian  oui.csv, every maker of network cards
# Versions and checksums are below; of another Debian than 12, apt checks the package. Nothing of them is kept in this
# repository. Does nothing when DIR holds what this script fetches. Safe to call from several tests at once.
#
# PYTHON names an interpreter with pip other than python3.
set -euo pipefail
unset CDPATH

fail() {
  echo "files.sh: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: files.sh DIR"
python=${PYTHON:-python3}
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")

csv_spectrum=2.0.0 csvkit=2.2.0 agate=1.14.2 ieee_data=20220827.1
sums="\
002a6a938bf51ceb26af7b760f5c1b54baca4820b0e9142f135619210c93d021  csv-spectrum-$csv_spectrum.tgz
147318a8dbaec07c0bbb9291c14b78de5fa32ed3d4a5c2396e52a83c0a30df6b  csvkit-$csvkit.tar.gz
7f29841c39d84b1de7fde762b8d792085371515324f3a01413b20f810398225b  agate-$agate.tar.gz"
of_debian_12=9bf9ec7d59a4273cbb68d2331a045e624e3cfa2500ec65642776976aff1a3026

mkdir -p "$1"
dir=$(cd "$1" && pwd)
if command -v flock >/dev/null; then
  exec 9>"$dir.lock"
  flock 9
fi
stamp=$dir/files.sh
if [ -f "$stamp" ] && cmp -s "$stamp" "$script"; then
  echo "$dir"
  exit 0
fi

for tool in npm apt-get dpkg-deb sha256sum tar; do
  command -v "$tool" >/dev/null || fail "no $tool found: on Debian, apt-get install npm; the others are part of it"
done
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip: set PYTHON (on Debian: apt-get install python3-pip)"

[ -f "$stamp" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir holds other files: choose another folder"
new=$(mktemp -d "$dir.XXXXXX")
fetched=$(mktemp -d)
trap 'rm -rf "$fetched" "$new"' EXIT
cd "$fetched"

npm pack --silent "csv-spectrum@$csv_spectrum" >&2 || fail "npm could not fetch csv-spectrum (its own message is above)"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary csvkit,agate \
  "csvkit==$csvkit" "agate==$agate" >&2 || fail "pip could not fetch csvkit and agate (its own message is above)"
# Downloaded as the caller: the user of apt's sandbox cannot write here.
apt_get() { apt-get -o APT::Sandbox::User=root --quiet "$@" >&2; }
apt_get download ieee-data || {
  [ "$(id -u)" = 0 ] || fail "apt-get could not download ieee-data: run first: sudo apt-get update"
  apt_get update || fail "apt-get update failed (its own message is above)"
  apt_get download ieee-data || fail "apt-get could not download ieee-data (its own message is above)"
}
[ ! -e "ieee-data_${ieee_data}_all.deb" ] || sums+=$'\n'"$of_debian_12  ieee-data_${ieee_data}_all.deb"
sha256sum --check --strict --quiet <<<"$sums" >&2 || fail "a file is not the one that was fetched before"

mkdir "$new/csv-spectrum" "$new/csvkit" "$new/agate" "$new/ieee-data"
tar -xzf csv-spectrum-*.tgz -C "$new/csv-spectrum" --strip-components=1
for package in csvkit agate; do
  # Without the tables of fixed width: they are the largest part, and no CSV.
  tar -xzf "$package"-*.tar.gz -C "$new/$package" --strip-components=2 --wildcards --exclude='*.upl' '*/examples/*'
done
dpkg-deb --extract ieee-data_*.deb deb
cp deb/usr/share/ieee-data/oui.csv "$new/ieee-data/"
cp "$script" "$new/files.sh"
rm -rf "$dir"
chmod 755 "$new"
mv "$new" "$dir"
echo "$dir"
