#!/usr/bin/env python3
"""Counts what silversmith asks of AWS: a proxy in front of an emulator, and a small lake behind it.

    record.py --catalog C --endpoint URL --binary B [--objects N]             prints the counts, as JSON
    record.py --catalog C --endpoint URL --binary B [--objects N] --write     and puts them into calls.json
    record.py --catalog C --endpoint URL --binary B [--objects N] --compare   fails on a call that calls.json lacks

C is sqlite (files of the tables in S3), glue or s3tables. Needs boto3 alone. The counts are in calls.json, by what was
done: `check`, the first object, one more, N that wait, an object that is gone, the three steps, and looking; but for
--compare also by a worker that stays: five objects, one after the other, and a minute without any.
A call is SERVICE:Operation@what, such as s3:PutObject@checkpoints; `table` is the storage of S3 Tables.
"""

import argparse
import collections
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import boto3

CALLS = Path(__file__).resolve().parent / "calls.json"
REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
# Calls that come where something takes long, and so may be missing from what was recorded.
RARE = {"sqs:ChangeMessageVisibilityBatch@queue"}
HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


def say(text):
    print(f"record.py: {text}", file=sys.stderr, flush=True)


# --- what a request is --------------------------------------------------------


def s3_operation(method, key, query):
    if not key:
        kinds = {"uploads": "ListMultipartUploads", "delete": "DeleteObjects", "versioning": "GetBucketVersioning"}
        named = [operation for word, operation in kinds.items() if word in query]
        return named[0] if named else {"GET": "ListObjectsV2", "HEAD": "HeadBucket"}.get(method, f"{method}Bucket")
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}[method]
    if method == "GET" and "versionId" in query:
        return "GetObjectVersion"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]


def s3_area(bucket, key):
    if bucket.endswith("--table-s3"):
        return "table"
    if bucket.endswith("-raw"):
        return "raw"
    return key.split("/", 1)[0] if "/" in key else "lake"


def s3tables_operation(method, path):
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[-1] == "metadata-location":
        return {"GET": "GetTableMetadataLocation", "PUT": "UpdateTableMetadataLocation"}[method]
    kind = parts[0].rstrip("s").capitalize()
    return {"GET": f"List{kind}s", "PUT": f"Create{kind}"}[method]


