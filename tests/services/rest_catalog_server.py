"""An Iceberg REST catalog for tests: rest_catalog_server.py DIR PORT. rest_catalog.sh runs it and tells what it offers.

A thin layer of HTTP over PyIceberg's SQL catalog: what a requirement asserts, what an update changes, which field ids a
new table gets and the compare-and-swap between two commits are PyIceberg's, so that our client meets another's code.
All its state is in DIR/state.
"""

import base64
import json
import os
import secrets
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pydantic import ValidationError
from pyiceberg import exceptions
from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import AssertCreate

CREDENTIAL = "silversmith:secret"
STATIC_TOKEN = "static-token"
WAREHOUSE = "lake"
# With a slash, as some catalogs have it: a client must not escape it.
PREFIX = "catalogs/lake"

# The first that fits.
ERRORS = [
    (exceptions.NoSuchTableError, 404, "NoSuchTableException"),
    (exceptions.NoSuchNamespaceError, 404, "NoSuchNamespaceException"),
    (exceptions.TableAlreadyExistsError, 409, "AlreadyExistsException"),
    (exceptions.NamespaceAlreadyExistsError, 409, "AlreadyExistsException"),
    (exceptions.NamespaceNotEmptyError, 409, "NamespaceNotEmptyException"),
    (exceptions.CommitFailedException, 409, "CommitFailedException"),
    (ValidationError, 400, "BadRequestException"),
    (exceptions.ValidationError, 400, "BadRequestException"),
    (ValueError, 400, "BadRequestException"),
    (KeyError, 400, "BadRequestException"),
]

lock = threading.Lock()
tokens = set()
faults = []


class Answer(Exception):
    def __init__(self, status, body=None):
        super().__init__(status)
        self.status, self.body = status, body


def refusal(status, kind, message):
    return Answer(status, {"error": {"message": message, "type": kind, "code": status}})


class StagedName:
    """What PyIceberg's commit wants to know of a table that may not be there yet."""

    def __init__(self, identifier):
        self.identifier = identifier

    def name(self):
        return self.identifier


def plain(model):
    return json.loads(model.model_dump_json())


def page(items, query):
    """Everything, unless the client asks for pages, as it does by sending a token, empty at first."""
    start = int(query.get("pageToken") or 0)
    size = int(query.get("pageSize") or os.environ.get("REST_CATALOG_PAGE") or 0)
    if not size or "pageToken" not in query:
        return items, None
    end = start + size
    return items[start:end], str(end) if end < len(items) else None


def loaded(table):
    return {"metadata-location": table.metadata_location, "metadata": plain(table.metadata), "config": {}}


