"""The DuckDB side of benches/merge.rs: MERGE INTO on an Iceberg table of a REST catalog.

Reads orders from stdin, a line each, and answers each with three numbers: seconds, seconds of CPU, peak in MiB.

  load ROWS     makes the table
  merge FILE    reads the changes into memory, and merges them; only the statement is timed
  count         the number of rows, as the first number
"""

import importlib
import pathlib
import resource
import sys
import time

import duckdb

# As row() of merge.rs: other values, of the same sizes.
ROWS = """
SELECT range AS id, hash(range) % 100000 AS customer, 'customer ' || hash(range) % 1000000 AS name,
       'city ' || hash(range) % 1000 AS city, (hash(range) % 1000000)::DOUBLE / 100 AS amount, 0::BIGINT AS updated
FROM range({})
"""

MERGE = """
MERGE INTO lake.bench.orders AS t USING changes AS c ON t.id = c.id
WHEN MATCHED AND c.updated >= t.updated THEN UPDATE
  SET customer = c.customer, name = c.name, city = c.city, amount = c.amount, updated = c.updated
WHEN NOT MATCHED THEN INSERT (id, customer, name, city, amount, updated)
  VALUES (c.id, c.customer, c.name, c.city, c.amount, c.updated)
"""


def connect(url):
    db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("avro", "httpfs", "iceberg"):
        package = pathlib.Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
        db.execute(f"LOAD '{package}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    db.execute(f"ATTACH 'lake' AS lake (TYPE iceberg, ENDPOINT '{url}', AUTHORIZATION_TYPE 'none')")
    return db


def timed(work):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
    return wall, cpu, int(peak) >> 10


def load(db, rows):
    db.execute("CREATE SCHEMA IF NOT EXISTS lake.bench")
    db.execute("DROP TABLE IF EXISTS lake.bench.orders")
    columns = "id BIGINT, customer BIGINT, name VARCHAR, city VARCHAR, amount DOUBLE, updated BIGINT"
    db.execute(f"CREATE TABLE lake.bench.orders ({columns})")
    return timed(lambda: db.execute("INSERT INTO lake.bench.orders " + ROWS.format(rows)))


def merge(db, file):
    db.execute(f"CREATE OR REPLACE TEMP TABLE changes AS SELECT * FROM read_csv('{file}')")
    return timed(lambda: db.execute(MERGE))


def count(db):
    return db.execute("SELECT count(*) FROM lake.bench.orders").fetchone()[0], 0, 0


def main():
    db = connect(sys.argv[1])
    for line in sys.stdin:
        order, *rest = line.split(maxsplit=1)
        match order:
            case "load":
                answer = load(db, int(rest[0]))
            case "merge":
                answer = merge(db, rest[0].strip())
            case "count":
                answer = count(db)
        print(*answer, flush=True)


main()