def call_of(method, target, headers, body):
    """SERVICE:Operation@what, from the request alone."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    service = re.search(r"Credential=[^/]+/\d+/[^/]+/(\w+)/", headers.get("Authorization", "")).group(1)
    named = headers.get("X-Amz-Target", "").rpartition(".")[2]
    if service == "s3":
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        prefix = query.get("prefix", [""])[0]
        return f"s3:{s3_operation(method, key, query)}@{s3_area(bucket, key or prefix)}"
    if service == "s3tables":
        return f"s3tables:{s3tables_operation(method, url.path)}"
    if service == "sqs":
        of = json.loads(body)["QueueUrl"]
        return f"sqs:{named}@{'dlq' if of.endswith('-dlq') else 'queue'}"
    return f"{service}:{named}"


# --- the proxy ----------------------------------------------------------------


class Proxy:
    """Passes everything on, and counts it."""

    def __init__(self, endpoint):
        self.target = urlsplit(endpoint).netloc
        self.counts = collections.Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def body(self):
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                found = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            def answer(self):
                body = self.body()
                # Counted before it is answered: whoever waits for the answer may look at the counts at once.
                proxy.counts[call_of(self.command, self.path, self.headers, body)] += 1
                onward = http.client.HTTPConnection(proxy.target, timeout=120)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                onward.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
                got = onward.getresponse()
                content = got.read()
                self.send_response(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in HOP | {"date", "server"}:
                        self.send_header(name, value)
                # A HEAD says how long the body would be.
                length = got.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                onward.close()
                try:
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    # A program that ends does not wait for its last long poll.
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def taken(self):
        found, self.counts = dict(sorted(self.counts.items())), collections.Counter()
        return found


# --- the lake -----------------------------------------------------------------

CONFIG = """
[lake]
name = "lake"
catalog = "{catalog}"
{warehouse}
checkpoints = "s3://{lake}/checkpoints"
event_bus = "{name}"
[source]
queue = "{queue}"
dlq = "{dlq}"
[[pipeline]]
name = "orders"
source = "s3://{name}-raw/orders/*.csv"
[pipeline.bronze]
table = "{name_}_bronze.orders"
[pipeline.silver]
table = "{name_}_silver.orders"
keys = ["id"]
order_by = ["updated"]
[[pipeline.gold]]
table = "{name_}_gold.orders"
sql = "SELECT city, count(*) AS n FROM silver GROUP BY city"
"""


class Lake:
    def __init__(self, args, proxy, folder):
        self.args, self.proxy, self.folder = args, proxy, Path(folder)
        self.name = f"r{uuid.uuid4().hex[:10]}"
        self.made = 0
        self.s3, self.sqs = self.client("s3"), self.client("sqs")
        place = {"LocationConstraint": REGION}
        for bucket in (f"{self.name}-raw", f"{self.name}-lake"):
            self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.client("events").create_event_bus(Name=self.name)
        self.queue = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        dlq = self.sqs.create_queue(QueueName=f"{self.name}-dlq")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        notified = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        self.s3.put_bucket_notification_configuration(
            Bucket=f"{self.name}-raw", NotificationConfiguration={"QueueConfigurations": notified}
        )
        lake = f"{self.name}-lake"
        warehouse = "" if args.catalog == "s3tables" else f'warehouse = "s3://{lake}/warehouse"'
        config = CONFIG.format(
            catalog=self.catalog(), warehouse=warehouse, lake=lake, name=self.name, name_=self.name, queue=self.queue, dlq=dlq
        )
        self.s3.put_object(Bucket=lake, Key="config/silversmith.toml", Body=config.encode())

    def client(self, service):
        environment = CREDENTIALS
        return boto3.client(
            service,
            endpoint_url=self.args.endpoint,
            region_name=REGION,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    def catalog(self):
        if self.args.catalog == "s3tables":
            return "s3tables:" + self.client("s3tables").create_table_bucket(name=f"{self.name}-tables")["arn"]
        return "glue:" if self.args.catalog == "glue" else f"sqlite:{self.folder}/catalog.db"

    def put(self, count):
        for _ in range(count):
            self.made += 1
            rows = "".join(f"{self.made * 10 + n},city {n},2026-01-01T00:00:00Z\n" for n in range(10))
            key = {"Bucket": f"{self.name}-raw", "Key": f"orders/{self.made}.csv"}
            made = self.s3.put_object(**key, Body=f"id,city,updated\n{rows}".encode())
            self.newest = {**key, "VersionId": made["VersionId"]}

    def environment(self):
        config = f"s3://{self.name}-lake/config/silversmith.toml"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SILVERSMITH_"))}
        return environment | {**CREDENTIALS, "AWS_ENDPOINT_URL": self.proxy.url, "SILVERSMITH_CONFIG": config}

    def run(self, *arguments):
        command = [self.args.binary, *arguments]
        done = subprocess.run(command, env=self.environment(), cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"record.py: silversmith {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-4000:]}")
        return done.stdout


def quiet(proxy, seconds=4):
    """Waits until nothing but the queue has been asked for so long."""

    def asked():
        return sum(count for call, count in proxy.counts.items() if call != "sqs:ReceiveMessage@queue")

    before, since = asked(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        if asked() != before:
            before, since = asked(), time.monotonic()


def by_a_worker(lake, note):
    """A worker that stays, as most do: without the start and the end of a process in the counts."""
    with open(f"{lake.folder}/worker.log", "w") as log:
        worker = subprocess.Popen([lake.args.binary, "run"], env=lake.environment(), cwd=lake.folder, stderr=log, stdout=log)
    try:
        quiet(lake.proxy)
        lake.proxy.taken()
        for _ in range(5):
            lake.put(1)
            time.sleep(1)
            quiet(lake.proxy)
        note("five objects, each alone")
        time.sleep(60)
        note("a minute without any")
    finally:
        worker.terminate()
        worker.wait(60)
    lake.proxy.taken()


def recorded(lake):
    """What was done, and the calls that it took."""
    found = {}

    def note(what):
        found[what] = lake.proxy.taken()
        say(f"{what}: {sum(found[what].values())} calls")

    lake.run("check")
    note("check")
    lake.put(1)
    lake.run("run", "--until-idle", "--lenient")
    note("the first object")
    lake.put(1)
    lake.run("run", "--until-idle", "--lenient")
    note("one more")
    lake.put(lake.args.objects)
    lake.run("run", "--until-idle", "--lenient")
    note("objects that wait")
    lake.put(1)
    lake.s3.delete_object(**lake.newest)
    lake.run("run", "--until-idle", "--lenient")
    note("an object that is gone")
    lake.put(1)
    for step in ("bronze", "silver", "gold"):
        lake.run(step)
    note("the steps")
    if not lake.args.compare:
        by_a_worker(lake, note)
    lake.run("status")
    rows = lake.run("sql", "--format", "csv", f"SELECT count(*) AS n FROM {lake.name}_silver.orders")
    note("looking")
    if rows.split() != ["n", str((lake.made - 1) * 10)]:
        sys.exit(f"record.py: silver has {rows.split()} rows")
    return found


def compare(catalog, found):
    known = json.loads(CALLS.read_text())[catalog]["calls"]
    known = {call for calls in known.values() for call in calls}
    new = {call for calls in found.values() for call in calls} - known - RARE
    if new:
        sys.exit(f"record.py: {catalog}: calls that were not recorded: {sorted(new)}. Run it with --write, then infra/lint.sh")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", choices=["sqlite", "glue", "s3tables"], required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    with tempfile.TemporaryDirectory() as folder:
        found = recorded(Lake(args, Proxy(args.endpoint), folder))
    if args.compare:
        compare(args.catalog, found)
        return
    if args.write:
        there = json.loads(CALLS.read_text()) if CALLS.exists() else {}
        there[args.catalog] = {"objects": args.objects, "calls": found}
        CALLS.write_text(json.dumps(there, indent=1, sort_keys=True) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
