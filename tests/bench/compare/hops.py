"""Two nodes in a row: a request enters at the first and is answered behind the second.

All of them authenticate each other with certificates of one authority, which `grapevine ca` made.
"""

import base64
import subprocess

from compare.processes import free_port
from compare.rivals import (Place, Rival, grapevine_keys, grapevine_upstreams, grapevine_version, nginx_upstream,
                            start_grapevine, start_haproxy, start_nginx, version)

MESH = "bench"
# The name that every certificate of a mesh bears.
DNS_NAME = f"any.{MESH}.grapevine.internal"


def make_certificates(program, directory):
    """Certificates for entry and owner, once per folder."""
    folder = directory / "certificates"
    if folder.exists():
        return folder
    commands = [["init", "--out", folder, "--mesh", MESH]]
    commands += [["issue", "--ca", folder, "--name", name, "--out", folder] for name in ("entry", "owner")]
    for command in commands:
        subprocess.run([program, "ca", *map(str, command)], check=True, capture_output=True, timeout=60)
    for name in ("entry", "owner"):
        # nginx and HAProxy read a certificate and its key from one file.
        both = (folder / f"{name}.pem").read_text() + plain_key((folder / f"{name}.key").read_text())
        (folder / f"{name}.both").write_text(both)
    return folder


def plain_key(pem):
    """An Ed25519 key as OpenSSL reads it: PKCS#8 without the public key, which `grapevine ca` puts in."""
    der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))
    before = bytes.fromhex("04220420")
    start = der.index(before) + len(before)
    der = bytes.fromhex("302e020100300506032b6570") + before + der[start:start + 32]
    return f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE KEY-----\n"


def grapevine_meshes(program, directory):
    """The sections `mesh` of entry and owner, each of which joins the other."""
    folder = make_certificates(program, directory)
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("entry", "owner")}

    def mesh(own, other):
        return {"mesh": {
            "name": MESH, "listen": addresses[own], "advertise": addresses[own], "seeds": [addresses[other]],
            "tls": {"ca": str(folder / "mesh-ca.pem"), "cert": str(folder / f"{own}.pem"),
                    "key": str(folder / f"{own}.key")}}}

    return mesh("entry", "owner"), mesh("owner", "entry")


def grapevine_hop(program, name="grapevine"):
    def launch(place):
        of_entry, of_owner = grapevine_meshes(program, place.directory)
        inner = Place(place.processes, place.directory, free_port(), place.upstream, place.connections)
        owner = start_grapevine(program, inner, "owner", grapevine_upstreams(inner) | of_owner)
        entry = start_grapevine(program, place, "entry", grapevine_keys() | of_entry)
        return [entry, owner]

    return Rival(name, grapevine_version(program), launch)


def nginx_hop(programs):
    program = programs["nginx"]

    def launch(place):
        folder = make_certificates(programs["grapevine"], place.directory)
        between = free_port()
        owner = Place(place.processes, place.directory, between, place.upstream, place.connections)
        inner = start_nginx(program, owner, nginx_upstream(f"127.0.0.1:{place.upstream}") + f"""
server {{ listen 127.0.0.1:{between} ssl; ssl_protocols TLSv1.3;
ssl_certificate {folder}/owner.both; ssl_certificate_key {folder}/owner.both;
ssl_client_certificate {folder}/mesh-ca.pem; ssl_verify_client on;
location / {{ proxy_pass http://next; }} }}
""")
        outer = start_nginx(program, place, nginx_upstream(f"127.0.0.1:{between}") + f"""
server {{ listen 127.0.0.1:{place.port}; location / {{ proxy_pass https://next;
proxy_ssl_protocols TLSv1.3; proxy_ssl_certificate {folder}/entry.both; proxy_ssl_certificate_key {folder}/entry.both;
proxy_ssl_trusted_certificate {folder}/mesh-ca.pem; proxy_ssl_verify on; proxy_ssl_name {DNS_NAME};
proxy_ssl_server_name on; }} }}
""")
        return outer + inner

    return Rival("nginx-h1", version([program, "-v"], r"nginx/(\S+)") + ", HTTP/1.1 over TLS", launch)


def haproxy_hop(programs, protocol):
    program = programs["haproxy"]
    offered = {"h1": "http/1.1", "h2": "h2"}[protocol]

    def launch(place):
        folder = make_certificates(programs["grapevine"], place.directory)
        between = free_port()
        owner = Place(place.processes, place.directory, between, place.upstream, place.connections)
        trust = f"ca-file {folder}/mesh-ca.pem verify required alpn {offered}"
        inner = start_haproxy(program, owner, f"""
listen owner
  bind 127.0.0.1:{between} ssl crt {folder}/owner.both {trust}
  server upstream 127.0.0.1:{place.upstream}
""")
        outer = start_haproxy(program, place, f"""
listen entry
  bind 127.0.0.1:{place.port}
  server owner 127.0.0.1:{between} ssl crt {folder}/entry.both {trust} sni str({DNS_NAME}) verifyhost {DNS_NAME}
""")
        return outer + inner

    label = {"h1": "HTTP/1.1", "h2": "HTTP/2"}[protocol]
    return Rival(f"haproxy-{protocol}", version([program, "-v"], r"version (\S+)") + f", {label} over TLS", launch)
