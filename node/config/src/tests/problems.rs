//! Broken configurations, each with the exact words.

use grapevine_core::ids::ModelName;
use grapevine_keys::rights::KeyWeight;

use super::*;
use crate::checked::ProxyProtocol;

/// A loopback listener, so that no warning about keys comes with it.
const HEAD: &str =
    "listen: 127.0.0.1:8080\nupstreams:\n  - name: a\n    base_url: http://127.0.0.1:1/v1\n";

fn with_head(rest: &str) -> Vec<String> {
    problems(&format!("{HEAD}{rest}"))
}

#[test]
fn unknown_key_suggests_the_nearest() {
    assert_eq!(
        with_head("    base_ulr: x\nruoting: {}\nfrobnicate: 1\n"),
        [
            "5:5: upstreams[0].base_ulr: is not a known key; did you mean base_url?",
            "6:1: ruoting: is not a known key; did you mean routing?",
            "7:1: frobnicate: is not a known key; remove it; known here are accounts, admin, cors, dns, drain, forward, geo, issued_keys, keys, \
             ledger, limits, listen, log, mesh, node, oidc, open, prices, proxy_protocol, residency, routing, tasks, tls, tracing, \
             trusted_proxies, upstreams, usage, worker_mode, workers",
        ]
    );
}

/// A DNS section after a head that gives the node a public address.
fn with_dns(section: &str) -> Vec<String> {
    let node = "node: {public: {addresses: [203.0.113.5]}}";
    with_head(&format!("{node}\ndns: {{{section}}}\n"))
}

#[test]
fn dns_needs_a_zone_that_is_a_domain_name() {
    let form = "write a domain name such as api.example.net";
    assert_eq!(
        with_dns("listen: 127.0.0.1:5353"),
        ["6:6: dns.zone: is missing; write zone: and its value"]
    );
    assert_eq!(
        with_dns("zone: https://api.example.net"),
        [format!(
            "6:13: dns.zone: https://api.example.net must hold letters, digits, '-', '_' and dots alone; {form}"
        )]
    );
    assert_eq!(
        with_dns("zone: api..net"),
        [format!(
            "6:13: dns.zone: api..net has a label that is empty, longer than 63 bytes, or begins or ends with '-'; {form}"
        )]
    );
}

#[test]
fn dns_answers_are_kept_for_a_second_to_a_day() {
    let range = "must be from 1s to 24h; write a duration in that range";
    for (ttl, problem) in [
        ("500ms", format!("500ms {range}")),
        ("25h", format!("25h {range}")),
        (
            "1500ms",
            "1500ms is not in whole seconds; write a duration such as 30s".to_owned(),
        ),
    ] {
        assert_eq!(
            with_dns(&format!("zone: a.example, ttl: {ttl}")),
            [format!("6:29: dns.ttl: {problem}")]
        );
    }
}

#[test]
fn dns_shares_no_address() {
    assert_eq!(
        with_dns("zone: a.example, listen: 127.0.0.1:8080"),
        ["6:32: dns.listen: 127.0.0.1:8080 is listen too; use another port"]
    );
    assert_eq!(
        with_dns("zone: a.example, listen: 127.0.0.1:9090"),
        ["6:32: dns.listen: 127.0.0.1:9090 is admin.listen too; use another port"]
    );
    assert_eq!(
        with_dns("zone: a.example, listen: 127.0.0.1:7171}\nmesh: {listen: 127.0.0.1:7171"),
        ["6:32: dns.listen: 127.0.0.1:7171 is mesh.listen too; use another port"]
    );
}

#[test]
fn name_server_in_the_zone_must_be_a_node() {
    assert_eq!(
        with_dns(
            "zone: a.example, name_servers: [ns1.a.example, eur-1.node.a.example, ns.b.example]"
        ),
        [
            "6:39: dns.name_servers[0]: ns1.a.example lies in the zone, which has no address for it; \
             name NODE.node.ZONE, or a name outside of the zone"
        ]
    );
    assert_eq!(
        with_dns("zone: a.example, name_servers: []"),
        ["6:38: dns.name_servers: has 0 names; list 1 to 8 names, or remove the list"]
    );
}

