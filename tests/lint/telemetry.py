"""Compares docs/dashboards with the list of metrics in docs/telemetry.md.

telemetry.py          every query can be parsed and names metrics, labels and label values of the list only; every
                      metric of the list is on the dashboard
telemetry.py --test   the same finds what is wrong in queries that are wrong
"""

import json
import re
import sys
from pathlib import Path

import promql_parser
import yaml

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Labels that Prometheus itself adds, and a histogram's bound.
ADDED = {"instance", "job", "le"}
SERIES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def documented(text):
    """{series: {label: its values, or None where they are not listed}}, from the table of metrics."""
    found = {}
    for line in text.splitlines():
        row = re.match(r"\| `(silversmith_\w+)` \| (\w+) \| (.*?) \|", line)
        if not row:
            continue
        name, kind, labels = row.groups()
        by_label = {}
        # `outcome`: ingested, duplicate; `pipeline`
        for part in labels.split(";"):
            label = re.match(r"\s*`(\w+)`(?::\s*(.*))?\s*$", part)
            if label:
                values = label.group(2)
                by_label[label.group(1)] = {value.strip() for value in values.split(",")} if values else None
        for ending in SERIES[kind]:
            found[name + ending] = by_label
    return found


def parts(node):
    """The node and everything below it."""
    yield node
    for name in dir(node):
        if name.startswith("_"):
            continue
        value = getattr(node, name)
        below = value if isinstance(value, list) else [value]
        for each in below:
            if isinstance(each, (promql_parser.Expr, promql_parser.VectorSelector)):
                yield from parts(each)


def faults(query, metrics):
    """What is wrong with a query."""
    plain = query.replace("$__rate_interval", "5m").replace("$__range", "3h").replace("$pipeline", ".*")
    try:
        tree = promql_parser.parse(plain)
    except ValueError as error:
        return [f"cannot be parsed: {error}"]
    nodes = list(parts(tree))
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    used = [selector.name for selector in selectors if selector.name]
    found = [] if used else ["names no metric"]
    labels = set()
    for name in used:
        if name == "up":
            labels |= ADDED
        elif name not in metrics:
            found.append(f"{name} is not in docs/telemetry.md")
        else:
            labels |= metrics[name].keys()
    for selector in selectors:
        known = metrics.get(selector.name)
        if known is None:
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name in ADDED:
                continue
            if matcher.name not in known:
                found.append(f"{selector.name} has no label {matcher.name}")
                continue
            values = known[matcher.name]
            asked = matcher.value.split("|") if matcher.value != ".*" else []
            for value in asked:
                if values is not None and value not in values:
                    found.append(f"{selector.name} has no {matcher.name}={value}")
    for node in nodes:
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            for label in modifier.labels:
                if label not in labels | ADDED:
                    found.append(f"by ({label}): none of its metrics has this label")
    return found


def dashboard(path, metrics):
    board = json.loads(path.read_text())
    ids, used = set(), set()
    for panel in board["panels"]:
        where = f"{path.name}, {panel['title']!r}"
        if panel["id"] in ids:
            yield f"{where}: its id is taken"
        ids.add(panel["id"])
        if panel["type"] != "row" and not panel.get("description"):
            yield f"{where}: no description"
        for target in panel.get("targets", []):
            used |= set(re.findall(r"silversmith_\w+", target["expr"]))
            for fault in faults(target["expr"], metrics):
                yield f"{where}: {fault}: {target['expr']}"
    for variable in board["templating"]["list"]:
        for name in re.findall(r"silversmith_\w+", str(variable.get("query"))):
            if name not in metrics:
                yield f"{path.name}, variable {variable['name']}: {name} is not in docs/telemetry.md"
    for name in metrics:
        histogram = re.sub("_(bucket|count|sum)$", "", name)
        if not any(series == name or series.startswith(histogram + "_") for series in used):
            yield f"{path.name}: {name} is on no panel"


def rules(path, metrics):
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            for fault in faults(rule["expr"], metrics):
                yield f"{path.name}, {rule['alert']}: {fault}"


def test(metrics):
    assert len(metrics) > 10, f"only {len(metrics)} series found in docs/telemetry.md"
    assert not faults('sum by (outcome) (rate(silversmith_objects_total{outcome="ingested"}[5m]))', metrics)
    for wrong in [
        "sum(rate(silversmith_objects_total[5m])",
        "rate(silversmith_object_total[5m])",
        'silversmith_objects_total{result="ingested"}',
        'silversmith_objects_total{outcome=~"ingested|lost"}',
        "sum by (layer) (rate(silversmith_objects_total[5m]))",
        "histogram_quantile(0.9, rate(silversmith_latency_seconds[5m]))",
        "1 + 1",
    ]:
        assert faults(wrong, metrics), f"nothing found wrong with {wrong}"


metrics = documented((DOCS / "telemetry.md").read_text())
test(metrics)
if sys.argv[1:] == ["--test"]:
    sys.exit()
wrong = [*dashboard(DOCS / "dashboards/silversmith.json", metrics), *rules(DOCS / "dashboards/alerts.yaml", metrics)]
print("\n".join(wrong) or f"telemetry.py: {len(metrics)} series, the dashboard and the rules agree")
sys.exit(1 if wrong else 0)
