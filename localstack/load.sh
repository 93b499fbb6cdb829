#!/usr/bin/env bash
# load.sh [DIR]   makes the buckets, the queues and the notification in the LocalStack of DIR
#                 (default: target/localstack) and uploads the sample files. Run again, it uploads them again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export LOCALSTACK_DIR=$dir
. "$here/env.sh"
python=$(bash "$here/install.sh" "${LOCALSTACK_VENV:-$root/target/localstack-venv}")
exec "$python" "$here/load.py"
