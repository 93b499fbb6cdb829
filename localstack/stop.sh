#!/usr/bin/env bash
# stop.sh [DIR]   stops the LocalStack of DIR (default: target/localstack), and with it all that it
#                 holds; its log stays. No error when none runs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ ! -e "$dir/pid" ]; then
  say "no LocalStack runs in $dir"
  exit
fi
take_turns
runs || say "it had already ended"
end_process
rm -rf "$dir/pid" "$dir/port" "$dir/state"
