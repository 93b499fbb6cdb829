#!/usr/bin/env bash
# bash tests/lint/container.sh
#
# Checks what no compiler sees: the Dockerfile (hadolint), the workflows (jactionlint), every shell
# script (ShellCheck), install.sh against a release of its own, the dashboard and the example rules
# against the list of metrics in docs/telemetry.md, and whether the documentation builds as a book.
# The linters are those of requirements.txt, fetched to target/lint. Fails, and never skips, when it
# cannot check something; each linter first has to find fault with something that is wrong.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

. tests/lint/linters.sh

[ $# -eq 0 ] || fail "usage: bash tests/lint/container.sh"
here=tests/lint

# --- the linters --------------------------------------------------------------

dockerfile() { # FILE
  "$venv/bin/hadolint" --no-color --failure-threshold style \
    --trusted-registry docker.io --trusted-registry gcr.io "$1"
}

workflows() { # FILE...
  # Its rules ask for commits instead of tags, least permissions and no scripts made of expressions.
  PATH="$PWD/$venv/bin:$PATH" "$venv/bin/jactionlint" --no-color --no-online --strict-exit --min-severity warn "$@"
}

scripts() { # FILE...
  local file kind
  for file in "$@"; do
    # SC2034, a variable that is not used: a loop's counter.
    kind=(--exclude=SC2034)
    # Sourced: it sets variables for others, and reads those that others set.
    [ "$(head -c 2 "$file")" = '#!' ] || kind=(--shell=bash "--exclude=SC2034,SC2154")
    "$venv/bin/shellcheck" --color=never --severity=warning "${kind[@]}" \
      --external-sources --source-path=SCRIPTDIR "$file" || return 1
  done
}

# What git tracks or would: what the machine has lying about is not ours to check.
ours() { git ls-files --cached --others --exclude-standard -- "$@"; }

all_scripts() {
  local file line
  ours | while IFS= read -r file; do
    [ -f "$file" ] || continue
    case ${file##*/} in
      *.sh) echo "$file" ;;
      *.*) ;;
      *)
        line=$(head -n 1 "$file" | tr -d '\0')
        case $line in '#!'*sh) echo "$file" ;; esac
        ;;
    esac
  done
}

# --- install.sh, on a release made for it ---------------------------------------

# A curl that serves files of a folder in place of the network.
stand_in() { # FOLDER BIN
  mkdir -p "$2"
  cat >"$2/curl" <<STAND_IN
#!/usr/bin/env bash
set -euo pipefail
url= to=
while [ \$# -gt 0 ]; do
  case \$1 in
    --output) to=\$2; shift ;;
    --proto | --retry) shift ;;
    https://*) url=\$1 ;;
  esac
  shift
done
echo "\$url" >>"$1/asked"
[ -f "$1/\${url##*/}" ] || exit 22
cp "$1/\${url##*/}" "\$to"
STAND_IN
  chmod +x "$2/curl"
}

