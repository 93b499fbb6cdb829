"""data.yaml and compute.yaml as CloudFormation would see them: parameters set, conditions decided, functions resolved.

What only AWS knows stays a text: a resource is <Name>, its attribute <Name.Attribute>.
"""

import re
from pathlib import Path

import yaml

INFRA = Path(__file__).resolve().parents[1]
STACK = "silversmith"
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": STACK,
}
NOTHING = object()  # AWS::NoValue


class Loader(yaml.SafeLoader):
    """With the short forms of CloudFormation's functions."""


def short_form(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if name == "Fn::GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", short_form)


def load(text):
    return yaml.load(text, Loader)


def read(folder=INFRA):
    return {name: load((folder / f"{name}.yaml").read_text()) for name in ("data", "compute")}


class Stack:
    """A template with its parameters set."""

    def __init__(self, template, parameters, exports=None):
        self.template, self.exports = template, exports
        defaults = {name: one.get("Default") for name, one in template["Parameters"].items()}
        unknown = set(parameters) - set(defaults)
        if unknown:
            raise KeyError(f"no parameter {unknown}")
        self.parameters = {**defaults, **parameters}
        self.imported = set()
        found = template["Resources"].items()
        self.resources = {name: self.resolve(one) for name, one in found if self.holds(one.get("Condition"))}
        outputs = template["Outputs"].items()
        self.outputs = {name: self.resolve(one) for name, one in outputs if self.holds(one.get("Condition"))}

    def holds(self, condition):
        return condition is None or self.decide(self.template["Conditions"][condition])

    def decide(self, condition):
        (function, arguments), = condition.items()
        if function == "Condition":
            return self.holds(arguments)
        if function == "Fn::Equals":
            left, right = (str(self.resolve(one)) for one in arguments)
            return left == right
        if function == "Fn::Not":
            return not self.decide(arguments[0])
        if function == "Fn::And":
            return all(self.decide(one) for one in arguments)
        if function == "Fn::Or":
            return any(self.decide(one) for one in arguments)
        if function == "Fn::Contains":
            values, value = (self.resolve(one) for one in arguments)
            return value in listed(values)
        raise ValueError(f"the condition {function} is not known here")

    def refused(self):
        """What the rules of the template say against its parameters."""
        for rule in self.template.get("Rules", {}).values():
            if self.decide(rule["RuleCondition"]):
                yield from (one["AssertDescription"] for one in rule["Assertions"] if not self.decide(one["Assert"]))

    def resolve(self, value):
        if isinstance(value, list):
            found = [self.resolve(one) for one in value]
            return [one for one in found if one is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (function, arguments), = value.items()
            if function == "Ref":
                return self.reference(arguments)
            if function == "Fn::GetAtt":
                return f"<{'.'.join(arguments)}>"
            if function == "Fn::If":
                condition, then, otherwise = arguments
                return self.resolve(then if self.holds(condition) else otherwise)
            if function == "Fn::Sub":
                return self.substitute(arguments)
            if function == "Fn::ImportValue":
                name = self.resolve(arguments)
                self.imported.add(name)
                return name if self.exports is None else self.exports[name]
        found = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if one is not NOTHING}

    def reference(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        return self.parameters[name] if name in self.parameters else f"<{name}>"

    def substitute(self, arguments):
        text, variables = (arguments, {}) if isinstance(arguments, str) else arguments

        def one(match):
            name = match.group(1)
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in variables:
                return str(self.resolve(variables[name]))
            return f"<{name}>" if "." in name else str(self.reference(name))

        return re.sub(r"\$\{([^}]+)\}", one, text)

    def of_type(self, kind):
        return {name: one.get("Properties", {}) for name, one in self.resources.items() if one["Type"] == kind}

    def exported(self):
        return {one["Export"]["Name"]: one["Value"] for one in self.outputs.values() if "Export" in one}

    def statements(self, kind="AWS::IAM::ManagedPolicy"):
        """The statements of each policy of this type, and those inside of roles."""
        for name, properties in self.of_type(kind).items():
            documents = [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
            documents += [one["PolicyDocument"] for one in properties.get("Policies", [])]
            for document in documents:
                for statement in document["Statement"]:
                    yield name, statement


def listed(value):
    return value if isinstance(value, list) else [value]


# A value for each parameter that has to be set with another.
COMPUTES = {
    "external": {"Compute": "external"},
    "fargate": {"Compute": "fargate", "Image": "image", "VpcId": "vpc-1", "Subnets": ["subnet-1"]},
    "lambda": {"Compute": "lambda", "CodeBucket": "bucket", "CodeKey": "key", "MergeIn": "event"},
}
GLUE_REST = "https://glue.eu-west-1.amazonaws.com/iceberg"
TABLE_BUCKET = "arn:aws:s3tables:eu-west-1:123456789012:bucket/lake"
CATALOGS = {
    "s3tables": {"Catalog": "s3tables"},
    "s3tables, by REST": {"Catalog": "rest", "RestUri": "https://x", "TableBucketArn": TABLE_BUCKET},
    "glue": {"Catalog": "glue"},
    "glue, by REST": {"Catalog": "rest", "RestUri": GLUE_REST},
    "postgres": {"Catalog": "postgres"},
    "sqlite": {"Catalog": "sqlite"},
}


def stacks(templates, catalog="s3tables", compute="external", more=()):
    """Both stacks, for a catalog and a compute of the above; `more` sets further parameters."""
    more = dict(more)

    def settings(template, base):
        own = {name: value for name, value in more.items() if name in template["Parameters"]}
        return {**base, **own}

    data = Stack(templates["data"], settings(templates["data"], CATALOGS[catalog]))
    base = {"DataStack": STACK, **COMPUTES[compute]}
    return data, Stack(templates["compute"], settings(templates["compute"], base), data.exported())
