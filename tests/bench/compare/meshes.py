"""Several nodes behind each of which clients send requests under one key: grapevine's mesh, and LiteLLM over a Redis."""

import hashlib
import json
import shutil
import subprocess
import time
import time
from dataclasses import dataclass

from compare.packages import Debian
from compare.processes import Failure, await_port, end_of_log, free_port
from compare.rivals import RIVALS, grapevine_version, package_version, version

MODEL = "gpt-4o"
MESH = "bench"
# Python reads much before it listens.
START_DEADLINE = 600


@dataclass(frozen=True)
class Key:
    """A client's key; `rpm` is None where it is not limited."""

    name: str
    rpm: int | None

    @property
    def secret(self):
        return "sk-" + hashlib.sha256(self.name.encode()).hexdigest()


@dataclass
class Nodes:
    """What runs: its name with its version, what it needs beside, the ports of its nodes."""

    name: str
    beside: str
    ports: list
    processes: list


def start_mock(processes, binary):
    """An upstream that answers at once."""
    port = free_port()
    processes.start("mock", [binary, "mock", "--listen", f"127.0.0.1:{port}", "--name", "mock", "--model", MODEL,
                             "--chunks", "8"])
    await_port(port)
    return port


def grapevine(processes, directory, binary, upstream, keys, count):
    names = [f"node-{index}" for index in range(count)]
    mesh_ports, ports = [free_port() for _ in names], [free_port() for _ in names]
    for command in [["init", "--out", directory, "--mesh", MESH]] + [
            ["issue", "--ca", directory, "--name", name, "--out", directory] for name in names]:
        subprocess.run([binary, "ca", *map(str, command)], check=True, capture_output=True, timeout=60)
    running = []
    for name, mesh_port, port in zip(names, mesh_ports, ports):
        config = {
            "node": {"name": name, "region": name}, "listen": f"127.0.0.1:{port}", "workers": 1,
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            "upstreams": [{"name": "mock", "base_url": f"http://127.0.0.1:{upstream}/v1", "models": [MODEL]}],
            "keys": [grapevine_key(key) for key in keys], "limits": {"nodes": names},
        }
        if count > 1:
            config["mesh"] = {
                "name": MESH, "listen": f"127.0.0.1:{mesh_port}", "advertise": f"127.0.0.1:{mesh_port}",
                "seeds": [f"127.0.0.1:{other}" for other in mesh_ports if other != mesh_port],
                "tls": {"ca": str(directory / "mesh-ca.pem"), "cert": str(directory / f"{name}.pem"),
                        "key": str(directory / f"{name}.key")}}
        path = directory / f"{name}.yaml"
        path.write_text(json.dumps(config))
        running.append(processes.start(name, [binary, "node", "-c", path]))
    await_ports(ports, running)
    return Nodes(f"grapevine {grapevine_version(binary)}", "nothing", ports, running)


def grapevine_key(key):
    written = {"name": key.name, "hash": "sha256:" + hashlib.sha256(key.secret.encode()).hexdigest()}
    return written | ({"rpm": key.rpm} if key.rpm else {})


# LiteLLM keeps virtual keys in Postgres; the hook that it documents for keys of one's own gives them to the same
# limiter without one.
CUSTOM_AUTH = """from litellm.proxy._types import UserAPIKeyAuth

KEYS = {keys!r}


async def user_api_key_auth(request, api_key):
    if api_key not in KEYS:
        raise Exception("no such key")
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=KEYS[api_key])
"""


def litellm(processes, directory, upstream, keys, count):
    """LiteLLM's processes with one worker each, and the Redis that they share."""
    program, reason = RIVALS["litellm"][0].install()
    if reason:
        raise Failure(f"litellm is absent: {reason}")
    redis, reason = redis_server()
    if reason:
        raise Failure(f"redis-server is absent: {reason}")
    redis_port = free_port()
    running = [processes.start("redis", [redis, "--port", redis_port, "--bind", "127.0.0.1", "--save", "",
                                         "--dir", directory])]
    await_port(redis_port)
    (directory / "custom_auth.py").write_text(CUSTOM_AUTH.format(keys={key.secret: key.rpm for key in keys}))
    config = directory / "litellm.yaml"
    config.write_text(json.dumps({
        "model_list": [{"model_name": MODEL, "litellm_params": {
            "model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}}],
        "general_settings": {"custom_auth": "custom_auth.user_api_key_auth",
                             "coordination_redis": {"host": "127.0.0.1", "port": redis_port}}}))
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
                   # It does not start without one; no client here has it.
                   "LITELLM_MASTER_KEY": Key("operator", None).secret}
    ports = [free_port() for _ in range(count)]
    for index, port in enumerate(ports):
        running.append(processes.start(f"litellm-{index}", [
            program, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", "1",
            "--telemetry", "False"], environment))
    await_ports(ports, running)
    redis_version = version([redis, "--version"], r"v=(\S+)")
    beside = f"Redis {redis_version}; keys by custom_auth, no Postgres"
    return Nodes(f"LiteLLM {package_version(program, 'litellm')}", beside, ports, running)


def await_ports(ports, running):
    """Until something listens on each; a process that ends meanwhile is a failure, with its last words."""
    end = time.monotonic() + START_DEADLINE
    for port in ports:
        while True:
            try:
                await_port(port, 1)
                break
            except Failure:
                ended = [process for process in running if process.poll() is not None]
                if ended or time.monotonic() > end:
                    logs = "\n".join(end_of_log(process) for process in ended or running)
                    raise Failure(f"nothing listens on port {port}:\n{logs}") from None


def redis_server():
    found = shutil.which("redis-server")
    return (found, None) if found else Debian("redis-server").install()


def resident_bytes(process):
    """What a process has in memory now."""
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


