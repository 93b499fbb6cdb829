"""Makes what the pipeline of silversmith.toml needs, at the endpoint of the environment, and uploads examples/flights.

Safe to run again: what is there is brought to the same settings, and the files are uploaded once more, which makes
new versions and new events.
"""

import json
import sys
from pathlib import Path

import boto3

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "flights"
BUCKET = "raw-zone"
LAKE = "lake"
QUEUE = "raw-events"
DEAD_LETTERS = "raw-events-dlq"
PREFIX = "flights/"
DAY = 24 * 60 * 60

s3 = boto3.client("s3")
sqs = boto3.client("sqs")


def say(text):
    print(f"load.py: {text}", file=sys.stderr)


def bucket(name):
    try:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
        say(f"bucket {name} made")
    except s3.exceptions.BucketAlreadyOwnedByYou:
        say(f"bucket {name} is there")


def queue(name, attributes):
    """The queue's URL and ARN. The settings go separately: creating a queue that has others is an error."""
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    say(f"queue {name}: {url}")
    return url, arn


def main():
    bucket(BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    bucket(LAKE)

    _, dead_letters = queue(DEAD_LETTERS, {"MessageRetentionPeriod": str(14 * DAY)})
    url, events = queue(
        QUEUE,
        {
            "VisibilityTimeout": "60",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_letters, "maxReceiveCount": 10}),
        },
    )
    account = events.split(":")[4]
    allow_bucket = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": events,
                "Condition": {
                    "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{BUCKET}"},
                    "StringEquals": {"aws:SourceAccount": account},
                },
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(allow_bucket)})
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "Id": "new-files",
                    "QueueArn": events,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": PREFIX}]}},
                }
            ]
        },
    )
    say(f"s3:ObjectCreated:* of {BUCKET}/{PREFIX} goes to {QUEUE}")

    files = sorted(EXAMPLES.rglob("*.csv"))
    if not files:
        sys.exit(f"load.py: no CSV files in {EXAMPLES}")
    for file in files:
        key = PREFIX + file.relative_to(EXAMPLES).as_posix()
        s3.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes(), ContentType="text/csv")
        say(f"s3://{BUCKET}/{key}")
    say(f"{len(files)} files uploaded")


if __name__ == "__main__":
    main()
