#!/usr/bin/env bash
# moto.sh start DIR   starts moto in DIR (absolute) and prints its URL: the S3 Tables API, and S3
# moto.sh stop DIR    stops it, and with it all that it holds; its log stays
#
# On 127.0.0.1 and a free port. Installs moto first when it is not there, to MOTO_VENV (default: target/moto-venv).
# A table's files live in its S3, in a bucket of the table's own. The account is 123456789012.
# stdout carries the URL and nothing else.
set -euo pipefail
service=moto
. "$(dirname "${BASH_SOURCE[0]}")/python-service.sh"
venv=${MOTO_VENV:-$root/target/moto-venv}

# Uploads stay in memory up to this size, and are files in TMPDIR above it.
settings() { # PORT
  echo "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE=$((16 << 20))"
}

# Real calls, of both services: the ones with which everything begins.
calls() { # URL
  grep -sqx "listening on ${1#http://}" "$dir/log" || return 1
  "${clean[@]}" "$python" - "$1" 9>&- <<'PYTHON'
import signal, sys
import boto3
from botocore.config import Config

signal.signal(signal.SIGALRM, lambda *_: sys.exit("a call does not come back"))
signal.alarm(20)
once = Config(retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"})
for region in ("us-east-1", "eu-west-1"):
    session = boto3.Session("test", "test", region_name=region)
    session.client("s3tables", endpoint_url=sys.argv[1], config=once).list_table_buckets()
    session.client("s3", endpoint_url=sys.argv[1], config=once).list_buckets()
PYTHON
}

service_main "$@"
