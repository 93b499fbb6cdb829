"""What cfn-lint does not ask of the templates: public access, TLS, encryption, least privilege, numbers that go together.

rules.py          the templates keep every rule
rules.py --test   each rule finds fault with templates that break it
"""

import copy
import sys

import templates
from templates import CATALOGS, COMPUTES, listed, stacks

# CreateStack takes as much as text; more would need a bucket to upload the template to, before there is any.
LIMIT = 51200
# One sitting.
LINES = 800
BATCHING_WINDOW = 300
ANYTHING = {"ecr:GetAuthorizationToken"}  # has no resource to name
KEPT = {
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::S3Tables::TableBucket",
    "AWS::S3Tables::Namespace",
}


def denies_without_tls(statement):
    said = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return statement["Effect"] == "Deny" and statement["Principal"] == "*" and str(said).lower() == "false"


def buckets(data, _):
    """S3 buckets are private, encrypted and versioned, and refuse what is not TLS."""
    policies = {one["Bucket"]: one["PolicyDocument"]["Statement"] for one in data.of_type("AWS::S3::BucketPolicy").values()}
    for name, bucket in data.of_type("AWS::S3::Bucket").items():
        blocked = bucket.get("PublicAccessBlockConfiguration", {})
        switches = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
        if not all(blocked.get(one) is True for one in switches):
            yield f"{name} does not block public access"
        if "BucketEncryption" not in bucket:
            yield f"{name} does not say how it is encrypted"
        if bucket.get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{name} is not versioned"
        rules = bucket["LifecycleConfiguration"]["Rules"]
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            yield f"{name} keeps uploads that are never completed"
        if not any("NoncurrentVersionExpiration" in rule for rule in rules):
            yield f"{name} keeps old versions for ever"
        denials = [one for one in policies.get(f"<{name}>", []) if denies_without_tls(one)]
        if not any(set(listed(one["Resource"])) == {f"<{name}.Arn>", f"<{name}.Arn>/*"} for one in denials):
            yield f"{name} takes requests without TLS"


def queues(data, _):
    """Queues are encrypted and refuse what is not TLS; a dead letter outlives the queue that it comes from."""
    covered = set()
    for policy in data.of_type("AWS::SQS::QueuePolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if denies_without_tls(statement):
                covered |= set(listed(statement["Resource"]))
    found = data.of_type("AWS::SQS::Queue")
    for name, queue in found.items():
        if queue.get("SqsManagedSseEnabled") is not True:
            yield f"{name} is not encrypted"
        if f"<{name}.Arn>" not in covered:
            yield f"{name} takes requests without TLS"
    raw, dead = found["RawQueue"], found["DeadLetters"]
    if dead["MessageRetentionPeriod"] <= raw["MessageRetentionPeriod"]:
        yield "DeadLetters loses messages as soon as RawQueue does"
    if raw["RedrivePolicy"]["maxReceiveCount"] < 10:
        yield "RawQueue makes dead letters of an outage"
    versions = data.parameters["RawVersionsDays"] * 86400
    if versions < dead["MessageRetentionPeriod"]:
        yield "RawBucket forgets a version while a dead letter names it"


def numbers(data, compute):
    """Visibility and timeout go together, as Lambda's documentation wants it."""
    wanted = 6 * compute.parameters["LambdaTimeout"] + BATCHING_WINDOW
    if data.parameters["QueueVisibility"] < wanted:
        yield f"QueueVisibility is less than {wanted} s, six times LambdaTimeout and the longest window"


def kept(data, compute):
    """What holds data outlives the stack, and a create that fails leaves nothing behind."""
    for stack in (data, compute):
        for name, one in stack.resources.items():
            if one["Type"] not in KEPT:
                continue
            if stack is compute:
                yield f"{name} holds data and is in compute.yaml"
            if one.get("DeletionPolicy") != "RetainExceptOnCreate":
                yield f"{name} goes with the stack, or keeps a first create from being repeated"
            if one.get("UpdateReplacePolicy") != "Retain":
                yield f"{name} goes with an update that replaces it"


def trusts(data, compute):
    """Nobody else's service can be made to use a role, a queue or a topic."""
    for name, role in compute.of_type("AWS::IAM::Role").items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            service = statement["Principal"]["Service"]
            # Lambda gives no source to the roles of functions.
            if service != "lambda.amazonaws.com" and "aws:SourceAccount" not in str(statement.get("Condition")):
                yield f"{name} trusts {service} on behalf of any account"
    kinds = ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    for name, policy in ((n, p) for kind in kinds for n, p in data.of_type(kind).items()):
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] != "Allow":
                continue
            if statement["Principal"] == "*":
                yield f"{name} allows anybody"
                continue
            service, actions = statement["Principal"]["Service"], listed(statement["Action"])
            # EventBridge does not support conditions in the policies of topics: with one, nothing is delivered.
            unconditional = service == "events.amazonaws.com" and actions == ["sns:Publish"]
            if unconditional and "Condition" in statement:
                yield f"{name} keeps EventBridge from publishing"
            if not unconditional and "aws:Source" not in str(statement.get("Condition")):
                yield f"{name} allows {service} on behalf of any account"


def privileges(data, compute):
    """No wildcard in an action, and none for a resource where an action has one."""
    for stack in (data, compute):
        for kind in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Role"):
            for name, statement in stack.statements(kind):
                actions = set(listed(statement["Action"]))
                if any("*" in action for action in actions):
                    yield f"{name} allows {sorted(actions)}"
                if "*" in listed(statement["Resource"]) and not actions <= ANYTHING:
                    yield f"{name} allows {sorted(actions)} on everything"


