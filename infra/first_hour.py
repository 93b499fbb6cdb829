"""The first hour of silversmith on an AWS account. first-hour.sh runs it.

Each step is a line of the report: what was asked, whether it is so, how long it took, what was seen. A step that fails
is reported, and the next one begins; whatever happens, what was made is deleted at the end, unless --keep is given.

With --emulator, a rehearsal at that URL: it has no accounts' permissions, no tasks and no functions, so that what only
an account can answer is marked and left out.
"""

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

import emulate

HERE = Path(__file__).resolve().parent
OBJECTS = 100
LAYERS = ["bronze", "silver", "gold"]
# A session of a role lasts an hour, and the run may take longer.
SESSION = 30 * 60
CONFIG = """
[lake]
name        = "lake"
catalog     = "${CATALOG}"
checkpoints = "${CHECKPOINTS}"
event_bus   = "${EVENT_BUS}"
WAREHOUSE
[source]
queue = "${RAW_QUEUE_URL}"
dlq   = "${RAW_DLQ_URL}"
[[pipeline]]
name   = "orders"
source = "s3://${RAW_BUCKET}/orders/*.csv"
[pipeline.bronze]
table = "BRONZE.orders"
[pipeline.silver]
table    = "SILVER.orders"
keys     = ["id"]
order_by = ["updated"]
"""
# What an hour can cost at most, in dollars of us-east-1: docs/cost.md has the prices. Twice for each, to be safe.
PARTS = [
    ("requests of S3: 102 objects, each alone at worst, and 20 commits of steps", "(102 + 20) x 30 PUT x 5.00/million", 0.019),
    ("two Fargate tasks of 0.5 vCPU for half an hour, with addresses", "2 x 0.5 h x (0.0247 + 0.005)", 0.030),
    ("a function of 1 GB for ten minutes", "600 GB-s x 0.0000166667", 0.010),
    ("ten alarms for an hour, at 0.10 a month and metric", "15 x 0.10 / 730", 0.003),
    ("queues, events, state machine, logs, storage", "below a cent", 0.010),
]


class Failed(Exception):
    """A step that is not as it should be."""


def say(text):
    print(f"first-hour: {text}", file=sys.stderr, flush=True)


class Report:
    """The steps so far, as Markdown."""

    def __init__(self, args):
        self.args, self.rows, self.began = args, [], time.monotonic()

    @contextlib.contextmanager
    def step(self, what, account_only=None, needs=None):
        """A step of the hour, which yields what was seen. Where it is not taken, None: `account_only` says why an
        emulator cannot answer it, and `needs` names the option that it needs and has not got."""
        if account_only and self.args.emulator:
            self.rows.append((what, "an account only", "", account_only))
            yield None
            return
        if needs:
            self.rows.append((what, "left out", "", f"{needs} was not given"))
            yield None
            return
        seen, began = [], time.monotonic()
        say(f"{what} ...")
        try:
            yield seen
            result = "yes"
        except Exception as error:  # the report has it, and the hour goes on
            result = "no"
            known = isinstance(error, (Failed, ClientError, subprocess.TimeoutExpired))
            seen.append(str(error) if known else traceback.format_exc(limit=3))
        seconds = time.monotonic() - began
        say(f"{what}: {result}, {seconds:.0f} s")
        self.rows.append((what, result, f"{seconds:.1f}", "; ".join(seen)))

    def text(self):
        where = f"a rehearsal at {self.args.emulator}" if self.args.emulator else f"AWS, {self.args.region}"
        now = datetime.datetime.now(datetime.timezone.utc)
        lines = [
            f"# silversmith's first hour: {where}",
            "",
            f"{now:%Y-%m-%d %H:%M} UTC, {time.monotonic() - self.began:.0f} s, {self.args.version}, catalog {self.args.catalog}",
            "",
            "| step | so | seconds | seen |",
            "|---|---|---|---|",
        ]
        for row in self.rows:
            lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ")[:1500] for cell in row) + " |")
        lines += ["", "What it can have cost at most, in dollars:", "", "| part | | |", "|---|---|---|"]
        lines += [f"| {what} | {how} | {dollars:.3f} |" for what, how, dollars in PARTS]
        lines += [f"| | | **{sum(part[2] for part in PARTS):.3f}** |", ""]
        if not self.args.emulator:
            lines += ["What it did cost is in Cost Explorer a day later, by service.", ""]
        return "\n".join(lines)


