"""grapevine with each feature that requests can notice alone, beside itself without any."""

from compare.rivals import AUTHORIZATION, grapevine, grapevine_keys

# An address that the built-in countries place in Germany.
CLIENT = "x-forwarded-for: 91.64.0.1"
TRUST = {"trusted_proxies": ["127.0.0.0/8"]}
GEO = TRUST | {"routing": {"strategy": "geo"}, "geo": {"map": [{"countries": ["DE"], "region": "grapevine"}]}}
RESIDENCY = TRUST | {"residency": [{"clients": ["EU"], "regions": ["grapevine"]}]}


def tracing(place):
    """Every request is sampled. The upstream takes the spans; it answers whatever is posted."""
    return {"tracing": {"otlp": {"endpoint": f"http://127.0.0.1:{place.upstream}"}}}


def variants(program):
    made = {
        "none": (lambda place: {}, []),
        "one worker": (lambda place: {"workers": 1}, []),
        "keys": (lambda place: grapevine_keys(), [AUTHORIZATION]),
        "geo": (lambda place: GEO, [CLIENT]),
        "residency": (lambda place: RESIDENCY, [CLIENT]),
        "tracing": (tracing, []),
        "all": (lambda place: grapevine_keys() | GEO | RESIDENCY | tracing(place), [AUTHORIZATION, CLIENT]),
    }
    return [grapevine(program, name, config, headers) for name, (config, headers) in made.items()]
