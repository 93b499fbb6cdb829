"""The first hour on an account of stand-ins: what it makes has names of its own, and all of it goes at the end.

hour.py          it is so
hour.py --test   what is not so is found
"""

import argparse
import contextlib
import io
import json
import re
import sys
import tempfile
import types
from pathlib import Path

from botocore.exceptions import ClientError

INFRA = Path(__file__).resolve().parents[1]
TABLE_BUCKET = "arn:aws:s3tables:eu-west-1:123456789012:bucket/one-lake"
OUTPUTS = {"TableBucketArn": TABLE_BUCKET, "ConfigUri": "s3://one-lake/config", "WorkerPolicyArn": "w", "StepsPolicyArn": "s"}
OUTPUTS |= dict.fromkeys(("RawBucketName", "RawQueueUrl", "RawDlqUrl", "Checkpoints", "EventBusName", "Warehouse", "Catalog"), "x")


class Missing(Exception):
    """What a request names is not there."""


def refusal(code):
    return ClientError({"Error": {"Code": code, "Message": code}}, "a request")


class Account:
    """What is there: each client of it answers the few requests that the hour makes."""

    def __init__(self, stacks=("one", "one-compute"), databases=(), stuck=False):
        self.stacks, self.databases, self.stuck = set(stacks), set(databases), stuck
        self.buckets = {"one-raw": ["an object"], "one-lake": ["the configuration"]} if stacks else {}
        self.table_buckets = {TABLE_BUCKET} if stacks else set()
        self.roles, self.sessions = {"one-first-hour"}, 0
        self.exceptions = types.SimpleNamespace(NoSuchEntityException=Missing, EntityNotFoundException=Missing)

    def client(self, *_, **__):
        return self

    def get_paginator(self, operation):
        return types.SimpleNamespace(paginate=lambda **names: [getattr(self, operation)(**names)])

    def describe_stacks(self, StackName):
        if StackName not in self.stacks:
            raise refusal("ValidationError")
        outputs = OUTPUTS.items() if StackName == "one" else []
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in outputs]
        return {"Stacks": [{"StackId": StackName, "StackStatus": "DELETE_FAILED" if self.stuck else "CREATE_COMPLETE", "Outputs": outputs}]}

    def list_stack_resources(self, StackName):
        buckets = self.buckets if StackName == "one" else []
        return {"StackResourceSummaries": [{"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": one} for one in buckets]}

    def delete_stack(self, StackName):
        if not self.stuck:
            self.stacks.discard(StackName)
        # A worker writes a checkpoint until it is gone.
        if StackName == "one-compute":
            self.buckets["one-lake"].append("a checkpoint")

    def list_buckets(self):
        return {"Buckets": [{"Name": one} for one in self.buckets]}

    def list_object_versions(self, Bucket):
        return {"Versions": [{"Key": one, "VersionId": "1"} for one in self.buckets[Bucket]]}

    def delete_objects(self, Bucket, Delete):
        self.buckets[Bucket].clear()

    def delete_bucket(self, Bucket):
        if self.buckets[Bucket]:
            raise refusal("BucketNotEmpty")
        del self.buckets[Bucket]

    def list_tables(self, tableBucketARN):
        return {"tables": []}

    def list_namespaces(self, tableBucketARN):
        return {"namespaces": []}

    def delete_table_bucket(self, tableBucketARN):
        self.table_buckets.remove(tableBucketARN)

    def get_databases(self):
        return {"DatabaseList": [{"Name": one} for one in self.databases]}

    def delete_database(self, Name):
        if Name not in self.databases:
            raise Missing
        self.databases.remove(Name)

    def list_attached_role_policies(self, RoleName):
        return {"AttachedPolicies": []}

    def delete_role(self, RoleName):
        self.roles.discard(RoleName)

    def assume_role(self, RoleArn, RoleSessionName):
        self.sessions += 1
        return {"Credentials": dict.fromkeys(("AccessKeyId", "SecretAccessKey", "SessionToken"), f"session {self.sessions}")}


def loaded(sources, account):
    """emulate.py and first_hour.py, with the account behind their boto3."""
    found = {}
    for name in ("emulate", "first_hour"):
        found[name] = module = types.ModuleType(name)
        module.__file__ = str(INFRA / f"{name}.py")
        sys.modules[name] = module
        exec(compile(sources[name], module.__file__, "exec"), module.__dict__)
        module.boto3 = account
        module.say = lambda _: None
    return found["emulate"], found["first_hour"]