#[test]
fn dns_without_public_addresses_is_warned_of() {
    let yaml = format!("{HEAD}dns: {{zone: a.example}}\n");
    assert_eq!(
        warnings(&yaml),
        [
            "5:6: dns: answers with other nodes only, since node.public.addresses is missing; \
             write the addresses at which clients and resolvers reach this node"
        ]
    );
}

#[test]
fn public_addresses_that_all_nodes_would_have_to_carry_are_bounded() {
    let addresses = ["203.0.113.5"; 9].join(", ");
    let path = "u".repeat(300);
    assert_eq!(
        with_head(&format!(
            "node: {{public: {{url: 'http://h/{path}', addresses: [{addresses}]}}}}\n"
        )),
        [
            "5:22: node.public.url: has 309 bytes, over 256; write a shorter one",
            "5:346: node.public.addresses: has 9 items, over 8; remove some",
        ]
    );
}

#[test]
fn rule_for_a_country_that_does_not_exist_is_refused() {
    let form = "write a code of two letters such as SG or GB, a group (EU, EEA), or a continent such as asia";
    assert_eq!(
        with_head(
            "residency: [{clients: [DE, UK], regions: [local]}]\ngeo: {map: [{countries: [Asia, X], region: local}]}\n"
        )[..2],
        [
            format!(
                "5:28: residency[0].clients[1]: UK is not a known country, group or continent; {form}"
            ),
            format!(
                "6:32: geo.map[0].countries[1]: X is not a known country, group or continent; {form}"
            ),
        ]
    );
}

#[test]
fn rule_that_could_mean_none_is_refused() {
    let empty = "is empty; list at least one, or remove the list where it may be left out";
    assert_eq!(
        with_head("residency: [{clients: [], regions: []}, {keys: [app]}]\n"),
        [
            format!("5:23: residency[0].clients: {empty}"),
            format!("5:36: residency[0].regions: {empty}"),
            "5:41: residency[1].regions: is missing; write regions: and its value".to_owned(),
        ]
    );
}

#[test]
fn rule_with_unknown_names_is_warned_of() {
    let yaml = format!(
        "{HEAD}routing: {{strategy: geo}}\ngeo: {{map: [{{countries: [EU], region: eur}}]}}\n\
         residency: [{{clients: [EU], keys: [app], regions: [eur, local, eru]}}]\n"
    );
    assert_eq!(
        warnings(&yaml),
        [
            "7:36: residency[0].keys[0]: app is not the name of a key here; \
             check the name; the rule still holds for keys of other nodes",
            "7:64: residency[0].regions[2]: eru is named neither by node.region nor in geo.map; \
             check the name, or add the region to the map",
        ]
    );
}

#[test]
fn geography_is_shown_as_it_was_written() {
    let section = "geo: {map: [{countries: [SG, EU, asia], region: local}], unknown: open}\n\
                   residency: [{clients: [EEA], models: [gpt-4o], regions: [local]}]\n";
    let config = good(&format!("{HEAD}{section}"));
    let dump = config.dump();
    assert_eq!(dump["geo"]["map"][0]["countries"][1], "EU");
    assert_eq!(dump["geo"]["unknown"], "open");
    let again = good(&config.dump_yaml());
    assert_eq!((again.geo, again.residency), (config.geo, config.residency));
}

#[test]
fn broken_yaml_names_the_position() {
    assert_eq!(
        problems("node:\n  name: a\n bad: [1, 2\n"),
        [
            "3:2: is not valid YAML: while parsing a block mapping, did not find expected key; mend the line, or the one above it; \
             check indentation, quotes and brackets"
        ]
    );
    assert_eq!(
        problems("- a\n- b\n"),
        ["1:1: is not a map of keys and values; write keys, such as listen: 0.0.0.0:8080"]
    );
}

#[test]
fn wrong_kinds_are_distinguished() {
    assert_eq!(
        problems(
            "listen: [a]\nupstreams: primary\nrouting: fast\nworkers: many\nlimits: {in_flight: \"5\"}\n"
        ),
        [
            "1:9: listen: must be a text, not a list; write a single value",
            "2:12: upstreams: must be a list, not a single value; write [a, b], or one line with a dash for each",
            "3:10: routing: must be a map of keys and values, not a single value; \
             write the keys on lines of their own, indented",
            "4:10: workers: many is not a whole number; write digits, such as 8",
            "5:21: limits.in_flight: must be a number, not a text; remove the quotes",
        ]
    );
}

