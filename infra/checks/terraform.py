"""Compares the Terraform module with the templates: the same variables, resources, settings and permissions.

terraform.py          they agree, and the AWS provider has each argument that the module sets
terraform.py --test   what does not agree is found

The module is evaluated by the HCL library of Terraform, without a provider: what only AWS knows stays unknown.
provider.json lists the arguments and blocks of the provider's resources.
"""

import collections
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import templates
import tfparse
from templates import CATALOGS, COMPUTES, INFRA, listed, stacks

MODULE = INFRA / "terraform"
# What a resource of CloudFormation is in Terraform.
SAME = {
    "AWS::S3::Bucket": [
        "aws_s3_bucket",
        "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_versioning",
        "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_public_access_block",
        "aws_s3_bucket_lifecycle_configuration",
    ],
    "AWS::S3::BucketPolicy": ["aws_s3_bucket_policy"],
    "AWS::SQS::Queue": ["aws_sqs_queue", "aws_sqs_queue_policy"],
    "AWS::Events::Rule": ["aws_cloudwatch_event_rule", "aws_cloudwatch_event_target"],
    "AWS::Events::EventBus": ["aws_cloudwatch_event_bus"],
    "AWS::S3Tables::TableBucket": ["aws_s3tables_table_bucket"],
    "AWS::S3Tables::Namespace": ["aws_s3tables_namespace"],
    "AWS::IAM::ManagedPolicy": ["aws_iam_policy"],
    "AWS::IAM::Role": ["aws_iam_role"],
    "AWS::SNS::Topic": ["aws_sns_topic"],
    "AWS::SNS::TopicPolicy": ["aws_sns_topic_policy"],
    "AWS::SNS::Subscription": ["aws_sns_topic_subscription"],
    "AWS::CloudWatch::Alarm": ["aws_cloudwatch_metric_alarm"],
    "AWS::Logs::LogGroup": ["aws_cloudwatch_log_group"],
    "AWS::Logs::MetricFilter": ["aws_cloudwatch_log_metric_filter"],
    "AWS::ECS::Cluster": ["aws_ecs_cluster"],
    "AWS::ECS::TaskDefinition": ["aws_ecs_task_definition"],
    "AWS::ECS::Service": ["aws_ecs_service"],
    "AWS::EC2::SecurityGroup": ["aws_security_group"],
    "AWS::ApplicationAutoScaling::ScalableTarget": ["aws_appautoscaling_target"],
    "AWS::ApplicationAutoScaling::ScalingPolicy": ["aws_appautoscaling_policy"],
    "AWS::Lambda::Function": ["aws_lambda_function"],
    "AWS::Lambda::EventSourceMapping": ["aws_lambda_event_source_mapping"],
    "AWS::Lambda::EventInvokeConfig": ["aws_lambda_function_event_invoke_config"],
    "AWS::Lambda::Permission": ["aws_lambda_permission"],
    "AWS::StepFunctions::Activity": ["aws_sfn_activity"],
    "AWS::StepFunctions::StateMachine": ["aws_sfn_state_machine"],
    "AWS::Scheduler::Schedule": ["aws_scheduler_schedule"],
}
# In a template parts of another resource: a bucket's notification, the policies of a role, the queue's other policy.
PARTS = {"aws_s3_bucket_notification", "aws_iam_role_policy", "aws_iam_role_policy_attachment"}
INSIDE = {"AWS::SQS::QueuePolicy"}
# The policy documents of Terraform that say what a resource of the templates says.
DOCUMENTS = {
    "WorkerPolicy": ["worker"],
    "StepsPolicy": ["own_machines[0]"],
    "TaskExecutionRole": ["start_tasks"],
    "FunctionRole": ["function"],
    "StateMachineRole": ["state_machine", "invoke[0]", "run_tasks[0]"],
    "ScheduleRole": ["schedule"],
    "RawQueuePolicy": ["raw_queue"],
    "QueuePolicies": ["other_queues"],
    "TopicPolicy": ["topic"],
    "RawBucketPolicy": ['only_tls["raw"]'],
    "LakeBucketPolicy": ['only_tls["lake"]'],
}
# Settings by name, where both have one of the same meaning.
SETTINGS = [
    ("RawQueue.MessageRetentionPeriod", "aws_sqs_queue.raw", "message_retention_seconds"),
    ("RawQueue.VisibilityTimeout", "aws_sqs_queue.raw", "visibility_timeout_seconds"),
    ("RawQueue.ReceiveMessageWaitTimeSeconds", "aws_sqs_queue.raw", "receive_wait_time_seconds"),
    ("RawQueue.SqsManagedSseEnabled", "aws_sqs_queue.raw", "sqs_managed_sse_enabled"),
    ("DeadLetters.SqsManagedSseEnabled", "aws_sqs_queue.dead_letters", "sqs_managed_sse_enabled"),
    ("DeadLetters.MessageRetentionPeriod", "aws_sqs_queue.dead_letters", "message_retention_seconds"),
    ("Undelivered.SqsManagedSseEnabled", "aws_sqs_queue.undelivered", "sqs_managed_sse_enabled"),
    ("Undelivered.MessageRetentionPeriod", "aws_sqs_queue.undelivered", "message_retention_seconds"),
    ("MessageAgeAlarmed.Threshold", "aws_cloudwatch_metric_alarm.message_age", "threshold"),
    ("MessageAgeAlarmed.EvaluationPeriods", "aws_cloudwatch_metric_alarm.message_age", "evaluation_periods"),
    ("SilverLagAlarmed.Threshold", "aws_cloudwatch_metric_alarm.silver_lag", "threshold"),
    ("SilverLagAlarmed.Namespace", "aws_cloudwatch_metric_alarm.silver_lag", "namespace"),
    ("SilverLagAlarmed.EvaluationPeriods", "aws_cloudwatch_metric_alarm.silver_lag", "evaluation_periods"),
    ("StepsAlarmed.MetricName", "aws_cloudwatch_metric_alarm.steps", "metric_name"),
    ("Logs.LogGroupName", "aws_cloudwatch_log_group.logs", "name"),
    ("Logs.RetentionInDays", "aws_cloudwatch_log_group.logs", "retention_in_days"),
    ("SilverLag.FilterPattern", "aws_cloudwatch_log_metric_filter.silver_lag", "pattern"),
    ("TaskDefinition.Cpu", "aws_ecs_task_definition.worker[0]", "cpu"),
    ("TaskDefinition.Memory", "aws_ecs_task_definition.worker[0]", "memory"),
    ("Scaling.MinCapacity", "aws_appautoscaling_target.workers[0]", "min_capacity"),
    ("Scaling.MaxCapacity", "aws_appautoscaling_target.workers[0]", "max_capacity"),
    ("ScaleInWhenEmpty.EvaluationPeriods", "aws_cloudwatch_metric_alarm.scale_in_when_empty[0]", "evaluation_periods"),
    ("Function.MemorySize", 'aws_lambda_function.function["events"]', "memory_size"),
    ("Function.Timeout", 'aws_lambda_function.function["events"]', "timeout"),
    ("Function.PackageType", 'aws_lambda_function.function["events"]', "package_type"),
    ("Function.Runtime", 'aws_lambda_function.function["events"]', "runtime"),
    ("Function.EphemeralStorage.Size", 'aws_lambda_function.function["events"]', "ephemeral_storage.size"),
    ("MergeFunction.EphemeralStorage.Size", 'aws_lambda_function.function["merge"]', "ephemeral_storage.size"),
    ("EventSource.BatchSize", "aws_lambda_event_source_mapping.events[0]", "batch_size"),
    ("EventSource.MaximumBatchingWindowInSeconds", "aws_lambda_event_source_mapping.events[0]", "maximum_batching_window_in_seconds"),
    ("EventSource.FunctionResponseTypes", "aws_lambda_event_source_mapping.events[0]", "function_response_types"),
    ("MergeFailures.MaximumRetryAttempts", "aws_lambda_function_event_invoke_config.merge[0]", "maximum_retry_attempts"),
    ("Schedule.ScheduleExpression", "aws_scheduler_schedule.steps", "schedule_expression"),
    ("Schedule.State", "aws_scheduler_schedule.steps", "state"),
    ("Schedule.Target.RetryPolicy.MaximumRetryAttempts", "aws_scheduler_schedule.steps", "target.retry_policy.maximum_retry_attempts"),
]
# What uses a role as soon as it is made: it waits for what the role may do.
USERS = ["aws_ecs_service", "aws_lambda_event_source_mapping", "aws_sfn_state_machine"]
# Settings that the rules of the templates refuse.
REFUSED = [
    {"Catalog": "rest"},
    {"CatalogUrlSecretArn": "arn", "RestCredentialSecretArn": "arn"},
    {"Compute": "fargate", "Image": "image"},
    {"Compute": "fargate", "VpcId": "vpc-1", "Subnets": ["subnet-1"]},
    {"Compute": "lambda"},
    {"Compute": "lambda", "CodeKey": "key", "Image": "image"},
]
ADDED = {"__tfmeta", "id", "count", "for_each", "depends_on", "lifecycle", "provider"}
# The templates give text where Terraform wants a number.
NUMBERS = {"TaskCpu", "TaskMemory"}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def evaluate(module, settings):
    """{type: {address: its arguments}}, of resources and data."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.tfvars"
        file.write_text("".join(f"{snake(name)} = {json.dumps(value)}\n" for name, value in settings.items()))
        found = tfparse.load_from_path(
            str(module), stop_on_hcl_error=True, vars_paths=[os.path.relpath(file.resolve(), module.resolve())]
        )
    by_type = {}
    for kind, blocks in found.items():
        by_type[kind] = {one["__tfmeta"]["path"]: one for one in blocks}
    return by_type


def at(value, path):
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


# References that only AWS knows, and a text in their place.
REFERENCES = [
    (r"one\(aws_\w+\.\w+\[\*\]\.\w+\)", '"x"'),
    (r'aws_lambda_function\.function\["events"\]\.arn', '"x"'),
    (r"aws_security_group\.task\[\*\]\.id", '["x"]'),
    (r"aws_cloudwatch_event_bus\.bus\.name", '"x"'),
    (r"local\.partition", '"aws"'),
]


def definition(module, settings):
    """The state machine's definition, with a text for each reference."""
    with tempfile.TemporaryDirectory() as folder:
        text = (module / "steps.tf").read_text()
        # The locals and the definition, which is made an output of its own.
        local = re.search(r"^locals \{.*?^\}\n", text, re.M | re.S).group(0)
        made = re.search(r"definition = (jsonencode\(.*?^  \}\))\n", text, re.M | re.S).group(1)
        text = f'{local}\noutput "definition" {{\n  value = {made}\n}}\n'
        for reference, instead in REFERENCES:
            # Within a text it is the bare word.
            text = re.sub(rf"\$\{{{reference}\}}", instead.strip('"'), text)
            text = re.sub(reference, instead, text)
        (Path(folder) / "steps.tf").write_text(text)
        shutil.copy(module / "variables.tf", folder)
        on = {"fargate": "on_fargate", "lambda": "on_lambda", "external": "on_own_machines"}
        known = "".join(f"  {name} = {str(compute == settings['Compute']).lower()}\n" for compute, name in on.items())
        (Path(folder) / "on.tf").write_text(f"locals {{\n{known}}}\n")
        found = evaluate(Path(folder), settings)
        return json.loads(found["output"]["output.definition"]["value"])