def take_fault(when, table):
    with lock:
        for fault in faults:
            if fault["when"] == when and fault.get("table") in (None, table):
                fault["times"] -= 1
                if fault["times"] <= 0:
                    faults.remove(fault)
                raise refusal(fault["status"], "InternalServerError", f"asked for: {when} the commit")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    catalog = None

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        self.sent = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            try:
                self.route([segment for segment in url.path.split("/") if segment])
            except Answer:
                raise
            except Exception as error:
                for kind, status, name in ERRORS:
                    if isinstance(error, kind):
                        raise refusal(status, name, str(error)) from error
                self.log_error("%r", error)
                raise refusal(500, "InternalServerError", repr(error)) from error
        except Answer as answer:
            self.reply(answer.status, answer.body)

    do_GET = do_POST = do_DELETE = do_HEAD = answer

    def reply(self, status, body):
        data = b"" if body is None or self.command == "HEAD" else json.dumps(body).encode()
        self.send_response(status)
        if data:
            self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def json(self):
        return json.loads(self.sent or b"{}")

    def route(self, path):
        if path[:1] == ["control"]:
            raise self.control(path[1:])
        secured = path[:1] == ["secured"]
        if secured:
            path = path[1:]
        if secured and path == ["v1", "oauth", "tokens"] and self.command == "POST":
            raise self.grant()
        if secured:
            self.authenticate()
        if path == ["v1", "config"] and self.command == "GET":
            raise self.config()
        prefix = ["v1", *PREFIX.split("/")]
        if path[: len(prefix)] == prefix:
            path = path[len(prefix) :]
        elif path[:1] == ["v1"]:
            path = path[1:]
        match [urllib.parse.unquote(segment) for segment in path]:
            case ["namespaces"]:
                raise self.namespaces()
            case ["namespaces", namespace]:
                raise self.namespace(tuple(namespace.split("\x1f")))
            case ["namespaces", namespace, "tables"]:
                raise self.tables(tuple(namespace.split("\x1f")))
            case ["namespaces", namespace, "tables", table]:
                raise self.table((*namespace.split("\x1f"), table))
            case ["transactions", "commit"]:
                raise self.transaction()
        raise refusal(404, "NotFoundException", f"no route {self.command} {self.path}")

    # --- who may ----------------------------------------------------------------

    def grant(self):
        form = dict(urllib.parse.parse_qsl(self.sent.decode()))
        kind, _, basic = self.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            credential = base64.b64decode(basic).decode()
        else:
            credential = f"{form.get('client_id', '')}:{form.get('client_secret', '')}"
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "client_credentials only"})
        if credential != CREDENTIAL:
            return Answer(401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"})
        token = secrets.token_hex(16)
        with lock:
            tokens.add(token)
        return Answer(
            200,
            {
                "access_token": token,
                "token_type": "bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "expires_in": int(os.environ.get("REST_CATALOG_TOKEN_SECONDS") or 3600),
                "scope": form.get("scope", "catalog"),
            },
        )

    def authenticate(self):
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        with lock:
            known = token == STATIC_TOKEN or token in tokens
        if kind.lower() != "bearer" or not known:
            raise refusal(401, "NotAuthorizedException", "no valid token")

    # --- for tests --------------------------------------------------------------

    def control(self, path):
        if self.command != "POST":
            return Answer(405)
        with lock:
            if path == ["expire"]:
                tokens.clear()
                return Answer(204)
            if path == ["faults"]:
                fault = self.json()
                assert fault["when"] in ("before", "after"), fault
                faults.append({"times": 1, **fault})
                return Answer(204)
        return Answer(404)

    # --- the catalog ------------------------------------------------------------

    def config(self):
        warehouse = self.query.get("warehouse")
        if warehouse not in (None, "", WAREHOUSE):
            return refusal(404, "NotFoundException", f"no warehouse {warehouse}")
        return Answer(200, {"defaults": {}, "overrides": {"prefix": PREFIX} if warehouse else {}})

    def namespaces(self):
        if self.command == "POST":
            asked = self.json()
            namespace = tuple(asked["namespace"])
            self.catalog.create_namespace(namespace, asked.get("properties", {}))
            return Answer(200, {"namespace": namespace, "properties": asked.get("properties", {})})
        parent = tuple(filter(None, self.query.get("parent", "").split("\x1f")))
        found, following = page(sorted(self.catalog.list_namespaces(parent)), self.query)
        return Answer(200, {"namespaces": found, "next-page-token": following})

    def namespace(self, namespace):
        if self.command == "DELETE":
            self.catalog.drop_namespace(namespace)
            return Answer(204)
        properties = self.catalog.load_namespace_properties(namespace)
        if self.command == "HEAD":
            return Answer(204)
        return Answer(200, {"namespace": namespace, "properties": properties})

    def tables(self, namespace):
        if self.command == "POST":
            return self.create(namespace)
        self.catalog.load_namespace_properties(namespace)
        found, following = page(sorted(self.catalog.list_tables(namespace)), self.query)
        listed = [{"namespace": table[:-1], "name": table[-1]} for table in found]
        return Answer(200, {"identifiers": listed, "next-page-token": following})

    def create(self, namespace):
        fields = {"location": None, "partition-spec": None, "write-order": None}
        asked = CreateTableRequest.model_validate(fields | self.json())
        identifier = (*namespace, asked.name)
        wanted = {
            "schema": asked.table_schema,
            "location": asked.location,
            "partition_spec": asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
            "sort_order": asked.write_order or UNSORTED_SORT_ORDER,
            "properties": asked.properties,
        }
        if not asked.stage_create:
            return Answer(200, loaded(self.catalog.create_table(identifier, **wanted)))
        self.catalog.load_namespace_properties(namespace)
        if self.catalog.table_exists(identifier):
            raise exceptions.TableAlreadyExistsError(f"Table {'.'.join(identifier)} already exists")
        staged = self.catalog._create_staged_table(identifier, **wanted)
        return Answer(200, {"metadata": plain(staged.metadata), "config": {}})

    def table(self, identifier):
        if self.command == "POST":
            return self.commit(identifier, self.json())
        if self.command == "DELETE":
            purge = self.query.get("purgeRequested", "false").lower() == "true"
            (self.catalog.purge_table if purge else self.catalog.drop_table)(identifier)
            return Answer(204)
        table = self.catalog.load_table(identifier)
        return Answer(204) if self.command == "HEAD" else Answer(200, loaded(table))

    def transaction(self):
        """DuckDB commits so, also where it is about one table: more are refused, as they would not be one commit."""
        changes = self.json()["table-changes"]
        if len(changes) != 1:
            raise refusal(400, "BadRequestException", "one table at a time")
        name = changes[0]["identifier"]
        self.commit((*name["namespace"], name["name"]), changes[0])
        return Answer(204)

    def commit(self, identifier, asked):
        asked["identifier"] = {"namespace": identifier[:-1], "name": identifier[-1]}
        request = CommitTableRequest.model_validate(asked)
        if not any(isinstance(requirement, AssertCreate) for requirement in request.requirements):
            self.catalog.load_table(identifier)
        take_fault("before", identifier[-1])
        done = self.catalog.commit_table(StagedName(identifier), request.requirements, request.updates)
        take_fault("after", identifier[-1])
        return Answer(200, {"metadata-location": done.metadata_location, "metadata": plain(done.metadata)})


if __name__ == "__main__":
    # Away from the terminal and its ^C. A process that leads its group already has no need of it.
    if os.getpgrp() != os.getpid():
        os.setsid()
    state, port = os.path.join(sys.argv[1], "state"), int(sys.argv[2])
    properties = {
        "uri": f"sqlite:///{state}/catalog.db",
        "warehouse": os.environ.get("REST_CATALOG_WAREHOUSE") or f"file://{state}/warehouse",
    }
    if endpoint := os.environ.get("REST_CATALOG_S3"):
        properties |= {
            "s3.endpoint": endpoint,
            "s3.access-key-id": "test",
            "s3.secret-access-key": "test",
            "s3.region": "us-east-1",
        }
    Handler.catalog = SqlCatalog("rest", **properties)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.socket.listen(128)
    # rest_catalog.sh waits for this line: that the port answers would not tell whose it is.
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.serve_forever()