#[test]
fn unknown_word_suggests_the_nearest() {
    assert_eq!(
        with_head("routing: {strategy: latancy, hedge: on}\n"),
        [
            "5:21: routing.strategy: latancy is not known here; did you mean latency? \
             Known are latency, geo, priority, weighted, least-busy",
            "5:37: routing.hedge: on is not known here; use off",
        ]
    );
}

#[test]
fn missing_required_key_is_named() {
    assert_eq!(
        problems("upstreams:\n  - models: [a]\n"),
        [
            "2:5: upstreams[0].base_url: is missing; write base_url: and its value",
            "2:5: upstreams[0].name: is missing; write name: and its value",
        ]
    );
}

#[test]
fn probe_interval_must_be_longer_than_its_timeout() {
    assert_eq!(
        with_head("    health: {interval: 3s}\n"),
        [
            "5:24: upstreams[0].health.interval: 3s must be longer than the timeout (5s); \
             raise the interval or lower the timeout"
        ]
    );
    assert_eq!(
        good(&format!("{HEAD}    health: {{interval: 3s, probe: off}}\n"))
            .upstreams
            .len(),
        1
    );
    assert_eq!(
        good(&format!("{HEAD}    health: {{interval: 5001ms}}\n"))
            .upstreams
            .len(),
        1
    );
}

#[test]
fn durations_and_sizes_need_a_unit() {
    assert_eq!(
        with_head(
            "    timeout: {connect: 2, idle: 5 minutes}\nlimits: {body: 10M, header_size: 1KiB}\n"
        ),
        [
            "5:24: upstreams[0].timeout.connect: 2 must have a unit; write a number and a unit: 250ms, 2s, 10m",
            "5:33: upstreams[0].timeout.idle: 5 minutes has an unknown unit; \
             write a duration such as 5m, or off for no limit",
            "6:16: limits.body: 10M has an unknown unit; write a number and a unit: 64KiB, 32MiB",
            "6:34: limits.header_size: 1KiB must be from 8KiB to 1MiB; write a size in that range",
        ]
    );
}

#[test]
fn memory_for_bodies_must_hold_two_of_the_largest() {
    assert_eq!(
        problems("limits: {body: 200MiB, body_memory: 300MiB}\n"),
        [
            "1:37: limits.body_memory: 300MiB must be from 400MiB to 1024GiB; write a size in that range"
        ]
    );
    let memory = |yaml| good(yaml).limits.body_memory.to_string();
    assert_eq!(memory("limits: {body: 200MiB}\n"), "400MiB");
    assert_eq!(memory("limits: {body: 1MiB}\n"), "256MiB");
    assert_eq!(memory("limits: {body_memory: 64MiB}\n"), "64MiB");
}

#[test]
fn urls_hold_neither_credentials_nor_queries() {
    let remedy = "write it as https://HOST/v1; a key goes to api_key";
    let yaml = "upstreams:\n\
                - {name: a, base_url: 'https://user:hunter2@host/v1'}\n\
                - {name: b, base_url: 'https://host/v1?key=hunter2'}\n\
                - {name: c, base_url: host/v1}\n\
                - {name: d, base_url: 'http://host:0'}\n";
    assert_eq!(
        problems(yaml),
        [
            format!(
                "2:23: upstreams[0].base_url: https://***@host/v1 must not hold a user or a password; {remedy}"
            ),
            format!(
                "3:23: upstreams[1].base_url: https://host/v1?*** must not hold a query or a fragment; {remedy}"
            ),
            format!(
                "4:23: upstreams[2].base_url: host/v1 must begin with http:// or https://; {remedy}"
            ),
            format!(
                "5:23: upstreams[3].base_url: http://host:0 must have a port from 1 to 65535; {remedy}"
            ),
        ]
    );
}

