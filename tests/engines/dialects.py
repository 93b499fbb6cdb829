#!/usr/bin/env python3
"""Reads CSV files by Python's csv module and by DuckDB, and compares both with the rows in a JSON file.

    dialects.py FOLDER    reads FOLDER/files.json: a list of file, delimiter, quote, line_end and rows

An empty text and a null are the same here: neither reader tells them apart. The exit code is 0 (all agree) or 1.
"""

import csv
import json
import pathlib
import sys

import duckdb


def by_python(path, case):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file, delimiter=case["delimiter"], quotechar=case["quote"]))[1:]


def by_duckdb(path, case):
    options = {
        "delim": case["delimiter"],
        "quote": case["quote"],
        "escape": case["quote"],
        "new_line": case["line_end"].replace("\r", "\\r").replace("\n", "\\n"),
    }
    text = ", ".join("{} = '{}'".format(name, value.replace("'", "''")) for name, value in options.items())
    columns = ", ".join(f"'h{index}': 'VARCHAR'" for index in range(case["width"]))
    sql = f"FROM read_csv('{path}', {text}, header = true, auto_detect = false, columns = {{{columns}}})"
    return duckdb.sql(sql).fetchall()


def main():
    folder = pathlib.Path(sys.argv[1])
    wrong = 0
    for case in json.loads((folder / "files.json").read_text()):
        path = folder / case["file"]
        expected = [[cell or "" for cell in row] for row in case["rows"]]
        for reader in (by_python, by_duckdb):
            found = [[cell or "" for cell in row] for row in reader(path, case)]
            if found != expected:
                wrong += 1
                print(f"{reader.__name__} of {case['file']}: {found} instead of {expected}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
