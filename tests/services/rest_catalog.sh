#!/usr/bin/env bash
# rest_catalog.sh start DIR   starts an Iceberg REST catalog in DIR (absolute) and prints its URL
# rest_catalog.sh stop DIR    stops it, and with it all that it holds; its log stays
#
# On 127.0.0.1 and a free port; PyIceberg does the catalog's work, from REST_CATALOG_VENV (default: target/engines,
# installed first when it is not there). stdout carries the URL and nothing else.
#
#   URL           open to all, SigV4 or not. Its one warehouse is `lake`.
#   URL/secured   the same tables, for a bearer token: `static-token`, or one that URL/secured/v1/oauth/tokens gives for
#                 the credential `silversmith:secret`.
#   POST URL/control/expire   forgets the tokens that it gave out
#   POST URL/control/faults   {"when": "before" | "after", "status": 503, "times": 1}: answers the next commits so,
#                             without making them (before) or after they were made (after)
#
# Tables go below DIR/state/warehouse, or to REST_CATALOG_WAREHOUSE; that may be s3://BUCKET/PREFIX with REST_CATALOG_S3,
# the URL of an S3. REST_CATALOG_TOKEN_SECONDS is the life that a token claims to have, REST_CATALOG_PAGE the size of a
# page for a client that pages (sends pageToken) and names none.
set -euo pipefail
service=rest_catalog
. "$(dirname "${BASH_SOURCE[0]}")/python-service.sh"
venv=${REST_CATALOG_VENV:-$root/target/engines}

install() { bash "$root/tests/engines/install.sh" "$venv"; }

settings() { # PORT
  local name
  for name in $(compgen -e); do
    case $name in REST_CATALOG_*) echo "$name=${!name}" ;; esac
  done
}

calls() { # URL
  grep -sqx "listening on ${1#http://}" "$dir/log" || return 1
  "${clean[@]}" "$python" - "$1" 9>&- <<'PYTHON'
import json, sys, urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
assert json.load(direct.open(sys.argv[1] + "/v1/config?warehouse=lake", timeout=20))["overrides"]["prefix"]
assert json.load(direct.open(sys.argv[1] + "/v1/namespaces", timeout=20))["namespaces"] == []
PYTHON
}

service_main "$@"