#[test]
fn names_are_unique_and_well_formed() {
    let yaml = "upstreams:\n\
                - {name: a, base_url: 'http://h'}\n\
                - {name: a, base_url: 'http://h'}\n\
                - {name: a b, base_url: 'http://h'}\n\
                node: {name: '', region: 'e/u'}\n";
    let form = "choose a name of 1 to 63 bytes";
    assert_eq!(
        problems(yaml),
        [
            "3:10: upstreams[1].name: a is the name of upstreams[0] too; give each upstream a name of its own"
                .to_owned(),
            format!(
                "4:10: upstreams[2].name: a b must not contain ' '; use letters, digits, '-', '_' and '.'; {form}"
            ),
            format!("5:14: node.name: \"\" must not be empty; {form}"),
            format!("5:26: node.region: e/u must not contain '/'; use letters, digits, '-', '_' and '.'; {form}"),
        ]
    );
}

#[test]
fn numbers_have_ranges() {
    let yaml = "    priority: 70000\n    weight: 0\n    max_retries: 0\n    \
                health: {failure_threshold: 0, recovery_threshold: 1001, cooldown: 2m}\n\
                routing: {attempts: 33}\nworkers: 0\n";
    assert_eq!(
        with_head(yaml),
        [
            "5:15: upstreams[0].priority: 70000 must be from 0 to 65535; write a number in that range",
            "6:13: upstreams[0].weight: 0 must be above 0 and at most 1000; \
             write a weight in that range, or remove the upstream",
            "7:18: upstreams[0].max_retries: 0 must be from 1 to 32; write a number in that range",
            "8:33: upstreams[0].health.failure_threshold: 0 must be from 1 to 1000; write a number in that range",
            "8:56: upstreams[0].health.recovery_threshold: 1001 must be from 1 to 1000; \
             write a number in that range",
            "8:72: upstreams[0].health.cooldown: 2m must not be longer than cooldown_max (1m); \
             lower cooldown or raise cooldown_max",
            "9:21: routing.attempts: 33 must be from 1 to 32; write a number in that range",
            "10:10: workers: 0 must be from 1 to 1024; write a number in that range",
        ]
    );
}

#[test]
fn short_token_is_refused_where_others_can_ask() {
    let yaml = |listen: &str, length: usize| {
        let token = "t".repeat(length);
        format!("admin: {{listen: '{listen}', token: {token}}}\n")
    };
    assert_eq!(
        problems(&yaml("0.0.0.0:9090", 15)),
        [
            "1:40: admin.token: has fewer than 16 characters, and 0.0.0.0:9090 is not on loopback; \
             write a random one, such as `openssl rand -hex 32` prints, or listen on 127.0.0.1"
        ]
    );
    for good in [yaml("0.0.0.0:9090", 16), yaml("127.0.0.1:9090", 1)] {
        assert!(load_text(&good, &Sources::default()).is_ok(), "{good}");
    }
}

#[test]
fn addresses_are_checked() {
    let yaml = "listen: 8080\nadmin: {listen: '0.0.0.0:9090'}\nmesh: {listen: '0.0.0.0:99999', seeds: [jpn]}\n\
                trusted_proxies: [10.0.0.0/33]\nnode: {location: {lat: 91, lon: 0}}\ncors: {origins: [app.example]}\n";
    let listen = "is not valid (invalid socket address syntax); write IP:PORT, such as 0.0.0.0:8080 or [::]:8080";
    assert_eq!(
        problems(yaml),
        [
            format!("1:9: listen: 8080 {listen}"),
            "2:17: admin.listen: 0.0.0.0:9090 is not on loopback and there is no admin.token; \
             set admin.token (or GRAPEVINE_ADMIN_TOKEN), or listen on 127.0.0.1"
                .to_owned(),
            format!("3:16: mesh.listen: 0.0.0.0:99999 {listen}"),
            "3:40: mesh.seeds: cannot be joined without mesh.tls (ca, cert, key); \
             make them with: grapevine ca init, then grapevine ca issue for each node"
                .to_owned(),
            "3:41: mesh.seeds[0]: jpn is not a host and a port; write a host and a port, such as sgp.example.net:7171".to_owned(),
            "4:19: trusted_proxies[0]: 10.0.0.0/33 is not an address or a network; \
             write an address or a network: 10.0.0.0/8, 2001:db8::/32"
                .to_owned(),
            "5:18: node.location: 91, 0 is not on the Earth; write lat from -90 to 90 and lon from -180 to 180"
                .to_owned(),
            "6:18: cors.origins[0]: app.example is not an origin; \
             write a scheme and a host, such as https://app.example.net, or \"*\""
                .to_owned(),
        ]
    );
}

