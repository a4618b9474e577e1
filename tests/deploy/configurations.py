"""Every configuration under deploy/ passes `grapevine check`, as each node has it: with its own environment, its own
certificate, and the files where they are mounted. Prints a line for each node.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rendered import GRAPEVINE, LAYOUTS, OVERLAYS, ROOT, containers, is_node, objects, pod_environment, prepared, project

HASH = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
SECRETS = {
    "upstream-url": "https://api.example.com/v1", "upstream-api-key": "sk-upstream", "app-key-hash": HASH,
    "admin-token": "a-token-long-enough", "queue-password": "a-password",
}


# systemd (StateDirectory), the image and the pods' volumes make the folder; this machine has it only by chance.
STATE = "is in a folder that does not exist; make it before the start: mkdir -p /var/lib/grapevine"


def check(label, config, environment, *, serves):
    """Ends the program unless the node's configuration has neither problems nor warnings."""
    clean = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run([GRAPEVINE, "check", "--config", config], env=clean, capture_output=True, text=True)
    output = done.stdout + done.stderr
    lines = [line for line in output.splitlines() if STATE not in line]
    if done.returncode or any("warning" in line for line in lines):
        sys.exit(f"{label}: {output}")
    if f"serves    {serves}\n" not in output:
        sys.exit(f"{label}: serves something else than {serves}: {output}")
    print(f"ok {label}")


def issue(scratch, node, folder):
    """A certificate of a CA that all here have in common."""
    ca = scratch / "ca"
    if not ca.exists():
        subprocess.run([GRAPEVINE, "ca", "init", "--out", ca, "--mesh", "production"], check=True, capture_output=True)
    words = [GRAPEVINE, "ca", "issue", "--ca", ca, "--name", node, "--out", folder, "--force"]
    subprocess.run(words, check=True, capture_output=True)
    shutil.copy2(ca / "mesh-ca.pem", folder)


def machines(scratch):
    variables = {}
    for line in (ROOT / "deploy/systemd/grapevine.env").read_text().splitlines():
        if line and not line.startswith("#"):
            name, value = line.split("=", 1)
            variables[name] = value
    for config in sorted((ROOT / "deploy/vm").glob("*.yaml")):
        node_folder = scratch / "vm" / config.stem
        issue(scratch, config.stem, node_folder / "mesh")
        shutil.copy2(config, node_folder / "grapevine.yaml")
        check(f"vm/{config.name}", node_folder / "grapevine.yaml", variables, serves="requests, all services")


SERVES = {
    None: "requests, all services", "!": "requests, no services", "*": "no requests, all services",
    "workflow:process": "no requests, workflow:process", "async-task:process": "no requests, async-task:process",
}


def compose(scratch):
    for queue in ["sqlite", "jetstream", "postgres"]:
        folder = prepared(scratch, queue)
        for layout in LAYOUTS:
            for name, service in project(folder, layout)["services"].items():
                if not is_node(service):
                    continue
                node_folder = scratch / queue / layout / name
                node_folder.mkdir(parents=True)
                for volume in service["volumes"]:
                    if volume["type"] == "bind":
                        inside = Path(volume["target"]).relative_to("/etc/grapevine")
                        (node_folder / inside).symlink_to(volume["source"])
                environment = service["environment"]
                mode = environment.get("WORKER_MODE")
                check(f"compose/{layout} {queue} {name}", node_folder / "node.yaml", environment, serves=SERVES[mode])


def kubernetes(scratch):
    for overlay in OVERLAYS:
        items, _ = objects(overlay)
        configs = {item["metadata"]["name"]: item["data"] for item in items if item["kind"] == "ConfigMap"}
        for item, container in containers(items):
            environment = pod_environment(item, container, SECRETS)
            if container["name"] != "grapevine":
                continue
            node_folder = scratch / "kubernetes" / overlay / item["metadata"]["name"]
            issue(scratch, environment["POD_NAME"], node_folder / "mesh")
            (node_folder / "config").mkdir()
            volumes = item["spec"]["template"]["spec"]["volumes"]
            config = next(volume["configMap"]["name"] for volume in volumes if volume["name"] == "config")
            (node_folder / "config/node.yaml").write_text(configs[config]["node.yaml"])
            mode = environment.get("WORKER_MODE")
            label = f"kubernetes/{overlay} {environment['POD_NAME']}"
            check(label, node_folder / "config/node.yaml", environment, serves=SERVES[mode])


with tempfile.TemporaryDirectory(prefix="grapevine-configurations-") as name:
    machines(Path(name))
    compose(Path(name))
    kubernetes(Path(name))