class Hour:
    def __init__(self, args, folder):
        self.args, self.folder, self.report = args, Path(folder), Report(args)
        self.name, self.outputs, self.made = args.name, {}, 0
        # An account has one Glue for all: tables of its own, in databases that go at the end.
        self.namespaces = {layer: f"{args.name.replace('-', '_')}_{layer}" for layer in LAYERS}
        self.role, self.role_credentials, self.taken_at = None, {}, 0.0

    def client(self, service):
        return boto3.client(service)

    def emulate(self, command, *arguments, check=True):
        """infra/emulate.py, which deploys to accounts as well. Returns what it prints."""
        flags = [] if self.args.emulator else ["--aws"]
        run = [sys.executable, str(HERE / "emulate.py"), *flags, command, *arguments]
        done = subprocess.run(run, capture_output=True, text=True, timeout=self.args.patience)
        if check and done.returncode:
            raise Failed(done.stderr.strip()[-1500:])
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}

    def environment(self):
        """What silversmith runs with: the worker's role, and what the templates give to tasks."""
        if self.role and time.monotonic() - self.taken_at > SESSION:
            self.assume()
        names = {"RAW_BUCKET": "RawBucketName", "RAW_QUEUE_URL": "RawQueueUrl", "RAW_DLQ_URL": "RawDlqUrl"}
        names |= {"CHECKPOINTS": "Checkpoints", "EVENT_BUS": "EventBusName", "WAREHOUSE": "Warehouse", "CATALOG": "Catalog"}
        given = {name: self.outputs[output] for name, output in names.items()}
        if self.args.catalog == "sqlite":
            given["CATALOG"] = f"sqlite:{self.folder}/catalog.db"
        ours = {name: value for name, value in os.environ.items() if name not in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")}
        return {**ours, **given, **self.role_credentials, "SILVERSMITH_CONFIG": self.outputs["ConfigUri"]}

    def silversmith(self, *arguments, check=True):
        run = [self.args.binary, *arguments]
        done = subprocess.run(
            run, env=self.environment(), cwd=self.folder, capture_output=True, text=True, timeout=self.args.patience
        )
        if check and done.returncode:
            raise Failed(f"silversmith {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def silver_rows(self):
        table = f"{self.namespaces['silver']}.orders"
        try:
            return int(self.silversmith("sql", "--format", "csv", f"SELECT count(*) AS n FROM {table}").split()[1])
        except Failed as error:
            # Before the first commit there is no table.
            if table in str(error):
                return 0
            raise

    def put(self, count):
        s3 = self.client("s3")
        for _ in range(count):
            self.made += 1
            rows = "".join(f"{self.made * 10 + n},city {n},2026-01-01T00:00:00Z\n" for n in range(10))
            body = f"id,city,updated\n{rows}".encode()
            s3.put_object(Bucket=self.outputs["RawBucketName"], Key=f"orders/{self.made}.csv", Body=body)

    def wait(self, what, seconds, look):
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {seconds} s")
            time.sleep(1)
        return found

    def configure(self, text):
        bucket, _, key = self.outputs["ConfigUri"].removeprefix("s3://").partition("/")
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())

    def config(self):
        text = CONFIG.replace("WAREHOUSE\n", "" if self.args.catalog == "s3tables" else 'warehouse = "${WAREHOUSE}"\n')
        for layer, namespace in self.namespaces.items():
            text = text.replace(f"{layer.upper()}.", f"{namespace}.")
        return text

    def taken(self):
        """What there is already under the names of this hour. It would go at the end."""
        found = [f"stack {name}" for name, _ in emulate.stacks_of(self.name) if emulate.exists(name)]
        if self.args.catalog == "glue":
            pages = self.client("glue").get_paginator("get_databases").paginate()
            there = {one["Name"] for page in pages for one in page["DatabaseList"]}
            found += [f"Glue database {name}" for name in self.namespaces.values() if name in there]
        return found

    # --- the steps --------------------------------------------------------------

    def deploy(self):
        with self.report.step("the stacks are there") as seen:
            settings = ["--on-failure", "ROLLBACK", "--set", f"Catalog={self.args.catalog}"]
            settings += [part for one, name in self.namespaces.items() for part in ("--set", f"{one.title()}Namespace={name}")]
            deployed = self.emulate("deploy", self.name, "--timeout", "1500", *settings)
            self.outputs = deployed["outputs"]
            seen.append(f"{len(deployed['resources'])} resources")
            self.configure(self.config())

    def take_role(self):
        with self.report.step("the worker's own role can be taken") as seen:
            iam, account = self.client("iam"), self.client("sts").get_caller_identity()
            trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": account["Account"]}}
            document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
            role = iam.create_role(RoleName=f"{self.name}-first-hour", AssumeRolePolicyDocument=document)["Role"]
            for output in ("WorkerPolicyArn", "StepsPolicyArn"):
                iam.attach_role_policy(RoleName=role["RoleName"], PolicyArn=self.outputs[output])
            self.role = role["Arn"]
            self.assume()
            seen.append("its permissions are not enforced here" if self.args.emulator else "everything below runs with it alone")

    def assume(self):
        def take():
            try:
                return self.client("sts").assume_role(RoleArn=self.role, RoleSessionName="first-hour")
            except ClientError:  # IAM takes seconds to know of a role
                return None

        taken = self.wait("taking the role", 60, take)["Credentials"]
        self.taken_at = time.monotonic()
        self.role_credentials = {
            "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
            "AWS_SESSION_TOKEN": taken["SessionToken"],
        }

    def first_row(self):
        with self.report.step("check finds every service") as seen:
            found = self.silversmith("check", "--format", "csv")
            if "failed," in found:
                raise Failed(found)
            seen.append(f"{found.count('ok,')} ok")
        with self.report.step("a row is in silver, in tables that were not there"):
            self.put(1)

            def arrived():
                self.silversmith("run", "--until-idle")
                return self.silver_rows() == 10

            # S3 takes a moment to send the event.
            self.wait("the first rows", 120, arrived)
        with self.report.step(
            "the policy allows the first commit to a table that is not there",
            "whether AWS answers 403 or 404 for it, and whether the policy is enough",
        ) as seen:
            if seen is not None and self.silver_rows() != 10:
                raise Failed("see the step above")

    def hundred(self):
        with self.report.step(f"{OBJECTS} objects are in silver") as seen:
            with open(self.folder / "worker.log", "w") as log:
                worker = subprocess.Popen(
                    [self.args.binary, "run"], env=self.environment(), cwd=self.folder, stdout=log, stderr=log
                )
            try:
                before, began = self.silver_rows(), time.monotonic()
                self.put(OBJECTS)
                uploaded = time.monotonic() - began
                self.wait("all rows", 300, lambda: self.silver_rows() == before + OBJECTS * 10)
                took = time.monotonic() - began
                seen.append(f"uploaded in {uploaded:.1f} s, the last row in silver {took - uploaded:.1f} s later")
            finally:
                worker.terminate()
                worker.wait(60)

    def failing_step(self):
        topic = self.outputs["TopicArn"]
        with self.report.step("a step fails, and the topic says which") as seen:
            sqs, name = self.client("sqs"), f"{self.name}-first-hour"
            queue = sqs.create_queue(QueueName=name)["QueueUrl"]
            try:
                arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
                allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
                allow |= {"Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}
                policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
                sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
                self.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
                self.fail_a_step()
                messages = self.wait("a message of the topic", 120, lambda: self.messages_of(sqs, queue))
                said = next((one for one in messages if "step bronze failed" in one), None)
                if said is None:
                    raise Failed(f"the topic said {messages}")
                seen.append(said[:300])
            finally:
                sqs.delete_queue(QueueUrl=queue)

    def messages_of(self, sqs, queue):
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        return [json.loads(one["Body"])["Message"] for one in answer.get("Messages", [])]

    def fail_a_step(self):
        flags = [] if self.args.emulator else ["--aws"]
        run = [sys.executable, str(HERE / "emulate.py"), *flags, "worker", self.name, "--binary", self.args.binary]
        run += ["--config", "nowhere.toml", "--steps", "1", "--activity", self.outputs["StepsActivityArn"]]
        worker = subprocess.Popen(run, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.emulate("execute", self.name, "--expect", "FAILED")
        finally:
            worker.terminate()
            worker.wait(90)

    def fargate(self):
        why, needs = "the emulator runs no tasks", None if self.args.image else "--image"
        with self.report.step("a task with a broken configuration is no deployment", why, needs) as seen:
            if seen is not None:
                self.configure("[lake")
                self.change(self.of_fargate(), check=False)
                stack = self.client("cloudformation").describe_stacks(StackName=f"{self.name}-compute")["Stacks"][0]
                seen.append(stack["StackStatus"])
                if "ROLLBACK" not in stack["StackStatus"]:
                    raise Failed("the stack did not go back")
        with self.report.step("Fargate workers bring an object to silver", why, needs) as seen:
            if seen is not None:
                self.configure(self.config())
                self.change(self.of_fargate())
                self.one_more()

    def of_fargate(self):
        ec2 = self.client("ec2")
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        subnets = ",".join(one["SubnetId"] for one in subnets)
        return ["Compute=fargate", f"Image={self.args.image}", f"VpcId={vpc}", f"Subnets={subnets}"]

    def change(self, settings, check=True):
        settings = [part for one in settings for part in ("--set", one)]
        self.emulate("update", self.name, "--timeout", "1500", *settings, check=check)

    def one_more(self):
        before = self.silver_rows()
        self.put(1)
        self.wait("its rows", 300, lambda: self.silver_rows() == before + 10)

    def function(self):
        why, needs = "the emulator runs no functions", None if self.args.package else "--package"
        with self.report.step("a function brings an object to silver", why, needs) as seen:
            if seen is None:
                return
            bucket, key = self.outputs["LakeBucketName"], "code/first-hour.zip"
            self.client("s3").upload_file(self.args.package, bucket, key)
            self.change(["Compute=lambda", f"CodeBucket={bucket}", f"CodeKey={key}"])
            self.one_more()
            group = f"/silversmith/{self.name}"
            events = self.client("logs").filter_log_events(logGroupName=group, filterPattern='"Init Duration"')["events"]
            seen += [one["message"].strip() for one in events[:1]]

    def undelivered(self):
        with self.report.step("nothing was left undelivered") as seen:
            names = ["ApproximateNumberOfMessages"]
            for output in ("UndeliveredUrl", "RawDlqUrl"):
                url = self.outputs[output]
                left = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]]
                if left != "0":
                    raise Failed(f"{left} messages in {url}")
            seen.append("the queues of dead letters and of what rules could not deliver are empty")

    def tear_down(self):
        # Where the stack of compute could not be made, the other one is there all the same.
        self.outputs = self.outputs or self.emulate("outputs", self.name, check=False)
        with self.report.step("the role is gone"):
            role = f"{self.name}-first-hour"
            iam = self.client("iam")
            with contextlib.suppress(iam.exceptions.NoSuchEntityException):
                for one in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
                    iam.detach_role_policy(RoleName=role, PolicyArn=one["PolicyArn"])
                iam.delete_role(RoleName=role)
        with self.report.step("the stacks and their buckets are gone"):
            self.emulate("delete", self.name, "--data", "--timeout", "1500")
            buckets = [one["Name"] for one in self.client("s3").list_buckets()["Buckets"]]
            if left := [one for one in buckets if one.startswith(f"{self.name}-")]:
                raise Failed(f"buckets are left: {left}")
        with self.report.step("the tables are gone"):
            if arn := self.outputs.get("TableBucketArn"):
                self.drop_table_bucket(arn)
            if self.args.catalog == "glue":
                glue = self.client("glue")
                for name in self.namespaces.values():
                    # With the tables in it.
                    with contextlib.suppress(glue.exceptions.EntityNotFoundException):
                        glue.delete_database(Name=name)

    def drop_table_bucket(self, arn):
        s3tables = self.client("s3tables")
        for page in s3tables.get_paginator("list_tables").paginate(tableBucketARN=arn):
            for table in page["tables"]:
                s3tables.delete_table(tableBucketARN=arn, namespace=table["namespace"][0], name=table["name"])
        for page in s3tables.get_paginator("list_namespaces").paginate(tableBucketARN=arn):
            for one in page["namespaces"]:
                s3tables.delete_namespace(tableBucketARN=arn, namespace=one["namespace"][0])
        s3tables.delete_table_bucket(tableBucketARN=arn)

    def run(self):
        try:
            self.deploy()
            parts = [self.take_role, self.first_row, self.hundred, self.failing_step, self.fargate, self.function, self.undelivered]
            for part in parts if self.outputs else []:
                if time.monotonic() - self.report.began > self.args.minutes * 60:
                    self.report.rows.append(("what comes after", "left out", "", f"{self.args.minutes:g} minutes are over"))
                    break
                part()
        finally:
            if not self.args.keep:
                self.tear_down()


def command_line():
    parser = argparse.ArgumentParser(prog="first-hour.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", required=True)
    parser.add_argument("--binary", default="silversmith", help="the program, for this machine")
    parser.add_argument("--image", help="URI of a container image, for the steps on Fargate; they run in the default VPC")
    parser.add_argument("--package", help="a zip of a release, for the steps on Lambda")
    parser.add_argument("--catalog", choices=["s3tables", "glue"], default="s3tables")
    parser.add_argument("--budget", type=float, default=1.0, metavar="DOLLARS", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=75, help="after which nothing begins but the tear-down; default: %(default)s")
    parser.add_argument("--report", type=Path, default=Path("first-hour.md"), help="default: %(default)s")
    parser.add_argument("--name", default=f"sm{uuid.uuid4().hex[:6]}", help="of the stacks, which must not exist")
    parser.add_argument("--keep", action="store_true", help="do not tear down")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--emulator", metavar="URL", help="rehearse there")
    args = parser.parse_args()
    args.patience = 1800
    return args


def main():
    args = command_line()
    os.environ |= {"AWS_REGION": args.region, "AWS_DEFAULT_REGION": args.region}
    most = sum(part[2] for part in PARTS)
    if most > args.budget:
        say(f"it can cost {most:.2f} dollars, more than --budget {args.budget:.2f}")
        return 2
    if args.emulator:
        os.environ["AWS_ENDPOINT_URL"] = args.emulator
        args.catalog = "sqlite"
    elif not args.yes:
        account = boto3.client("sts").get_caller_identity()["Account"]
        answer = input(f"Deploy to account {account}, {args.region}, for at most {most:.2f} dollars, and tear down? (yes) ")
        if answer.strip() != "yes":
            return 2
    args.binary = os.path.abspath(args.binary) if os.sep in args.binary else args.binary
    args.version = subprocess.run([args.binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        hour = Hour(args, folder)
        if taken := hour.taken():
            say(f"{', '.join(taken)}: there already, choose another --name")
            return 2
        try:
            hour.run()
        finally:
            args.report.write_text(hour.report.text())
            print(hour.report.text())
    say(f"the report is in {args.report}")
    return 1 if any(row[1] == "no" for row in hour.report.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