#[test]
fn proxy_protocol_without_trusted_proxies_is_refused() {
    let remedy = "list the balancer's network in trusted_proxies, or remove the key";
    for word in ["optional", "required"] {
        let expected = format!(
            "1:17: proxy_protocol: {word} trusts no proxy, since there are no trusted_proxies; {remedy}"
        );
        assert_eq!(problems(&format!("proxy_protocol: {word}\n")), [expected]);
    }
    let config = good("proxy_protocol: required\ntrusted_proxies: [10.0.0.0/8]\n");
    assert_eq!(config.proxy_protocol, ProxyProtocol::Required);
    assert_eq!(config.dump()["proxy_protocol"], "required");
    assert_eq!(
        good("proxy_protocol: off\n").proxy_protocol,
        ProxyProtocol::Off
    );
}

#[test]
fn models_are_well_formed_and_unique() {
    assert_eq!(
        with_head("    models: [a, {name: a}, '', {upstream_name: x}]\n"),
        [
            "5:17: upstreams[0].models[1]: a is listed twice; remove one of them",
            "5:28: upstreams[0].models[2]: \"\" must not be empty; write at most 256 bytes, without control characters, and without blanks at the ends",
            "5:32: upstreams[0].models[3].name: is missing; write name: and its value",
        ]
    );
    assert_eq!(
        with_head("    models: []\n"),
        ["5:13: upstreams[0].models: is empty; \
             list models, write [\"*\"] for any, or remove the key to discover them"]
    );
}

#[test]
fn refused_upstream_does_not_shift_the_numbers_of_others() {
    let yaml =
        "upstreams:\n- {name: a}\n- {name: b, base_url: 'http://h', timeout: {first_byte: 11m}}\n";
    assert_eq!(
        problems(yaml),
        [
            "2:3: upstreams[0].base_url: is missing; write base_url: and its value",
            "3:57: upstreams[1].timeout.first_byte: 11m must not be longer than routing.deadline (10m); \
             lower first_byte or raise the deadline",
        ]
    );
}

#[test]
fn keys_are_hashes_and_unique() {
    let hash = hash::KeyHash::of("k").to_string();
    let yaml = format!(
        "keys:\n- {{name: a, hash: gv-live-key}}\n- {{name: b, hash: '{hash}'}}\n- {{name: b, hash: '{hash}'}}\n"
    );
    assert_eq!(
        problems(&yaml),
        [
            "2:19: keys[0].hash: must be sha256: and 64 hexadecimal digits; \
             write what `grapevine key hash` prints; the key itself does not belong here",
            "4:10: keys[2].name: b is the name of keys[1] too; give each key a name of its own",
            "4:19: keys[2].hash: is the hash of keys[1] too; give each client a key of its own",
        ]
    );
}

#[test]
fn identity_provider_is_checked() {
    assert_eq!(
        problems(
            "oidc:\n  issuer: http://id.example.com\n  audience: []\n  claims: {groups: ''}\n  name_claim: ''\n  \
             refresh: 1s\n  jwks_url: ftp://id\n  clients: [{scopes: [root], rpm: 0}, {scopes: [services]}]\n"
        ),
        [
            "2:11: oidc.issuer: http://id.example.com is not https; use https: whoever answers in the provider's place could \
             let in anybody",
            "3:13: oidc.audience: is empty, or holds an empty word; write a word, or a list of words of which one must \
             be there",
            "4:20: oidc.claims.groups: is empty, or holds an empty word; write a word, or a list of words of which one \
             must be there",
            "5:15: oidc.name_claim: is empty; name a claim that tells clients apart, such as sub or email",
            "6:12: oidc.refresh: 1s must be from 1m to 24h; write a duration in that range",
            "7:13: oidc.jwks_url: ftp://id must begin with http:// or https://; write the provider's URL, such as \
             https://login.example.com/realms/team",
            "8:23: oidc.clients[0].scopes[0]: root is not a scope; write api, tasks, services, admin:read or \
             admin:operate; name what these clients may do",
            "8:35: oidc.clients[0].rpm: must be at least 1; remove the key instead of setting it to 0",
            "8:48: oidc.clients[1].scopes: holds services, which is for the key of an external worker; give workers a \
             key of keys or issued_keys, which names their services",
        ]
    );
    assert_eq!(
        problems("oidc: {issuer: 'http://127.0.0.1:1', audience: a, clients: []}\n"),
        [
            "1:60: oidc.clients: has 0 entries; 1 to 256 are allowed; remove the key to let in every token, or list who may do what"
        ]
    );
}

