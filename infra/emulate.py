#!/usr/bin/env python3
"""The templates in an emulator: deploy them, run the state machine, stand in for its compute, look at its bus.

    emulate.py deploy STACK [--set NAME=VALUE ...]      create the stacks STACK (data.yaml) and STACK-compute (compute.yaml)
    emulate.py update STACK [--set NAME=VALUE ...]      update them; parameters not named stay as they are
    emulate.py outputs STACK                            of both
    emulate.py execute STACK [--expect FAILED]          start the state machine and wait for its end
    emulate.py executions STACK [--count N]             wait until the state machine was started N times, by whomever
    emulate.py worker STACK --binary B --config F       take steps from the activity and run them with silversmith
    emulate.py package BUCKET KEY --binary B            upload B as a Lambda package, for --set CodeBucket= and CodeKey=
    emulate.py listen STACK [--detail-type T ...]       a new queue that gets what comes to the stack's bus
    emulate.py events QUEUE_URL [--count N]             wait for N events in such a queue
    emulate.py delete STACK [--data]                    delete the stacks; --data also what they retain

Each --set goes to the template that has a parameter of this name. `--without RESOURCE`, of deploy and update, leaves out
a resource that the emulator does not know.

It goes where AWS_ENDPOINT_URL says, with the region and credentials of the environment, and refuses to start without
one: --aws, before the command, means a real account (`worker` is of use there, with Compute=external).

They are deployed with Compute=external and Catalog=sqlite unless --set says otherwise, as LocalStack has no compute.
`worker` is the machine of one's own then: for each step it runs `B --config F STEP`. Exit 0 is the success of the step, with the lines that
it wrote; anything else is its failure: silversmith.Failed, or silversmith.Configuration for exit 2, which is not tried again.

stdout is JSON, one document (`worker`: one line for each step); stderr is talk. Every wait has an end (--timeout).
Exit 0: done, and as expected. 1: failed, or not as expected. 2: wrong usage.

Needs boto3 alone, which the environment that localstack/install.sh makes has.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
FOR_EMULATORS = {"Compute": "external", "Catalog": "sqlite"}
HEARTBEAT = 60  # seconds; the state machine gives up after five minutes without one


class Failed(Exception):
    """Ends the program with exit 1; the message says why."""


def say(text):
    print(f"emulate.py: {text}", file=sys.stderr, flush=True)


def show(document):
    print(json.dumps(document, default=str), flush=True)


def client(service, read_timeout=60):
    # Requests of CloudFormation go once: a second CreateStack only says that the first is there, not what was wrong with it.
    attempts = 1 if service == "cloudformation" else 3
    return boto3.client(service, config=Config(read_timeout=read_timeout, retries={"total_max_attempts": attempts}))


def wait_for(what, timeout, look):
    """The first result of `look` that is not None."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {timeout:g} s")
        time.sleep(0.25)


# --- the stack ----------------------------------------------------------------


def stacks_of(stack, folder=HERE):
    """Name and template of the two stacks: what stays, and what runs over it."""
    return [(stack, folder / "data.yaml"), (f"{stack}-compute", folder / "compute.yaml")]


def describe(stack):
    return client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]


def exists(stack):
    try:
        return describe(stack)["StackStatus"] != "DELETE_COMPLETE"
    except ClientError as error:
        # So it says that there is no stack of this name.
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return False


def outputs_of(stack):
    found = {}
    for name, _ in stacks_of(stack):
        if exists(name):
            found |= {one["OutputKey"]: one["OutputValue"] for one in describe(name).get("Outputs", [])}
    return found


def output(stack, name):
    value = outputs_of(stack).get(name)
    if value is None:
        raise Failed(f"stack {stack} has no output {name}")
    return value


def resources_of(stack):
    pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return [resource for page in pages for resource in page["StackResourceSummaries"]]


def report(stack, began):
    names = [name for name, _ in stacks_of(stack)]
    # Both have ended well, or this is not reached.
    show(
        {
            "stack": stack,
            "status": describe(names[-1])["StackStatus"],
            "seconds": round(time.monotonic() - began, 1),
            "outputs": outputs_of(stack),
            "resources": {one["LogicalResourceId"]: one["ResourceStatus"] for name in names for one in resources_of(name)},
        }
    )


def settled(stack, good, timeout):
    def look():
        found = describe(stack)
        if found["StackStatus"].endswith("_IN_PROGRESS"):
            return None
        return found

    status = wait_for(f"stack {stack}", timeout, look)["StackStatus"]
    if status not in good:
        for event in reversed(client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]):
            if event["ResourceStatus"].endswith("FAILED"):
                say(f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}")
        raise Failed(f"stack {stack} is {status} (what failed is above)")