def plain(value):
    """The same of a template: without its references."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return re.sub(r"<[^>]+>|^silversmith$", "x", value) if isinstance(value, str) else value


def states(found, module, compute):
    """The state machines do the same."""
    _, stack = stacks(found, compute=compute)
    machine = stack.resources["StateMachine"]["Properties"]
    wanted = json.loads(json.dumps(machine["Definition"]).replace("${Compute}", machine["DefinitionSubstitutions"]["Compute"]))
    there = definition(module, COMPUTES[compute])
    for name, wanted_state in wanted["States"].items():
        got = there["States"].get(name, {})
        for key in sorted(set(wanted_state) | set(got)):
            if plain(wanted_state.get(key)) != plain(got.get(key)):
                yield f"{compute}: state {name}: {key} is {got.get(key)!r} and not {wanted_state.get(key)!r}"


# --- what is compared ---------------------------------------------------------


def names(found, module):
    """Variables have the names and defaults of the parameters, outputs the names of the outputs."""
    parameters = {**found["data"]["Parameters"], **found["compute"]["Parameters"]}
    wanted = {snake(name): (name, one.get("Default", "")) for name, one in parameters.items() if name != "DataStack"}
    there = {path.removeprefix("variable."): one for path, one in module["variable"].items()}
    for name in sorted(set(wanted) ^ (set(there) - {"name"})):
        yield f"the variable or parameter {name} is on one side alone"
    for name, (parameter, default) in wanted.items():
        default = [] if parameter == "Subnets" else int(default) if parameter in NUMBERS else default
        if name in there and (there[name].get("default") or type(default)()) != default:
            yield f"the default of {name} is {there[name].get('default')!r} and not {default!r}"
    outputs = {snake(name) for one in found.values() for name in one["Outputs"]}
    # The templates export these for one another, or for the rehearsal.
    outputs -= {"raw_queue_name", "undelivered_arn", "event_bus_arn", "schedule_name", "task_role_arn", "function_role_arn"}
    for name in sorted(outputs ^ {path.removeprefix("output.") for path in module["output"]}):
        yield f"the output {name} is on one side alone"


def resources(pair, module):
    wanted = collections.Counter()
    for stack in pair:
        for one in stack.resources.values():
            if one["Type"] in INSIDE:
                continue
            if one["Type"] not in SAME:
                yield f"nothing is known of {one['Type']}"
            wanted.update(SAME.get(one["Type"], []))
    there = {kind: len(blocks) for kind, blocks in module.items() if kind.startswith("aws_") and not is_data(blocks)}
    for kind in sorted((set(wanted) | set(there)) - PARTS):
        if wanted[kind] != there.get(kind, 0):
            yield f"{there.get(kind, 0)} {kind}, where the templates have {wanted[kind]}"


def is_data(blocks):
    return any(block["__tfmeta"].get("type") == "data" for block in blocks.values())


def said(statement):
    """A statement of a template, without what only AWS knows."""
    condition = statement.get("Condition", {})
    variables = sorted((test, name) for test, values in condition.items() for name in values)
    return statement["Effect"], tuple(sorted(listed(statement["Action"]))), len(listed(statement["Resource"])), tuple(variables)


def said_by_terraform(statement):
    conditions = listed(statement.get("condition") or [])
    variables = sorted((one["test"], one["variable"]) for one in conditions)
    resources = statement.get("resources") or [None]
    return statement.get("effect", "Allow"), tuple(sorted(statement["actions"])), len(resources), tuple(variables)


def policies(pair, module):
    documents = module["aws_iam_policy_document"]
    for stack in pair:
        for name, one in stack.resources.items():
            if name not in DOCUMENTS:
                continue
            properties = one["Properties"]
            texts = [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
            texts += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
            wanted = collections.Counter(said(statement) for text in texts for statement in text["Statement"])
            paths = [f"data.aws_iam_policy_document.{one}" for one in DOCUMENTS[name]]
            blocks = [block for path in paths if path in documents for block in listed(documents[path]["statement"])]
            there = collections.Counter(said_by_terraform(block) for block in blocks)
            for statement, _ in ((wanted - there) + (there - wanted)).items():
                yield f"{name} and {DOCUMENTS[name][0]} differ in {statement}"


def preconditions(module):
    for block in (one for blocks in module.values() for one in blocks.values()):
        yield from listed(block.get("precondition") or [])
        yield from listed(at(block, "lifecycle.precondition") or [])


def refusals(found, folder):
    """The module refuses the settings that the rules of the templates refuse, and no other of the cases."""
    for settings in REFUSED + [{**CATALOGS[catalog], **COMPUTES[compute], **more} for catalog, compute, more in cases()]:
        by_templates = False
        for template in found.values():
            own = {name: value for name, value in settings.items() if name in template["Parameters"]}
            by_templates |= any(templates.Stack(template, own).refused())
        by_module = any(one["condition"] is not True for one in preconditions(evaluate(folder, settings)))
        if by_templates != by_module:
            yield f"{settings} is refused by the {'templates' if by_templates else 'module'} alone"


def waits(module):
    for kind in USERS:
        for path, block in module.get(kind, {}).items():
            if not block.get("depends_on"):
                yield f"{path} does not wait for what its role may do"


def settings(pair, module):
    there = {path: one for blocks in module.values() for path, one in blocks.items()}
    for path, address, argument in SETTINGS:
        name, _, path = path.partition(".")
        for stack in pair:
            if name not in stack.resources:
                continue
            wanted = at(stack.resources[name]["Properties"], path)
            got = at(there.get(address, {}), argument)
            if str(wanted) != str(got):
                yield f"{address}: {argument} is {got!r}, and {name} has {wanted!r}"


def arguments(module, provider):
    for kind, blocks in module.items():
        for path, block in blocks.items():
            section = "data" if block["__tfmeta"].get("type") == "data" else "resource"
            if kind.startswith("aws_"):
                if kind not in provider[section]:
                    yield f"{kind} is not in provider.json"
                    continue
                yield from arguments_of(path, block, provider[section][kind])


def arguments_of(path, block, schema):
    for name in sorted(set(block) - ADDED - set(schema)):
        yield f"{path} has no argument {name}"
    for name, one in schema.items():
        if one["required"] and name not in block:
            yield f"{path} lacks {name}"
        for below in listed(block.get(name) or []) if "block" in one else []:
            if isinstance(below, dict):
                yield from arguments_of(f"{path}.{name}", below, one["block"])


def cases():
    for compute in COMPUTES:
        yield "s3tables", compute, {"Notifications": "s3"}
    for catalog in CATALOGS:
        yield catalog, "external", {"Notifications": "eventbridge"}
    # Another's catalog, with a name as if it were Glue's.
    yield "glue, by REST", "external", {"RestUri": "https://glue.example.org/iceberg"}
    keys = {"RawKeyArn": "arn", "TableKeyArn": "arn", "SecretKeyArn": "arn", "AlarmEmail": "a@b", "ExistingRawBucket": "raw"}
    yield "postgres", "fargate", {**keys, "CatalogUrlSecretArn": "arn", "Notifications": "none"}


def faults(found, folder, provider):
    yield from names(found, evaluate(folder, {}))
    for compute in COMPUTES:
        yield from states(found, folder, compute)
    yield from refusals(found, folder)
    for catalog, compute, more in cases():
        module = evaluate(folder, {**CATALOGS[catalog], **COMPUTES[compute], **more})
        pair = stacks(found, catalog, compute, more)
        yield from resources(pair, module)
        yield from policies(pair, module)
        yield from settings(pair, module)
        yield from arguments(module, provider)
        yield from waits(module)


# --- what is wrong is found ---------------------------------------------------

WRONG = [
    ("raw.tf", "receive_wait_time_seconds  = 20", "receive_wait_time_secondz  = 20", "has no argument receive_wait_time_secondz"),
    ("raw.tf", "receive_wait_time_seconds  = 20", "receive_wait_time_seconds  = 2", "receive_wait_time_seconds is 2"),
    ("worker.tf", '"s3:GetObject", "s3:GetObjectVersion"', '"s3:GetObject", "s3:DeleteObject"', "WorkerPolicy and worker differ"),
    ("events.tf", "  comparison_operator = \"GreaterThanThreshold\"\n", "", "lacks comparison_operator"),
    ("lambda.tf", "    size = var.lambda_storage", "    size = 512", "ephemeral_storage.size is 512"),
    ("variables.tf", "default     = 2100", "default     = 1800", "default of queue_visibility"),
    ("versions.tf", r'can(regex("^https://glue\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/iceberg$", var.rest_uri))', 'startswith(var.rest_uri, "https://glue.")', "WorkerPolicy and worker differ"),
    ("outputs.tf", 'var.catalog != "rest" || var.rest_uri != ""', "true", "'rest'} is refused by the templates alone"),
    ("fargate.tf", "  depends_on = [aws_iam_role_policy.start_tasks, aws_iam_role_policy_attachment.task]\n", "", "workers.* does not wait"),
    ("outputs.tf", 'output "topic_arn"', 'output "topic"', "the output topic_arn"),
    ("steps.tf", 'variable = "iam:PassedToService"', 'variable = "iam:Passed"', "StateMachineRole and state_machine differ"),
    ("steps.tf", 'step == "gold" ? { End = true } : {},', 'step == "gold" ? { End = "true" } : {},', "state Gold: End is 'true'"),
    ("fargate.tf", 'resource "aws_security_group" "task" {\n  count       = local.on_fargate ? 1 : 0', 'resource "aws_security_group" "task" {', "aws_security_group"),
]


def test(found, provider):
    for name, right, wrong, expected in WRONG:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "terraform"
            shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns("examples"))
            text = (copy / name).read_text()
            if right not in text:
                sys.exit(f"terraform.py: {name} has no {right}")
            (copy / name).write_text(text.replace(right, wrong))
            if not any(re.search(expected, fault) for fault in faults(found, copy, provider)):
                sys.exit(f"terraform.py: nothing says '{expected}'")


def main():
    found, provider = templates.read(), json.loads((MODULE / "provider.json").read_text())
    if sys.argv[1:] == ["--test"]:
        return test(found, provider)
    said = set(faults(found, MODULE, provider))
    for example in sorted((MODULE / "examples").iterdir()):
        said.update(arguments(evaluate(example, {}), provider))
    if said:
        sys.exit("terraform.py: " + "\nterraform.py: ".join(sorted(said)))


if __name__ == "__main__":
    main()