#[test]
fn accounts_are_named_once_and_upstreams_name_known_ones() {
    assert_eq!(
        problems(
            "upstreams:\n- {name: a, base_url: 'http://h/v1', account: opnai}\n\
             - {name: b, base_url: 'http://h/v1', account: other}\n\
             - {name: c, base_url: 'http://h/v1', account: a b}\n\
             accounts:\n- {name: openai, rpm: 0}\n- {name: openai, tpm: many}\n- {rpm: 5}\n\
             - {name: x, budget: 5eur}\n"
        ),
        [
            "2:47: upstreams[0].account: opnai is not the name of an account; \
             write openai, or add opnai to accounts",
            "3:47: upstreams[1].account: other is not the name of an account; \
             add it: accounts: [{name: other}]",
            "4:47: upstreams[2].account: a b must not contain ' '; use letters, digits, '-', '_' and '.'; \
             choose a name of 1 to 63 bytes",
            "6:23: accounts[0].rpm: must be at least 1; remove the key instead of setting it to 0",
            "7:10: accounts[1].name: openai is the name of accounts[0] too; give each account a name of its own",
            "7:23: accounts[1].tpm: many must begin with a number; write a count: 600, 200k, 2M",
            "8:3: accounts[2].name: is missing; write name: and its value",
            "9:21: accounts[3].budget: 5eur is not a budget; write an amount and a period: 50usd/month, 2.50usd/day; \
             write an amount and a period: 50usd/month, 2.50usd/day",
        ]
    );
}

#[test]
fn limits_of_keys_by_model_and_at_once_are_checked() {
    let key = |limits: &str| {
        let hash = hash::KeyHash::of("k");
        format!("keys: [{{name: a, hash: '{hash}', {limits}}}]\n")
    };
    let about = |yaml: &str| -> Vec<String> {
        let problems = problems(&key(yaml)).into_iter();
        problems
            .map(|text| text.split_once(": keys[0].").expect("a key").1.to_owned())
            .collect()
    };
    assert_eq!(
        about("concurrency: 0, weight: 2000, limits: {gpt-4o: {rpm: 0}, m: {}, '*': {rpm: 1}}"),
        [
            "concurrency: 0 must be from 1 to 100000; write a number in that range",
            "weight: 2000 must be from 1 to 1000; write a number in that range",
            "limits.gpt-4o.rpm: must be at least 1; remove the key instead of setting it to 0",
            "limits.m: has no limit; write rpm, tpm, budget or concurrency, or remove the model",
            "limits.*: is any model, and limits for every model are those of the key; write them beside limits",
        ]
    );
    let read = good(&key(
        "concurrency: 7, weight: 3, limits: {org/m.1: {tpm: 2k, budget: 1usd/day}}",
    ));
    let read = &read.keys[0];
    assert_eq!((read.limits.concurrency, read.limits.rpm), (Some(7), None));
    let model = ModelName::new("org/m.1").expect("a name");
    assert_eq!(read.model_limits[&model].tpm, Some(2_000));
    assert_eq!(read.weight.map(KeyWeight::get), Some(3));
    assert!(read.is_limited());
}