def computes(_, compute):
    """Nothing comes in; a task that exits at once is no success; a function can be replaced, and has room to spill."""
    for name, group in compute.of_type("AWS::EC2::SecurityGroup").items():
        if "SecurityGroupIngress" in group:
            yield f"{name} lets something in"
    for name, task in compute.of_type("AWS::ECS::TaskDefinition").items():
        if not all("HealthCheck" in one for one in task["ContainerDefinitions"]):
            yield f"{name} counts as started when it exits at once"
    for name, function in compute.of_type("AWS::Lambda::Function").items():
        if "FunctionName" in function:
            yield f"{name} has a name, so that it cannot change between zip and image"
        if function.get("EphemeralStorage", {}).get("Size", 0) < 1024:
            yield f"{name} has no room to spill"
    for name, source in compute.of_type("AWS::Lambda::EventSourceMapping").items():
        if source.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name} deletes messages that were reported as failed"


RULES = [buckets, queues, numbers, kept, trusts, privileges, computes]


def exports(found):
    """Every export is imported somewhere, and the other way round."""
    exported, imported = set(), set()
    for compute in COMPUTES:
        data, over = stacks(found, compute=compute)
        exported |= set(data.exported())
        imported |= over.imported
    for name in sorted(exported - imported):
        yield f"{name} is exported for nobody"


def faults(found):
    said = set(exports(found))
    for catalog in CATALOGS:
        for compute in COMPUTES:
            for notifications in ("s3", "eventbridge"):
                pair = stacks(found, catalog, compute, {"Notifications": notifications})
                said |= {fault for rule in RULES for fault in rule(*pair)}
    return sorted(said)


def sizes():
    for name in ("data", "compute"):
        text = (templates.INFRA / f"{name}.yaml").read_bytes()
        lines = text.count(b"\n")
        if len(text) > LIMIT or lines > LINES:
            yield f"{name}.yaml has {len(text)} bytes and {lines} lines, more than {LIMIT} or {LINES}"


# --- what is wrong is found ---------------------------------------------------


def change(path, value):
    """An edit of one template: `Resources.X.Properties.Y`; None takes it out."""

    def edit(found):
        *names, last = path
        for name in names:
            found = found[name]
        if value is None:
            del found[last]
        else:
            found[last] = value

    return edit


def of(template, resource, *path, to=None):
    return change((template, "Resources", resource, *path), to)


OPEN = {"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp"}
RULE = {"Fn::GetAtt": ["StepFailedRule", "Arn"]}
WRONG = [
    (of("data", "LakeBucket", "Properties", "PublicAccessBlockConfiguration", "BlockPublicPolicy", to=False), "public access"),
    (of("data", "RawBucket", "Properties", "BucketEncryption"), "encrypted"),
    (of("data", "LakeBucket", "Properties", "VersioningConfiguration"), "not versioned"),
    (of("data", "LakeBucketPolicy", "Properties", "PolicyDocument", "Statement", 0, "Condition"), "LakeBucket takes requests"),
    (of("data", "Undelivered", "Properties", "SqsManagedSseEnabled"), "Undelivered is not encrypted"),
    (of("data", "QueuePolicies", "Properties", "PolicyDocument", "Statement", 0, "Effect", to="Allow"), "without TLS"),
    (of("data", "RawQueue", "Properties", "MessageRetentionPeriod", to=1209600), "loses messages"),
    (of("data", "RawBucket", "DeletionPolicy", to="Retain"), "from being repeated"),
    (of("data", "Gold", "UpdateReplacePolicy"), "an update that replaces it"),
    (of("data", "TopicPolicy", "Properties", "PolicyDocument", "Statement", 0, "Condition"), "any account"),
    (of("data", "TopicPolicy", "Properties", "PolicyDocument", "Statement", 1, "Condition", to={"ArnEquals": RULE}), "publishing"),
    (of("data", "WorkerPolicy", "Properties", "PolicyDocument", "Statement", 0, "Action", to="s3:*"), "allows ['s3:*']"),
    (of("data", "WorkerPolicy", "Properties", "PolicyDocument", "Statement", 2, "Resource", to="*"), "on everything"),
    (change(("data", "Parameters", "QueueVisibility", "Default"), 1800), "less than 2100"),
    (of("compute", "TaskRole", "Properties", "AssumeRolePolicyDocument", "Statement", 0, "Condition"), "TaskRole trusts"),
    (of("compute", "TaskSecurityGroup", "Properties", "SecurityGroupIngress", to=[OPEN]), "lets something in"),
    (of("compute", "TaskDefinition", "Properties", "ContainerDefinitions", 0, "HealthCheck"), "exits at once"),
    (of("compute", "Function", "Properties", "FunctionName", to="x"), "has a name"),
    (of("compute", "MergeFunction", "Properties", "EphemeralStorage"), "no room"),
    (of("compute", "EventSource", "Properties", "FunctionResponseTypes"), "reported as failed"),
    (change(("data", "Outputs", "LakeBucketName", "Export"), {"Name": "x"}), "exported for nobody"),
]


def main():
    found = templates.read()
    if sys.argv[1:] == ["--test"]:
        for edit, expected in WRONG:
            wrong = copy.deepcopy(found)
            edit(wrong)
            said = faults(wrong)
            if not any(expected in fault for fault in said):
                sys.exit(f"rules.py: nothing says '{expected}': {said}")
        return
    said = [*sizes(), *faults(found)]
    if said:
        sys.exit("rules.py: " + "\nrules.py: ".join(said))


if __name__ == "__main__":
    main()
