"""The selectors in kustomize's output: labels that an overlay adds reach every selector, or some of them, and
neither mistake is seen by a check of single objects. Prints a line for each overlay.
"""

import sys

from rendered import OVERLAYS, containers, objects


def selects(selector, labels):
    """Whether a label selector matches."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        if rule["operator"] != "In" or labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def look(overlay):
    items, _ = objects(overlay)
    pods = {item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"] for item, _ in containers(items)}
    nodes = {name for name in pods if "grapevine" in name}
    problems = []

    def expect(item, wanted, selector):
        found = {name for name, labels in pods.items() if selects(selector, labels)}
        if found != wanted:
            problems.append(f"{item['kind']} {item['metadata']['name']} selects {sorted(found)}, not {sorted(wanted)}")

    for item in items:
        kind, name, spec = item["kind"], item["metadata"]["name"], item.get("spec", {})
        own = {owner for owner in pods if owner == name.replace("-mesh", "")}
        if kind == "StatefulSet":
            expect(item, {name}, spec["selector"])
            constraints = spec["template"]["spec"].get("topologySpreadConstraints", [])
            for constraint in constraints:
                expect(item, {name}, constraint["labelSelector"])
            services = [other["metadata"]["name"] for other in items if other["kind"] == "Service"]
            if spec["serviceName"] not in services:
                problems.append(f"StatefulSet {name} names no Service: {spec['serviceName']}")
        elif kind == "Service" and "statefulset.kubernetes.io/pod-name" not in spec["selector"]:
            expect(item, own, {"matchLabels": spec["selector"]})
        elif kind == "Service":
            owner, _, number = spec["selector"]["statefulset.kubernetes.io/pod-name"].rpartition("-")
            sets = {item["metadata"]["name"]: item["spec"]["replicas"] for item, _ in containers(items)}
            if int(number) >= sets.get(owner, 0):
                problems.append(f"Service {name} is for a pod that {owner} does not have")
        elif kind == "PodDisruptionBudget":
            expect(item, own, spec["selector"])
        elif kind == "NetworkPolicy":
            expect(item, own, spec["podSelector"])
            for rule in spec["ingress"]:
                ports = {port["port"] for port in rule["ports"]}
                sources = [source["podSelector"] for source in rule.get("from", []) if "podSelector" in source]
                if ports & {"mesh", "client"}:
                    for source in sources:
                        expect(item, nodes, source)
    for problem in problems:
        print(f"{overlay}: {problem}", file=sys.stderr)
    return not problems


fine = [look(overlay) for overlay in OVERLAYS]
if not all(fine):
    sys.exit(1)
for overlay in OVERLAYS:
    print(f"ok {overlay}")