def names_of_parameters(template):
    section = re.search(r"^Parameters:\n(.*?)^[A-Z]", template.read_text(), re.M | re.S)
    return set(re.findall(r"^  (\w+):$", section.group(1), re.M))


def settings_of(args):
    """What --set says, for each template; a name that none of them has is an error."""
    given = dict(args.set)
    shared = [(name, template, names_of_parameters(template)) for name, template in stacks_of(args.stack, args.templates)]
    unknown = set(given) - set().union(*(names for _, _, names in shared))
    if unknown:
        raise Failed(f"no template has a parameter {', '.join(sorted(unknown))}")
    return [(name, template, {one: given[one] for one in names & set(given)}, names) for name, template, names in shared]


def template_body(template, without):
    """The template, but for these resources. Nothing else may refer to them."""
    text = template.read_text()
    for resource in without:
        text = re.sub(rf"^  {resource}:\n(?:    .*\n|\n)+", "", text, flags=re.M)
    return text


def parameters(settings):
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in settings.items()]


def deploy(args):
    began = time.monotonic()
    for name, template, given, names in settings_of(args):
        defaults = {one: value for one, value in {**FOR_EMULATORS, "DataStack": args.stack}.items() if one in names}
        client("cloudformation").create_stack(
            StackName=name,
            TemplateBody=template_body(template, args.without),
            Parameters=parameters({**defaults, **given}),
            Capabilities=["CAPABILITY_IAM"],
            OnFailure=args.on_failure,
        )
        settled(name, ["CREATE_COMPLETE"], args.timeout)
        if not args.aws:
            fix_functions(name)
    report(args.stack, began)