#[test]
fn issued_keys_prices_and_the_ledger_are_checked() {
    assert_eq!(
        problems(
            "issued_keys: {public_keys: [rsa:x], stale_after: 1s}\n\
             prices:\n- {model: a, input: -1, output: 2}\n- {model: b, input: 1, output: 2}\n\
             - {model: b, input: 1, output: 2.5}\nledger: {file: l, size: 1kB, retention: 1h}\n"
        ),
        [
            "1:14: issued_keys.mesh: is missing, and the node has no mesh whose name could stand for it; \
             name the mesh that `grapevine key issue --mesh` names",
            "1:29: issued_keys.public_keys[0]: rsa:x must be ed25519: and 43 characters of base64url; \
             write what `grapevine key init` prints, such as ed25519:Gb9EC...",
            "1:50: issued_keys.stale_after: 1s must be from 1m to 720h; write a duration in that range",
            "3:21: prices[0].input: -1 is not an amount in US dollars; write decimal dollars, such as 2.50",
            "5:11: prices[2].model: b has a price in prices[1] too; remove one of them",
            "6:25: ledger.size: 1kB must be from 1MiB to 16GiB; write a size in that range",
            "6:41: ledger.retention: 1h must be from 24h to 8760h; write a duration in that range",
        ]
    );
    let hash = hash::KeyHash::of("k").to_string();
    assert_eq!(
        problems(&format!(
            "keys: [{{name: a, hash: '{hash}', budget: 5eur/day, expires: 2027-02-30, regions: ['no region']}}]\n"
        ))
        .len(),
        3
    );
}

#[test]
fn waits_agree_with_each_other() {
    assert_eq!(
        with_head("    timeout: {first_byte: 90s, total: 1m}\nrouting: {deadline: 30s}\n"),
        [
            "5:27: upstreams[0].timeout.first_byte: 90s must not be longer than routing.deadline (30s); \
             lower first_byte or raise the deadline",
            "5:27: upstreams[0].timeout.first_byte: 90s must not be longer than the total (1m); \
             lower first_byte or raise total",
        ]
    );
    assert_eq!(
        with_head("    timeout: {answer: 11m, idle: 2h}\n"),
        [
            "5:23: upstreams[0].timeout.answer: 11m must not be longer than routing.deadline (10m); \
             lower answer or raise the deadline",
            "5:34: upstreams[0].timeout.idle: 2h must not be longer than the total (1h); lower idle or raise total",
        ]
    );
    // Without a total, nothing is longer than it.
    good(&format!("{HEAD}    timeout: {{idle: 2h, total: off}}\n"));
    // A default that the deadline cuts short is no mistake of anyone.
    assert_eq!(
        good(&format!("{HEAD}routing: {{deadline: 5s}}\n"))
            .upstreams
            .len(),
        1
    );
}

#[test]
fn retry_words_and_headers_are_checked() {
    assert_eq!(
        with_head(
            "    headers: {host: x, 'a b': y}\nrouting: {retry_on: [connect, 200, 401, soon]}\n"
        ),
        [
            "5:21: upstreams[0].headers.host: is set by the node itself; remove it",
            "5:31: upstreams[0].headers.a b: is not a header's name; write letters, digits and '-'",
            "6:31: routing.retry_on[1]: 200 is not a kind of failure; \
             use connect, timeout, answer_timeout, 5xx, or a status from 400 to 599",
            "6:36: routing.retry_on[2]: 401 needs not be listed: a refused credential always goes on; remove it",
            "6:41: routing.retry_on[3]: soon is not a kind of failure; \
             use connect, timeout, answer_timeout, 5xx, or a status from 400 to 599",
        ]
    );
}

