"""The files under deploy/ as the real tools render them: Compose's projects, kustomize's objects.

Run with the Python of tests/.env/deploy, which has those tools.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests/.env/deploy/bin"
LAYOUTS = ["regions", "split-three", "split-four"]
OVERLAYS = ["regions/sgp", "regions/usa", "regions/eur", "split-three", "split-four"]
GRAPEVINE = os.environ["GRAPEVINE_BIN"]


def tool(name, *words, **options):
    """What a tool prints; ends with its complaint when it has one."""
    done = subprocess.run([TOOLS / name, *words], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{name} {' '.join(map(str, words))}: {done.stderr or done.stdout}")
    return done.stdout


def prepared(scratch, queue):
    """deploy/ as it is after deploy/compose/prepare."""
    copy = scratch / queue / "deploy"
    shutil.copytree(ROOT / "deploy", copy, ignore=shutil.ignore_patterns("geo", ".env", "mesh"))
    folder = scratch / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "grapevine").unlink(missing_ok=True)
    (folder / "grapevine").symlink_to(GRAPEVINE)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run([copy / "compose/prepare", queue], env=environment, check=True, stdout=subprocess.DEVNULL)
    return copy / "compose"


def project(folder, layout):
    """The Compose project of a layout, with all its profiles."""
    words = ["--file", f"{layout}.yaml", "--profile", "*", "config", "--format", "json"]
    return json.loads(tool("docker-compose", *words, cwd=folder, env={"PATH": os.environ["PATH"]}))


def is_node(service):
    return "node" in (service.get("command") or [])


def objects(overlay):
    """The Kubernetes objects of an overlay, and their YAML."""
    text = tool("kubectl", "kustomize", ROOT / "deploy/kubernetes/overlays" / overlay)
    return [item for item in yaml.safe_load_all(text) if item], text


def containers(items):
    """Of every StatefulSet: the object, and its containers."""
    for item in items:
        if item["kind"] == "StatefulSet":
            for container in item["spec"]["template"]["spec"]["containers"]:
                yield item, container


def pod_environment(item, container, secrets):
    """The variables of the first pod of a StatefulSet, filled in as the kubelet does: from what stands before."""
    known = {}
    for entry in container["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            value = {"metadata.name": f"{item['metadata']['name']}-0", "status.podIP": "10.1.2.3"}[
                source["fieldRef"]["fieldPath"]
            ]
        elif "secretKeyRef" in source:
            value = secrets[source["secretKeyRef"]["key"]]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), entry["value"])
        if "$(" in value:
            sys.exit(f"{item['metadata']['name']}: {entry['name']} refers to what stands behind it: {value}")
        known[entry["name"]] = value
    return known