def hour(sources, account, catalog="s3tables"):
    """An hour on it, in which emulate.py runs in this process."""
    emulate, first_hour = loaded(sources, account)
    emulate.client = account.client
    args = argparse.Namespace(name="one", catalog=catalog, emulator=None, version="", region="eu-west-1")
    one = first_hour.Hour(args, tempfile.gettempdir())

    def run(command, name, *_, check=True):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            getattr(emulate, command)(argparse.Namespace(stack=name, data=True, timeout=5))
        return json.loads(text.getvalue())

    one.emulate = run
    return one


# --- what has to be so --------------------------------------------------------


def all_of_it_goes(sources):
    """Also where the stack of compute could not be made, so that nothing is known of the outputs."""
    for stacks in (("one", "one-compute"), ("one",)):
        account = Account(stacks)
        one = hour(sources, account)
        one.tear_down()
        for what in ("stacks", "buckets", "table_buckets", "roles"):
            if left := getattr(account, what):
                yield f"{what} are left, with the stacks {stacks}: {sorted(left)}"
        yield from (f"{row[0]}: {row[3]}" for row in one.report.rows if row[1] != "yes")


def one_failure_is_not_the_next(sources):
    account = Account(stuck=True)
    one = hour(sources, account)
    one.tear_down()
    if account.table_buckets:
        yield "the table bucket is left where a stack is"
    if "no" not in [row[1] for row in one.report.rows]:
        yield "a stack is left, and the report does not say so"


def others_databases_stay(sources):
    users = {"bronze", "silver", "gold"}
    account = Account(databases=users | {"one_bronze", "one_silver"})
    one = hour(sources, account, "glue")
    text = one.config()
    if tables := [name for name in users if f'"{name}.orders"' in text]:
        yield f"it writes into the databases {sorted(tables)} of others"
    one.tear_down()
    if account.databases != users:
        yield f"the databases that remain are {sorted(account.databases)}"


def what_exists_is_refused(sources):
    """It would go at the end."""
    for account, expected in [
        (Account(("one",)), ["stack one"]),
        (Account((), databases=["one_gold", "gold"]), ["Glue database one_gold"]),
        (Account(()), []),
    ]:
        if (found := hour(sources, account, "glue").taken()) != expected:
            yield f"taken are {found} and not {expected}"


def the_session_is_renewed(sources):
    account = Account()
    one = hour(sources, account)
    one.outputs, one.role = OUTPUTS, "arn"
    one.assume()
    one.environment()
    one.taken_at -= 40 * 60
    if one.environment()["AWS_SESSION_TOKEN"] != "session 2" or account.sessions != 2:
        yield "the session of the role ends within the hour"


CHECKS = [all_of_it_goes, one_failure_is_not_the_next, others_databases_stay, what_exists_is_refused, the_session_is_renewed]


def faults(sources):
    for check in CHECKS:
        yield from check(sources)


# --- what is wrong is found ---------------------------------------------------

WRONG = [
    ("emulate", "            empty(bucket)\n            client", "            client", "BucketNotEmpty"),
    ("first_hour", "        self.outputs = self.outputs or self.emulate(\"outputs\", self.name, check=False)\n", "", "table_buckets are left"),
    ("first_hour", 'with self.report.step("the tables are gone"):', 'if self.report.rows[-1][1] == "yes":', "where a stack is"),
    ("first_hour", "text.replace(f\"{layer.upper()}.\", f\"{namespace}.\")", "text.replace(f\"{layer.upper()}.\", f\"{layer}.\")", "of others"),
    ("first_hour", "glue.delete_database(Name=name)", "pass", "databases that remain"),
    ("first_hour", "if emulate.exists(name)]", "if 0]", "taken are"),
    ("first_hour", "time.monotonic() - self.taken_at > SESSION", "0", "the session of the role"),
]


def test(sources):
    for name, right, wrong, expected in WRONG:
        if right not in sources[name]:
            sys.exit(f"hour.py: {name}.py has no {right}")
        changed = {**sources, name: sources[name].replace(right, wrong)}
        if not any(re.search(expected, fault) for fault in faults(changed)):
            sys.exit(f"hour.py: nothing says '{expected}'")


def main():
    sources = {name: (INFRA / f"{name}.py").read_text() for name in ("emulate", "first_hour")}
    if sys.argv[1:] == ["--test"]:
        return test(sources)
    if found := list(faults(sources)):
        sys.exit("hour.py: " + "\nhour.py: ".join(found))


if __name__ == "__main__":
    main()