#[test]
fn problems_of_every_stage_come_together_in_the_order_of_the_file() {
    let yaml = "listen: nowhere\n\
                unknown_key: 1\n\
                routing: {attempts: 0, strategy: ${UNSET_STRATEGY}}\n\
                upstreams:\n\
                - {name: a, base_url: 'http://h', weight: heavy}\n\
                - {name: a, base_url: 'http://h', health: {interval: 1s}}\n\
                listen: twice\n";
    let found = problems(yaml);
    let keys: Vec<_> = found
        .iter()
        .filter_map(|problem| problem.split(": ").nth(1))
        .collect();
    assert_eq!(
        keys,
        [
            "listen",
            "unknown_key",
            "routing.attempts",
            "routing.strategy",
            "upstreams[0].weight",
            "upstreams[1].name",
            "upstreams[1].health.interval",
            "listen",
        ]
    );
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    assert_eq!(
        warnings("mesh: {name: m}\n"),
        [
            "1:7: mesh: is not started, since mesh.tls is missing; \
             make them with: grapevine ca init, then grapevine ca issue for each node",
            "listen: is 127.0.0.1:8080, which this machine alone reaches, since there are no keys; add keys \
             (grapevine key hash --generate), write the address to listen on, or write open: true",
            "upstreams: is empty and there is no mesh: nothing can be answered; add an upstream, or join a mesh",
        ]
    );
    let key = format!(
        "keys: [{{name: a, hash: '{}', rpm: 5}}]\n",
        hash::KeyHash::of("k")
    );
    assert_eq!(warnings(&format!("{HEAD}{key}")), [""; 0]);
}

#[test]
fn foreign_bytes_never_panic() {
    let samples = [
        "\u{0}",
        "a: !!binary x",
        "%YAML 9.9\n---\n",
        "&a *a",
        "{",
        "[[[[",
        "a: |\n\tb",
        "? ",
        "\u{feff}a: 1",
    ];
    for sample in samples {
        // Whether it is good or not does not matter here.
        let _ = load_text(sample, &Sources::default());
    }
    let deep = "[".repeat(5_000);
    assert!(load_text(&deep, &Sources::default()).is_err());
}

#[test]
fn paths_to_forward_are_checked_each_by_its_key() {
    let plain = "write a path such as /v1/vector_stores, or /v1/vector_stores/* for all below it";
    let methods = "write GET, POST, PUT, PATCH or DELETE, or remove the key for all of them";
    assert_eq!(
        with_head(
            "forward: [/v1/a/../b, {path: /v1/files/*}, {path: /v1/a, methods: [CONNECT, GET]}, {path: /v1/a, methods: []}, {methods: [GET]}]\n"
        ),
        [
            format!(
                "5:11: forward[0]: /v1/a/../b is not in its plain form: it must not hold '.' or '..' segments; {plain}"
            ),
            format!(
                "5:30: forward[1].path: /v1/files/* is answered by the node itself and never forwarded; {plain}"
            ),
            format!(
                "5:68: forward[2].methods[0]: CONNECT is no method that is forwarded; {methods}"
            ),
            format!("5:107: forward[3].methods: is empty; {methods}"),
            "5:112: forward[4].path: is missing; write path: and its value".to_owned(),
        ]
    );
}

#[test]
fn dumped_paths_to_forward_are_a_configuration_again() {
    let config = good(&format!(
        "{HEAD}forward: [/v1/videos, {{path: /v1/a/*, methods: [GET]}}]\n"
    ));
    let forwarding = &config.forwarding;
    assert!(forwarding.permit("PATCH", "/v1/videos", None).is_ok());
    assert!(forwarding.permit("GET", "/v1/a/b", None).is_ok());
    assert!(forwarding.permit("POST", "/v1/a/b", None).is_err());
    assert_eq!(good(&config.dump_yaml()).forwarding, config.forwarding);
}

#[test]
fn only_the_waits_within_an_answer_can_be_off() {
    let form = "write a duration such as 5m, or off for no limit";
    assert_eq!(
        with_head("    timeout: {first_byte: off, idle: 0, total: soon}\n"),
        [
            "5:27: upstreams[0].timeout.first_byte: off must begin with a number; \
             write a number and a unit: 250ms, 2s, 10m"
                .to_owned(),
            format!("5:38: upstreams[0].timeout.idle: 0 must be from 1ms to 24h; {form}"),
            format!("5:48: upstreams[0].timeout.total: soon must begin with a number; {form}"),
        ]
    );
    let config = good(&format!("{HEAD}    timeout: {{idle: off, total: off}}\n"));
    let timeout = config.upstreams[0].timeout;
    assert_eq!((timeout.idle, timeout.total), (None, None));
    let written = config.dump_yaml();
    assert_eq!(good(&written).upstreams[0].timeout, timeout);
}
