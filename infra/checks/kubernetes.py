"""Checks the manifests of docs/kubernetes.md against Kubernetes' schemas.

kubernetes.py          they are valid, and name one another
kubernetes.py --test   what is wrong is found
"""

import re
import sys

import kubernetes_validate
import yaml
from templates import INFRA

PAGE = INFRA.parent / "docs" / "kubernetes.md"
# The oldest and the newest of which the page speaks.
VERSIONS = ["1.31", "1.37"]
WITHOUT_SCHEMA = {"keda.sh/v1alpha1": {"ScaledObject", "TriggerAuthentication"}}
VARIABLES = {"AWS_REGION", "SILVERSMITH_CONFIG", "RAW_BUCKET", "RAW_QUEUE_URL", "RAW_DLQ_URL", "CHECKPOINTS", "CATALOG", "EVENT_BUS"}


def manifests(text):
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S):
        yield from yaml.safe_load_all(block)


def pods(found):
    for one in found:
        spec = one.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            yield one, template


def by_schema(found):
    for one in found:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] in WITHOUT_SCHEMA.get(one["apiVersion"], ()):
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}, {version}: {'.'.join(map(str, error.path))}: {error.message}"


def by_name(found):
    there = {(one["kind"], one["metadata"]["name"]) for one in found}
    labels = [template["metadata"]["labels"] for _, template in pods(found)]
    for one in found:
        name = f"{one['kind']} {one['metadata']['name']}"
        spec = one.get("spec", {})
        target = spec.get("scaleTargetRef")
        if target and (target.get("kind", "Deployment"), target["name"]) not in there:
            yield f"{name} scales what is not there"
        for selector in (spec.get("selector"), spec.get("podSelector")):
            if selector and selector["matchLabels"] not in labels:
                yield f"{name} selects no pod"
        for trigger in spec.get("triggers", []):
            if not {"queueURL", "awsRegion"} <= set(trigger["metadata"]):
                yield f"{name} lacks the queue or its region"
            if ("TriggerAuthentication", trigger["authenticationRef"]["name"]) not in there:
                yield f"{name} takes credentials that are not there"
    for one, template in pods(found):
        containers = template["spec"].get("initContainers", []) + template["spec"]["containers"]
        for container in containers:
            for source in container.get("envFrom", []):
                if ("ConfigMap", source["configMapRef"]["name"]) not in there:
                    yield f"{one['kind']} {one['metadata']['name']} reads a ConfigMap that is not there"
        if not template["spec"]["securityContext"]["runAsNonRoot"]:
            yield f"{one['kind']} {one['metadata']['name']} may run as root"
        if one["kind"] == "Deployment" and not all("livenessProbe" in each and "readinessProbe" in each for each in containers):
            yield f"{one['kind']} {one['metadata']['name']} has no probes"
    for one in found:
        if one["kind"] == "ConfigMap" and not set(one["data"]) >= VARIABLES:
            yield f"ConfigMap {one['metadata']['name']} lacks {sorted(VARIABLES - set(one['data']))}"


def faults(text):
    found = list(manifests(text))
    return [*by_schema(found), *by_name(found)]


WRONG = [
    ("failureThreshold: 24", "failureTreshold: 24", "failureTreshold"),
    ("kind: Deployment\n    name: silversmith", "kind: Deployment\n    name: other", "scales what is not there"),
    ("      app: silversmith\n  strategy", "      app: other\n  strategy", "selects no pod"),
    ("  EVENT_BUS: silversmith\n", "", "EVENT_BUS"),
    ("path: /readyz", "path: 1", "not of type"),
    ("      awsRegion: eu-west-1\n", "", "its region"),
]


def main():
    text = PAGE.read_text()
    if sys.argv[1:] == ["--test"]:
        for right, wrong, expected in WRONG:
            said = faults(text.replace(right, wrong, 1))
            if right not in text or not any(expected in fault for fault in said):
                sys.exit(f"kubernetes.py: nothing says '{expected}': {said}")
        return
    said = faults(text)
    if said or len(list(manifests(text))) < 9:
        sys.exit("kubernetes.py: " + ("\nkubernetes.py: ".join(said) or "most manifests are gone"))


if __name__ == "__main__":
    main()
