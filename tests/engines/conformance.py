#!/usr/bin/env python3
"""Reads CSV files by Python's csv module and by DuckDB, and prints what they read as JSON.

    conformance.py CASES    reads CASES: a JSON list of file, delimiter, quote, encoding, skip and width

The answer is a list in the same order: for python and for duckdb the records, the header being the first, or a text
that says why there are none. An empty text and a null are the same here: neither reader tells them apart.
"""

import bz2
import csv
import gzip
import io
import json
import pathlib
import sys
import tempfile

import duckdb


def unpacked(path):
    opened = {".gz": gzip.open, ".bz2": bz2.open}.get(pathlib.Path(path).suffix, open)
    with opened(path, "rb") as file:
        return file.read()


def by_python(case):
    lines = io.StringIO(unpacked(case["file"]).decode(case["encoding"]), newline="")
    for _ in range(case["skip"]):
        next(lines)
    # A blank line is a row without fields to this module.
    rows = csv.reader(lines, delimiter=case["delimiter"], quotechar=case["quote"])
    return [row for row in rows if row]


def by_duckdb(case):
    data = unpacked(case["file"])
    ends = {b"\r\n": "\\r\\n", b"\n": "\\n", b"\r": "\\r"}
    options = {
        "delim": case["delimiter"],
        "quote": case["quote"],
        "escape": case["quote"],
        "new_line": next((name for end, name in ends.items() if end in data), "\\n"),
        "encoding": {"utf-8-sig": "utf-8", "utf-16": "utf-16", "cp1252": "latin-1"}[case["encoding"]],
    }
    text = ", ".join("{} = '{}'".format(name, value.replace("'", "''")) for name, value in options.items())
    columns = ", ".join(f"'h{index}': 'VARCHAR'" for index in range(case["width"]))
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        sql = f"FROM read_csv('{file.name}', {text}, skip = {case['skip']}, header = false, auto_detect = false,"
        rows = duckdb.sql(f"{sql} columns = {{{columns}}})").fetchall()
    return [[cell or "" for cell in row] for row in rows]


def answer(reader, case):
    try:
        return reader(case)
    except (csv.Error, duckdb.Error, UnicodeError) as error:
        return str(error).splitlines()[0].removeprefix("Invalid Input Error: ")


def main():
    cases = json.loads(pathlib.Path(sys.argv[1]).read_text())
    print(json.dumps([{"python": answer(by_python, case), "duckdb": answer(by_duckdb, case)} for case in cases]))


if __name__ == "__main__":
    main()
