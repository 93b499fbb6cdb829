"""moto's S3 Tables and S3 as a plain process: moto_server.py DIR PORT. moto.sh runs it and sets its environment.

moto answers some S3 Tables calls in a shape that the service's model does not allow and the AWS SDK for Rust
refuses, it has the service in three regions only, and nothing keeps two of its threads from both swapping a table's
location for one version token. All three are set right here, in its own classes, before it serves.

DIR is not read: it tells moto.sh which process is whose.
"""

import functools
import json
import os
import sys
import threading
from urllib.parse import unquote

from boto3 import Session
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3tables.models import Table, s3tables_backends
from moto.s3tables.responses import S3TablesResponse
from werkzeug.serving import make_server


def corrects(name):
    """The decorated function corrects what moto answers to one call."""

    def register(correct):
        answer = getattr(S3TablesResponse, name)

        @functools.wraps(answer)
        def corrected(self):
            status, headers, body = answer(self)
            body = json.loads(body)
            correct(self, body)
            # The service leaves out what moto says is null.
            return status, headers, json.dumps({field: value for field, value in body.items() if value is not None})

        setattr(S3TablesResponse, name, corrected)
        return correct

    return register


@corrects("get_table")
def get_table(_, body):
    # A string, the managing service's name, and only when there is one: moto says false.
    body["managedByService"] = None
    body["modifiedBy"] = body["modifiedBy"] or body["createdBy"]


@corrects("get_table_metadata_location")
def get_table_metadata_location(_, body):
    pass


@corrects("update_table_metadata_location")
def update_table_metadata_location(_, body):
    body["namespace"] = [body["namespace"]]
    body["tableARN"] = body.pop("tableArn")


@corrects("list_tables")
def list_tables(response, body):
    bucket = unquote(response.raw_path.strip("/").split("/")[1])
    for listed in body["tables"]:
        table = response.s3tables_backend.get_table(bucket, listed["namespace"][0], listed["name"])
        listed |= {"type": table.type, "tableARN": table.arn}


# An ARN of its own for every table: moto's is the name, and its paging mixes up tables of one name in two namespaces.
Table.arn = property(lambda table: f"{table.table_bucket_arn}/table/{table._bucket.name.removesuffix('--table-s3')}")

regions = {*s3tables_backends._additional_regions, *Session().get_available_regions("s3")}
s3tables_backends._additional_regions = sorted(regions)

one_at_a_time = threading.RLock()
call_action = S3TablesResponse.call_action


def serial_call_action(self):
    with one_at_a_time:
        return call_action(self)


S3TablesResponse.call_action = serial_call_action


if __name__ == "__main__":
    # Away from the terminal and its ^C. A process that leads its group already has no need of it.
    if os.getpgrp() != os.getpid():
        os.setsid()
    port = int(sys.argv[2])
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)
    # moto.sh waits for this line: that the port answers would not tell whose it is.
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.serve_forever()