release() { # FOLDER
  local name
  name=silversmith-$(uname -m)-unknown-linux-musl
  mkdir -p "$1/$name"
  printf '#!/bin/sh\necho silversmith 0.0.0\n' >"$1/$name/silversmith"
  chmod +x "$1/$name/silversmith"
  tar -C "$1" -czf "$1/$name.tar.gz" "$name"
  (cd "$1" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
}

installs() { # FOLDER [VARIABLE=VALUE...]
  local folder=$1
  shift
  env PATH="$folder/bin:$PATH" HOME="$folder/home" "$@" sh install.sh >"$folder/said" 2>&1
}

installer() {
  local folder=$1 name
  name=silversmith-$(uname -m)-unknown-linux-musl
  mkdir -p "$folder"
  stand_in "$folder" "$folder/bin"
  release "$folder"

  ! installs "$folder" || fail "install.sh: ran without SILVERSMITH_REPOSITORY"
  installs "$folder" SILVERSMITH_REPOSITORY=owner/name || fail "install.sh: $(cat "$folder/said")"
  [ "$("$folder/home/.local/bin/silversmith")" = "silversmith 0.0.0" ] || fail "install.sh: nothing that runs was installed"
  grep -qx "https://github.com/owner/name/releases/latest/download/$name.tar.gz" "$folder/asked" ||
    fail "install.sh: asked for $(cat "$folder/asked")"
  installs "$folder" SILVERSMITH_REPOSITORY=owner/name SILVERSMITH_VERSION=v1.2.3 SILVERSMITH_BIN="$folder/elsewhere" ||
    fail "install.sh: $(cat "$folder/said")"
  [ -x "$folder/elsewhere/silversmith" ] || fail "install.sh: SILVERSMITH_BIN was not heeded"
  grep -qx "https://github.com/owner/name/releases/download/v1.2.3/$name.tar.gz" "$folder/asked" ||
    fail "install.sh: SILVERSMITH_VERSION was not heeded"

  # A whole archive, but not the one that the checksum was made of.
  echo "echo changed" >>"$folder/$name/silversmith"
  tar -C "$folder" -czf "$folder/$name.tar.gz" "$name"
  rm -r "$folder/home/.local"
  ! installs "$folder" SILVERSMITH_REPOSITORY=owner/name || fail "install.sh: took an archive with another checksum"
  [ ! -e "$folder/home/.local/bin/silversmith" ] || fail "install.sh: left what it had refused"
}

# --- running them -------------------------------------------------------------

refuses() { # WHAT COMMAND... : the command must fail, and not for want of a program
  local what=$1 status=0
  shift
  "$@" >"$scratch/refused" 2>&1 || status=$?
  case $status in
    0) fail "$what found nothing wrong with what is wrong" ;;
    126 | 127) fail "$what does not run: $(cat "$scratch/refused")" ;;
  esac
}

install_linters
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cat >"$scratch/Dockerfile" <<'WRONG'
FROM debian
RUN apt-get update && apt-get install curl
CMD silversmith run
WRONG
cat >"$scratch/wrong.yml" <<'WRONG'
on: push
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v7
      - run: echo ${{ github.event.head_commit.mesage }}
WRONG
# shellcheck disable=SC2016
printf "#!/bin/bash\n%s\n" 'cd $1; rm -rf $nothing/*' >"$scratch/wrong.sh"
refuses hadolint dockerfile "$scratch/Dockerfile"
refuses jactionlint workflows "$scratch/wrong.yml"
refuses ShellCheck scripts "$scratch/wrong.sh"

dockerfile Dockerfile || fail "hadolint: see above"
mapfile -t files < <(ours '.github/workflows/*.yml')
[ ${#files[@]} -gt 0 ] || fail "no workflow found"
workflows "${files[@]}" || fail "jactionlint: see above"
say "the Dockerfile and ${#files[@]} workflows"

mapfile -t files < <(all_scripts)
[ ${#files[@]} -gt 5 ] || fail "only ${#files[@]} shell scripts found: is this a checkout?"
scripts "${files[@]}" || fail "ShellCheck: see above"
say "${#files[@]} shell scripts"

installer "$scratch/release"
say "install.sh"

"$venv/bin/python" "$here/telemetry.py" --test >&2 || fail "telemetry.py does not find what is wrong"
"$venv/bin/python" "$here/telemetry.py" >&2 || fail "the dashboard, the rules and docs/telemetry.md do not agree: see above"

mkdir -p "$scratch/book/docs"
printf '[book]\nsrc = "docs"\n[build]\ncreate-missing = false\n' >"$scratch/book/book.toml"
echo '[gone](gone.md)' >"$scratch/book/docs/SUMMARY.md"
refuses mdBook "$venv/bin/mdbook" build "$scratch/book"
MDBOOK_LOG=warn "$venv/bin/mdbook" build --dest-dir "$scratch/built" . >&2 || fail "mdBook: see above"
[ -e "$scratch/built/guarantees.html" ] || fail "mdBook has built no book"
say "the book"
echo "container.sh: all passed"
