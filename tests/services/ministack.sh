#!/usr/bin/env bash
# ministack.sh start DIR   starts ministack in DIR (absolute) and prints its URL: Glue, an Iceberg REST catalog at
#                          /iceberg, S3, and an EventBridge Scheduler that fires
# ministack.sh stop DIR    stops it, and with it all that it holds; its log stays
#
# On 127.0.0.1 and a free port. Installs ministack first when it is not there, to MINISTACK_VENV (default:
# target/ministack-venv). The account is 000000000000. stdout carries the URL and nothing else.
set -euo pipefail
service=ministack
. "$(dirname "${BASH_SOURCE[0]}")/python-service.sh"
venv=${MINISTACK_VENV:-$root/target/ministack-venv}

# BIND_HOST is all interfaces otherwise. MINISTACK_HOST is the name that it gives in its answers.
settings() { # PORT
  printf '%s\n' BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 "GATEWAY_PORT=$1" LOG_LEVEL=WARNING
}

calls() { # URL
  "${clean[@]}" "$python" - "$1" 9>&- <<'PYTHON'
import signal, sys
from botocore.config import Config
from botocore.session import Session

signal.signal(signal.SIGALRM, lambda *_: sys.exit("a call does not come back"))
signal.alarm(20)
session = Session()
session.set_credentials("test", "test")
once = Config(retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"})


def client(service):
    return session.create_client(service, region_name="us-east-1", endpoint_url=sys.argv[1], config=once)


client("s3").list_buckets()
client("glue").get_databases()
client("s3tables").list_table_buckets()
client("scheduler").list_schedules()
PYTHON
}

service_main "$@"