def fix_functions(stack):
    """Compute=lambda in ministack, which runs the functions as processes on this machine.

    They need the emulator's address; and a number that is a parameter of the template comes to the event source
    mapping as text, over which its poller stumbles.
    """
    lambdas = client("lambda")
    for resource in resources_of(stack):
        name = resource["PhysicalResourceId"]
        if resource["ResourceType"] == "AWS::Lambda::Function":
            variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            variables["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]
            lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        elif resource["ResourceType"] == "AWS::Lambda::EventSourceMapping":
            limit = lambdas.get_event_source_mapping(UUID=name)["ScalingConfig"]["MaximumConcurrency"]
            lambdas.update_event_source_mapping(UUID=name, ScalingConfig={"MaximumConcurrency": int(limit)})


def update(args):
    """Only the stacks that --set concerns: an update that changes nothing is an error to CloudFormation."""
    began = time.monotonic()
    for name, template, given, _ in settings_of(args):
        if not given:
            continue
        there = {one["ParameterKey"]: one["ParameterValue"] for one in describe(name).get("Parameters", [])}
        client("cloudformation").update_stack(
            StackName=name,
            TemplateBody=template_body(template, args.without),
            Parameters=parameters({**there, **given}),
            Capabilities=["CAPABILITY_IAM"],
        )
        settled(name, ["UPDATE_COMPLETE"], args.timeout)
        if not args.aws:
            fix_functions(name)
    report(args.stack, began)


def outputs(args):
    show(outputs_of(args.stack))


def delete(args):
    # What imports goes before what exports.
    names = [name for name, _ in reversed(stacks_of(args.stack)) if exists(name)]
    resources = [one for name in names for one in resources_of(name)]
    buckets = [one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::S3::Bucket"]
    if args.data:
        # First: LocalStack does not know RetainExceptOnCreate, and cannot delete what holds objects.
        for bucket in there(buckets):
            empty(bucket)
    statuses = {name: delete_one(name, args.timeout) for name in names}
    retained = there(buckets)
    if args.data:
        for bucket in retained:
            # Again: workers that had nothing to do wrote checkpoints until they were gone.
            empty(bucket)
            client("s3").delete_bucket(Bucket=bucket)
    show({"stack": args.stack, "statuses": statuses, "retained": [] if args.data else retained})
    for name, status in statuses.items():
        if status != "DELETE_COMPLETE":
            raise Failed(f"stack {name} is {status}")


def there(buckets):
    found = {one["Name"] for one in client("s3").list_buckets()["Buckets"]}
    return [bucket for bucket in buckets if bucket in found]


def delete_one(stack, timeout):
    stack_id = describe(stack)["StackId"]
    client("cloudformation").delete_stack(StackName=stack)

    def gone():
        try:
            status = describe(stack_id)["StackStatus"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return "DELETE_COMPLETE"
        return None if status.endswith("_IN_PROGRESS") else status

    return wait_for(f"deletion of {stack}", timeout, gone)


def empty(bucket):
    s3 = client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
        if objects:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    say(f"bucket {bucket} is empty")


# --- the state machine --------------------------------------------------------


def execute(args):
    states = client("stepfunctions")
    execution = states.start_execution(stateMachineArn=output(args.stack, "StateMachineArn"), input=args.input)["executionArn"]

    def ended():
        found = states.describe_execution(executionArn=execution)
        return None if found["status"] == "RUNNING" else found

    try:
        found = wait_for(f"execution {execution}", args.timeout, ended)
    except Failed:
        show(summary(states, states.describe_execution(executionArn=execution)))
        states.stop_execution(executionArn=execution)
        raise
    show(summary(states, found))
    if found["status"] != args.expect:
        raise Failed(f"the execution is {found['status']}, not {args.expect}")


def summary(states, found):
    """What happened, state by state in the order of entry: a state that was retried has several attempts."""
    pages = states.get_paginator("get_execution_history").paginate(executionArn=found["executionArn"])
    passed = []
    for event in (event for page in pages for event in page["events"]):
        kind = event["type"]
        if kind.endswith("StateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            passed.append({"state": name, "attempts": 0, "errors": []})
        elif kind in ("ActivityScheduled", "TaskScheduled", "LambdaFunctionScheduled"):
            passed[-1]["attempts"] += 1
        elif kind in ("ActivityFailed", "ActivityTimedOut", "TaskFailed", "TaskTimedOut", "TaskSubmitFailed"):
            details = event.get(kind[0].lower() + kind[1:] + "EventDetails", {})
            passed[-1]["errors"].append({"error": details.get("error", kind), "cause": details.get("cause")})
    return {
        "execution": found["executionArn"],
        "status": found["status"],
        "error": found.get("error"),
        "cause": found.get("cause"),
        "states": passed,
        "output": json.loads(found["output"]) if found.get("output") else None,
    }


def executions(args):
    states = client("stepfunctions")
    machine = output(args.stack, "StateMachineArn")

    def look():
        found = states.list_executions(stateMachineArn=machine)["executions"]
        return found if len(found) >= args.count else None

    found = wait_for(f"{args.count} executions of {machine}", args.timeout, look)
    inputs = {one["executionArn"]: states.describe_execution(executionArn=one["executionArn"]).get("input") for one in found}
    show([{**{key: one[key] for key in ("executionArn", "status", "startDate")}, "input": inputs[one["executionArn"]]} for one in found])


# --- the compute --------------------------------------------------------------


def worker(args):
    if not os.access(args.binary, os.X_OK):
        raise Failed(f"{args.binary} is not there, or not to be run")
    # An idle GetActivityTask takes a minute on AWS; a shorter patience would lose tasks that were just given out.
    states = client("stepfunctions", read_timeout=75)
    activity = args.activity or output(args.stack, "StepsActivityArn")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # A step in work is finished first; the wait for the next one is not.
        signal.signal(number, lambda *_: stopping.set() if busy.is_set() else sys.exit(0))
    busy = threading.Event()
    done = 0
    idle_since = time.monotonic()
    say(f"waiting for steps of {activity}")
    while not stopping.is_set() and (args.steps is None or done < args.steps):
        if args.idle is not None and time.monotonic() - idle_since > args.idle:
            raise Failed(f"no step for {args.idle:g} s, after {done}")
        task = states.get_activity_task(activityArn=activity, workerName=f"emulate.py-{os.getpid()}")
        if not task.get("taskToken"):
            time.sleep(0.2)
            continue
        busy.set()
        show(run_step(states, task["taskToken"], json.loads(task["input"])["step"], args))
        busy.clear()
        done += 1
        idle_since = time.monotonic()


def run_step(states, token, step, args):
    command = [str(args.binary.resolve()), "--config", args.config, step]
    if step != "gold":
        # What is left behind does not hold up the next step.
        command.append("--lenient")
    say(f"{step}: {' '.join(command)}")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + args.timeout
    late = False
    while True:
        try:
            out, err = process.communicate(timeout=min(HEARTBEAT, max(0.1, deadline - time.monotonic())))
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                states.send_task_heartbeat(taskToken=token)
                continue
            process.kill()
            late = True
    sys.stderr.write(err)
    # The steps talk on stderr: their stdout is for data, of which they have none.
    lines = out.splitlines() + err.splitlines()
    if process.returncode == 0:
        states.send_task_success(taskToken=token, output=json.dumps({"step": step, "lines": lines}))
    else:
        error = "silversmith.Configuration" if process.returncode == 2 else "silversmith.Failed"
        cause = f"{step} was ended after {args.timeout:g} s" if late else (err.strip() or f"exit {process.returncode}")
        states.send_task_failure(taskToken=token, error=error, cause=cause[-32000:])
    return {"step": step, "exit": process.returncode, "lines": lines}


def package(args):
    s3 = client("s3")
    if args.bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=args.bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", compresslevel=1) as archive, archive.open(entry, "w") as target:
            with args.binary.open("rb") as source:
                shutil.copyfileobj(source, target)
        size = file.tell()
        file.seek(0)
        s3.put_object(Bucket=args.bucket, Key=args.key, Body=file)
    show({"bucket": args.bucket, "key": args.key, "bytes": size})


# --- the bus ------------------------------------------------------------------


def listen(args):
    name = f"{args.stack}-listen-{uuid.uuid4().hex[:8]}"
    sqs, events = client("sqs"), client("events")
    bus = output(args.stack, "EventBusName")
    pattern = {"source": ["silversmith"]}
    if args.detail_type:
        pattern["detail-type"] = args.detail_type
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))["RuleArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    show({"queue": url, "rule": rule})


def events(args):
    sqs = client("sqs")
    got = []

    def look():
        answer = sqs.receive_message(QueueUrl=args.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            got.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=args.queue, ReceiptHandle=message["ReceiptHandle"])
        return got if len(got) >= args.count else None

    try:
        wait_for(f"{args.count} events in {args.queue}", args.timeout, look)
    finally:
        show(got)


# --- the command line ---------------------------------------------------------


def setting(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"NAME=VALUE is wanted, not {text}")
    return name, value


def command_line():
    parser = argparse.ArgumentParser(
        prog="emulate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--aws", action="store_true", help="a real account, where AWS_ENDPOINT_URL is not set")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run, timeout, target="stack"):
        one = commands.add_parser(run.__name__)
        one.set_defaults(run=run)
        one.add_argument(target)
        one.add_argument("--timeout", type=float, default=timeout, metavar="SECONDS", help="default: %(default)s")
        return one

    for run in (deploy, update):
        one = command(run, 180)
        one.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE")
        one.add_argument("--without", action="append", default=[], metavar="RESOURCE")
        one.add_argument("--templates", type=Path, default=HERE, metavar="FOLDER", help="with data.yaml and compute.yaml")
        if run is deploy:
            one.add_argument("--on-failure", choices=["DO_NOTHING", "ROLLBACK", "DELETE"], default="DO_NOTHING")
    command(outputs, 30)
    one = command(delete, 180)
    one.add_argument("--data", action="store_true")
    one = command(execute, 180)
    one.add_argument("--input", default="{}")
    one.add_argument("--expect", default="SUCCEEDED", choices=["SUCCEEDED", "FAILED", "TIMED_OUT"])
    one = command(executions, 150)
    one.add_argument("--count", type=int, default=1)
    one = command(worker, 600)
    one.add_argument("--binary", type=Path, required=True)
    one.add_argument("--config", required=True)
    one.add_argument("--activity", metavar="ARN", help="instead of the stack's output StepsActivityArn")
    one.add_argument("--steps", type=int, metavar="N", help="end after so many steps, retries included")
    one.add_argument("--idle", type=float, metavar="SECONDS", help="exit 1 when no step has come for so long")
    one = command(package, 60, target="bucket")
    one.add_argument("key")
    one.add_argument("--binary", type=Path, required=True)
    one = command(listen, 30)
    one.add_argument("--detail-type", action="append")
    one = command(events, 30, target="queue")
    one.add_argument("--count", type=int, default=1)
    return parser.parse_args()


def main():
    args = command_line()
    if not args.aws and not os.environ.get("AWS_ENDPOINT_URL"):
        say("AWS_ENDPOINT_URL is not set: set it to the emulator's, or say --aws")
        return 2
    try:
        args.run(args)
    except (Failed, ClientError, BotoCoreError, OSError) as problem:
        # An error of CloudFormation may quote the whole template.
        text = str(problem)
        say(text if len(text) < 2000 else f"{text[:500]} ... {text[-500:]}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
