"""The tables and the plot of docs/cost.md: recorded requests (calls.json) × list prices (prices.json).

cost.py            they are what the two files say
cost.py --write    writes them
cost.py --test     a changed figure is found
"""

import json
import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
PAGE, PLOT = DOCS / "cost.md", DOCS / "cost.svg"
BEGIN, END = "<!-- made by infra/checks/cost.py --write -->\n", "<!-- end -->\n"
HOURS = 730
SECONDS = HOURS * 3600
# Objects of so many bytes, for those who charge by volume.
SIZE = 100_000
ALONE = 5
# A round of bronze, silver and gold begins at most so often: max_wait of 2 s, and the round itself.
ROUND = 5
# Not measured: what a round takes of a function of 1 GB. `first-hour.sh` times it.
FUNCTION_SECONDS = 3

# What S3 Tables charges for. A round leaves one small file each in bronze, ledger and silver, and each is compacted
# once, as in the example on AWS's pricing page. Gold has one live file: there is nothing to join.
SMALL_FILES = 3
# Measured on a local disk, with 30 files of 100 kB, one in a round: orders of six columns, one of them a random UUID.
# Bronze and silver, each as a share of the CSV.
PARQUET = 2 * 0.52
# What one snapshot adds to the metadata.json files of the four tables together.
SNAPSHOT_BYTES = 3_900
# A snapshot lives for a day, unless a thousand newer ones come before.
SNAPSHOTS = 1000
# Then its files go: days without a reference, and days as noncurrent. As infra/data.yaml sets them, and at the least.
KEPT = 3 + 7
KEPT_LEAST = 1 + 1

