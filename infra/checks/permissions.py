"""Compares the policy of a worker with the calls that record.py has seen.

permissions.py          each recorded call is allowed, and little else is
permissions.py --test   what is missing, and what is too much, is found
"""

import copy
import fnmatch
import json
import re
import sys
from pathlib import Path

import templates
from templates import listed, stacks

CALLS = Path(__file__).resolve().parent / "calls.json"
# The action that allows an operation, where it is not of the same name.
S3_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
}
# Data in S3 Tables is read and written by requests of S3 that actions of S3 Tables allow.
TABLE_ACTIONS = {"GetObject": "s3tables:GetTableData", "HeadObject": "s3tables:GetTableData", "PutObject": "s3tables:PutTableData"}
TABLE_ARN = "<TableBucket.TableBucketARN>"
LAKE, RAW = "<LakeBucket.Arn>", "arn:aws:s3:::<RawBucket>"
GLUE = "arn:aws:glue:eu-west-1:123456789012:"
# Allowed, and not among what was recorded.
UNRECORDED = {
    "s3:AbortMultipartUpload": "an upload of a large file that failed",
    "s3:GetObject": "a raw bucket without versions; some listings read before an event comes",
    "sqs:ChangeMessageVisibility": "a batch that takes longer than half of its visibility, and messages that are released",
    "s3tables:GetTableBucket": "the REST endpoint",
    "s3tables:GetNamespace": "the REST endpoint",
    "s3tables:GetTable": "the REST endpoint",
    "s3tables:ListNamespaces": "the list of tables, of `check` and `sql`",
    "s3tables:ListTables": "the same; and whether a table that is denied is there",
    "glue:GetDatabase": "the REST endpoint",
    "glue:GetCatalog": "the REST endpoint",
    "kms:Decrypt": "no stand-in encrypts",
    "kms:GenerateDataKey": "no stand-in encrypts",
}


def of_s3(operation, area):
    action = S3_ACTIONS.get(operation, f"s3:{operation}")
    if area == "table":
        return TABLE_ACTIONS[operation], f"{TABLE_ARN}/table/x"
    if action in ("s3:ListBucket", "s3:ListBucketMultipartUploads"):
        return action, "<RawBucket.Arn>" if area == "raw" else LAKE
    return action, f"{RAW}/orders/1.csv" if area == "raw" else f"{LAKE}/{area}/x"


def needed(call):
    """Pairs of an action and a resource, all of which AWS may check, of a recorded call."""
    service, operation, area = re.fullmatch(r"(\w+):(\w+)(?:@(\w+))?", call).groups()
    if service == "s3":
        pairs = [of_s3(operation, area)]
        if operation.startswith("GetObject") and area != "table":
            # Without it, what is not there is denied instead of missed.
            pairs.append(("s3:ListBucket", "<RawBucket.Arn>" if area == "raw" else LAKE))
        return pairs
    if service == "sqs":
        queue = {"queue": "<RawQueue.Arn>", "dlq": "<DeadLetters.Arn>"}[area]
        return [(f"sqs:{operation.removesuffix('Batch')}", queue)]
    if service == "events":
        return [(call, "<Bus.Arn>")]
    if service == "glue":
        ending = ["catalog", "database/bronze"] + (["table/bronze/orders"] if operation.endswith(("Table", "Tables")) else [])
        return [(call, GLUE + one) for one in ending]
    # Of a table that is yet to be made, AWS may check the bucket.
    both = operation in ("CreateTable", "GetTableMetadataLocation", "UpdateTableMetadataLocation")
    return [(call, TABLE_ARN), *([(call, f"{TABLE_ARN}/table/x")] if both else [])]


def allows(statements, action, resource):
    return any(
        action in listed(statement["Action"])
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        for statement in statements
    )


def faults(found, recorded):
    used, allowed = set(), set()
    for catalog, of_catalog in recorded.items():
        data, _ = stacks(found, catalog)
        statements = [statement for _, statement in data.statements()]
        calls = {call for calls in of_catalog["calls"].values() for call in calls}
        for call in sorted(calls):
            for action, resource in needed(call):
                used.add(action)
                if not allows(statements, action, resource):
                    yield f"{catalog}: {call} needs {action} on {resource}"
        allowed |= {action for statement in statements for action in listed(statement["Action"])}
    for action in sorted(allowed - used - set(UNRECORDED)):
        yield f"{action} is allowed, and no recorded call needs it"


def main():
    found, recorded = templates.read(), json.loads(CALLS.read_text())
    if sys.argv[1:] != ["--test"]:
        said = list(faults(found, recorded))
        if said:
            sys.exit("permissions.py: " + "\npermissions.py: ".join(said))
        return
    statements = found["data"]["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    for index, statement in enumerate(statements):
        if "Fn::If" in statement and statement["Fn::If"][0] in ("HasRawKey", "HasTableKey"):
            continue
        wrong = copy.deepcopy(found)
        del wrong["data"]["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]["Statement"][index]
        if not any("needs" in fault for fault in faults(wrong, recorded)):
            sys.exit(f"permissions.py: nothing is missed without {statement}")
    wrong = copy.deepcopy(found)
    wrong["data"]["Resources"]["WorkerPolicy"]["Properties"]["PolicyDocument"]["Statement"].append(
        {"Sid": "TooMuch", "Effect": "Allow", "Action": "s3tables:DeleteTable", "Resource": "x"}
    )
    if "s3tables:DeleteTable is allowed, and no recorded call needs it" not in faults(wrong, recorded):
        sys.exit("permissions.py: does not see what is too much")


if __name__ == "__main__":
    main()
