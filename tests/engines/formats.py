#!/usr/bin/env python3
"""Writes one feed with PyArrow and DuckDB: Parquet in many ways, and JSON. stdout has each row that is in it, as a
line of JSON: what silversmith has to have in its table.

formats.py FOLDER
"""

import datetime as dt
import decimal
import json
import pathlib
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 2_000
EPOCH = dt.datetime(1970, 1, 1)

# How writers write: options of PyArrow's `write_table`.
WAYS = [
    {},
    {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 300},
    {"compression": "gzip", "use_dictionary": False},
    {"compression": "brotli", "use_deprecated_int96_timestamps": True},
    {"compression": "lz4", "data_page_size": 512, "write_page_index": True},
    {"compression": "none", "use_byte_stream_split": ["x"], "use_dictionary": False, "store_schema": False},
]


def row(way, number):
    """A row, as Python has it."""
    at = EPOCH + dt.timedelta(days=20_000, microseconds=number * 1_234_567)
    return {
        "id": way * ROWS + number,
        "small": number % 100,
        "x": None if number % 11 == 0 else number / 7,
        "amount": decimal.Decimal(number * 5) / 100,
        "name": None if number % 5 == 0 else f"name {number % 7} é\n\"",
        "day": (at.date()),
        "at": at,
        "tags": [str(number), None] if number % 3 else None,
    }


SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("small", pa.int16()),
        ("x", pa.float64()),
        ("amount", pa.decimal128(12, 2)),
        ("name", pa.string()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us")),
        ("tags", pa.list_(pa.string())),
    ]
)


def expected(found):
    """The same row, as silversmith shows it."""
    shown = dict(found, amount=f"{found['amount']:.2f}", day=found["day"].isoformat())
    shown["at"] = (found["at"] - EPOCH) // dt.timedelta(microseconds=1)
    shown["tags"] = None if found["tags"] is None else json.dumps(found["tags"], separators=(",", ":"))
    return list(shown.values())


def main():
    folder = pathlib.Path(sys.argv[1])
    for way, options in enumerate(WAYS):
        rows = [row(way, number) for number in range(ROWS)]
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / f"arrow{way}.parquet", **options)
        for found in rows:
            print(json.dumps(expected(found)))
    way = len(WAYS)
    duck = duckdb.connect()
    for name, to in [("duck.parquet", "FORMAT parquet"), ("duck.json", "FORMAT json"), ("ducks.json", "FORMAT json, ARRAY true")]:
        rows = [row(way, number) for number in range(ROWS)]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)  # noqa: F841, DuckDB finds it by its name
        duck.sql(f"COPY (SELECT * FROM table) TO '{folder / name}' ({to})".replace("FROM table", 'FROM "table"'))
        for found in rows:
            print(json.dumps(expected(found)))
        way += 1


if __name__ == "__main__":
    main()