# A stream of Auto Loader, without an end, on a cluster that takes so many DBU an hour. Without the machines.
AUTO_LOADER_DBU = 1
# A Glue job that starts so often, in minutes.
EVERY = 5
RATES = [("an hour", 1 / 3600), ("a minute", 1 / 60), ("10 a minute", 1 / 6), ("a second", 1), ("10 a second", 10), ("100 a second", 100)]
KINDS = {
    "s3 put": ("PutObject", "ListObjectsV2", "ListMultipartUploads", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
    "s3 get": ("GetObject", "GetObjectVersion", "HeadObject", "HeadBucket"),
}
FREE = ("DeleteObject", "DeleteObjects", "AbortMultipartUpload")


def kind(call):
    """The price that a call has; None for what is free."""
    service, operation = call.split("@")[0].split(":")
    if service == "s3":
        named = [name for name, operations in KINDS.items() if operation in operations]
        return named[0] if named else None
    if service == "s3tables":
        # Calls of its API are charged as requests of S3.
        return "s3 put" if operation.startswith(("Create", "Update", "List")) else "s3 get"
    if service == "events":
        return "events" if operation == "PutEvents" else None
    return {"sqs": "sqs", "glue": "glue catalog"}[service]


def by_kind(calls, share=1.0):
    found = {}
    for call, count in calls.items():
        if kind(call):
            found[kind(call)] = found.get(kind(call), 0) + count * share
    return found


def dollars(counts, prices):
    return sum(count * prices[name]["dollars"] / prices[name]["per"] for name, count in counts.items())


class Model:
    def __init__(self, calls, prices):
        self.calls, self.prices = calls, prices
        of = calls["s3tables"]["calls"]
        alone = by_kind(of["five objects, each alone"], 1 / ALONE)
        # Messages are received and deleted in tens at most: as they were where most of them waited.
        bulk = calls["sqlite"]
        own = {"s3 get": 1, "sqs": by_kind(bulk["calls"]["objects that wait"])["sqs"] / bulk["objects"]}
        self.round = {name: count - own.get(name, 0) for name, count in alone.items()}
        # S3 sends each event, which is a request, too.
        self.object = {**own, "sqs": own["sqs"] + 1}
        self.idle = by_kind(of["a minute without any"], HOURS * 60)
        self.commits = of["five objects, each alone"]["s3tables:UpdateTableMetadataLocation"] / ALONE
        # Objects that a round adds to the table bucket: data, manifests, manifest lists, metadata.json.
        self.files = of["five objects, each alone"]["s3:PutObject@table"] / ALONE

    def price(self, name):
        return self.prices[name]["dollars"] / self.prices[name]["per"]

    def rounds(self, rate):
        return min(rate * SECONDS, SECONDS / ROUND)

    def requests(self, rate):
        objects, rounds = rate * SECONDS, self.rounds(rate)
        # A worker that has rounds to do does not idle.
        idle = max(0, 1 - rounds * ROUND / SECONDS)
        return objects * dollars(self.object, self.prices) + rounds * dollars(self.round, self.prices) + idle * dollars(self.idle, self.prices)

    def compaction(self, rate):
        """By S3 Tables itself, which is on unless it is switched off."""
        gigabytes = rate * SECONDS * SIZE / 1e9 * PARQUET
        return self.rounds(rate) * SMALL_FILES * self.price("compaction object") + gigabytes * self.price("compaction")

    def kept(self, rate, days=KEPT):
        """Monitoring, and storage of old metadata.json files: of all that is in the table bucket at any time."""
        daily = self.rounds(rate) / (SECONDS / 86_400)
        if not daily:
            return 0.0, 0.0
        alive = min(1.0, SNAPSHOTS / daily)
        there = daily * (alive + days)
        gigabytes = there * SNAPSHOT_BYTES * min(SNAPSHOTS, daily) / 1e9
        return there * self.files * self.price("monitoring"), gigabytes * self.price("table storage")

    def s3_tables(self, rate):
        return self.compaction(rate) + sum(self.kept(rate))

    def watching(self, rate, metrics):
        """So many metrics in the alarms of the templates. Silver's lag is a metric of its own, in hours with a merge."""
        return metrics * self.price("alarm metric") + min(1.0, rate * 3600) * self.price("custom metric")

    def fargate(self, rate):
        worker = HOURS * (0.5 * self.price("fargate vcpu") + self.price("fargate memory") + self.price("address"))
        return self.requests(rate) + self.s3_tables(rate) + worker + self.watching(rate, 10)

    def function(self, rate):
        rounds = self.rounds(rate)
        # Five pollers of Lambda, each of which asks every 20 s.
        polls = 5 * SECONDS / 20 * self.price("sqs")
        idle = dollars(self.idle, self.prices) * max(0, 1 - rounds * ROUND / SECONDS)
        compute = rounds * (FUNCTION_SECONDS * self.price("lambda") + self.price("lambda request"))
        return self.requests(rate) - idle + self.s3_tables(rate) + polls + compute + self.watching(rate, 6)

    def glue(self, minutes, price="glue 6 job"):
        return SECONDS / 60 / minutes * 2 * self.price(price) / 60

    def auto_loader(self):
        return HOURS * AUTO_LOADER_DBU * self.price("databricks")

    def others(self, rate):
        return [self.glue(EVERY), self.auto_loader(), self.by_volume("firehose", rate), self.by_volume("snowpipe", rate)]

    def by_volume(self, name, rate):
        gigabytes = rate * SECONDS * SIZE / 1e9
        if name == "snowpipe":
            return gigabytes * self.price("snowpipe credits") * self.price("snowflake credit")
        return gigabytes * self.price("firehose")


def money(value):
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def counted(model):
    yield "| requests | PUT, LIST | GET | SQS | events | catalog |"
    yield "|---|---|---|---|---|---|"
    for catalog, name in (("s3tables", "S3 Tables"), ("glue", "Glue"), ("sqlite", "SQLite")):
        of = model.calls[catalog]
        rows = [
            ("one object alone, by a worker that stays", of["calls"]["five objects, each alone"], 1 / ALONE),
            (f"{of['objects']:,} objects that wait, with start and end", of["calls"]["objects that wait"], 1),
            ("a minute without any", of["calls"]["a minute without any"], 1),
        ]
        for what, calls, share in rows:
            found = by_kind({call: count for call, count in calls.items() if not call.startswith(("s3tables:", "glue:"))}, share)
            cells = [f"{found.get(one, 0):,.0f}" for one in ("s3 put", "s3 get", "sqs", "events")]
            catalog_calls = sum(count for call, count in calls.items() if call.startswith(("s3tables:", "glue:"))) * share
            yield f"| {name}: {what} | {' | '.join(cells)} | {catalog_calls:,.0f} |"


def priced(model):
    yield "| price | dollars | source |"
    yield "|---|---|---|"
    for one in model.prices.values():
        unit = one["unit"] if one["per"] == 1 else f"million {one['unit']}"
        # Credits are not dollars: the unit says so.
        yield f"| {unit} | {one['dollars']:.10f}".rstrip("0").rstrip(".") + f" | {one['source']} |"


OTHERS = f"Glue 6, each {EVERY} min, at least | Auto Loader, {AUTO_LOADER_DBU} DBU an hour | Firehose | Snowpipe"


def monthly(model):
    yield f"| objects | a month | silversmith on Fargate | silversmith on Lambda | {OTHERS} |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, rate in [*RATES, ("none", 0)]:
        found = [model.fargate(rate), model.function(rate), *model.others(rate)]
        yield f"| {name} | {rate * SECONDS:,.0f} | {' | '.join(money(one) for one in found)} |"


def per_million(model):
    yield f"| objects | silversmith on Fargate | of which requests | of which S3 Tables | silversmith on Lambda | {OTHERS} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, rate in RATES:
        million = rate * SECONDS / 1e6
        own = [model.fargate(rate), model.requests(rate), model.s3_tables(rate), model.function(rate)]
        yield f"| {name} | {' | '.join(money(one / million) for one in [*own, *model.others(rate)])} |"


def s3_tables(model):
    yield "| objects | rounds a month | compaction | monitoring | old metadata | Fargate with all three | without compaction | and kept shorter |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, rate in RATES:
        found = [model.compaction(rate), *model.kept(rate), model.fargate(rate)]
        without = model.fargate(rate) - model.compaction(rate)
        found += [without, without - sum(model.kept(rate)) + sum(model.kept(rate, KEPT_LEAST))]
        yield f"| {name} | {model.rounds(rate):,.0f} | {' | '.join(money(one) for one in found)} |"


def split(model):
    yield "| requests on S3 Tables | PUT, LIST | GET | SQS | events | dollars a million |"
    yield "|---|---|---|---|---|---|"
    commit = {name: count / model.commits for name, count in model.round.items()}
    rows = [("an object", model.object), (f"a round, of {model.commits:.0f} commits", model.round), ("a commit", commit)]
    for what, counts in rows:
        cells = [f"{counts.get(one, 0):.1f}" for one in ("s3 put", "s3 get", "sqs", "events")]
        yield f"| {what} | {' | '.join(cells)} | {money(1e6 * dollars(counts, model.prices))} |"


def timers(model):
    yield "| a job of 2 DPU each | runs a month | dollars a month, at least, to Glue 5.1 | by Glue 6.0 |"
    yield "|---|---|---|---|"
    for name, minutes in (("minute", 1), ("5 minutes", 5), ("15 minutes", 15), ("hour", 60)):
        found = [model.glue(minutes, "glue job"), model.glue(minutes)]
        yield f"| {name} | {SECONDS / 60 / minutes:,.0f} | {' | '.join(money(one) for one in found)} |"


def tables(model):
    made = {"monthly": monthly, "per million": per_million, "s3 tables": s3_tables, "timers": timers}
    return {**made, "split": split, "counted": counted, "priced": priced}


# --- the plot -------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 190, 40, 50


def plot(model):
    """Dollars a month by objects a second, both by powers of ten."""
    low, high, floor, ceiling = -3.6, 2.0, -1.0, 4.0

    def x(rate):
        return LEFT + (math.log10(rate) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(value):
        share = (math.log10(max(value, 10**floor)) - floor) / (ceiling - floor)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    lines = [
        ("Fargate", "#b3541e", model.fargate),
        ("Lambda", "#e0a526", model.function),
        (f"Glue 6, each {EVERY} min, at least", "#6b7280", lambda _: model.glue(EVERY)),
        (f"Auto Loader, {AUTO_LOADER_DBU} DBU an hour", "#8b5fbf", lambda _: model.auto_loader()),
        ("Firehose, 100 kB each", "#2563a8", lambda rate: model.by_volume("firehose", rate)),
        ("Snowpipe, 100 kB each", "#2f8f6b", lambda rate: model.by_volume("snowpipe", rate)),
    ]
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    yield "<title>Dollars a month by arrival rate</title>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield f'<text x="{LEFT}" y="22" font-size="14" fill="#111827">dollars a month, by objects that arrive</text>'
    for power in range(int(floor), int(ceiling) + 1):
        at = y(10**power)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e7eb"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#374151">{10.0**power:,g}</text>'
    for name, rate in RATES:
        yield f'<text x="{x(rate):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#374151">{name}</text>'
        yield f'<line x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#f3f4f6"/>'
    rates = [10 ** (low + step * (high - low) / 60) for step in range(61)]
    ends = []
    for name, colour, cost in lines:
        points = " ".join(f"{x(rate):.1f},{y(cost(rate)):.1f}" for rate in rates if cost(rate) >= 10**floor)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        ends.append((y(cost(rates[-1])), name, colour))
    last = 0
    for at, name, colour in sorted(ends):
        last = max(at, last + 16)
        yield f'<text x="{WIDTH - RIGHT + 8}" y="{last + 4:.1f}" fill="{colour}">{name}</text>'
    yield "</svg>"


def made(text, model):
    for name, make in tables(model).items():
        begin = BEGIN.replace("-->", f"{name} -->")
        if begin not in text:
            raise SystemExit(f"cost.py: {PAGE.name} has no {begin}")
        before, rest = text.split(begin)
        after = rest.split(END, 1)[1]
        text = f"{before}{begin}\n" + "\n".join(make(model)) + f"\n\n{END}{after}"
    return text


def main():
    model = Model(json.loads((HERE / "calls.json").read_text()), json.loads((HERE / "prices.json").read_text()))
    text, drawn = PAGE.read_text(), "\n".join(plot(model)) + "\n"
    if sys.argv[1:] == ["--test"]:
        for name in ("s3 put", "compaction object", "compaction", "monitoring", "table storage", "glue 6 job", "databricks"):
            before = [*monthly(model), *per_million(model), drawn]
            model.prices[name]["dollars"] *= 1.5
            after = [*monthly(model), *per_million(model), "\n".join(plot(model)) + "\n"]
            if before[-1] == after[-1] or before[:-1] == after[:-1] or made(text, model) == text:
                sys.exit(f"cost.py: the price of {name} changed, and that changes nothing")
            drawn = after[-1]
        return
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(made(text, model))
        PLOT.write_text(drawn)
        return
    if made(text, model) != text or not PLOT.exists() or PLOT.read_text() != drawn:
        sys.exit("cost.py: docs/cost.md or docs/cost.svg is not what was recorded: run it with --write")


if __name__ == "__main__":
    main()
