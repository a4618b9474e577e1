//! Where values come from, which one wins, and what is never shown.

use super::*;
use crate::checked::AuthConfig;
use crate::problem::ConfigProblem;

const SECRET: &str = "sk-hunter2";

fn sources(variables: &[(&str, &str)]) -> Sources {
    Sources {
        environment: variables.iter().copied().collect(),
        ..Sources::default()
    }
}

#[test]
fn example_is_good_and_fits_the_schema() {
    let folder = Folder::new("example");
    let path = with_certificates(&folder, include_str!("../example.yaml"));
    let mut sources = sources(&[("ADMIN_TOKEN", "t"), ("UPSTREAM_API_KEY", SECRET)]);
    sources.file = Some(path);
    let loaded = load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let config = loaded.config;
    assert_eq!(config.mesh.expect("a mesh").name.as_str(), "production");
    let AuthConfig::Bearer(key) = &config.upstreams[0].auth else {
        panic!("not a bearer token")
    };
    assert_eq!(key.secret.expose(), SECRET);
    let warned: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.key.as_str())
        // Its folder is one that a package makes.
        .filter(|key| *key != "tasks.queue")
        .collect();
    assert_eq!(warned, [""; 0]);
}

#[test]
fn example_shows_every_key_of_the_schema() {
    let example = include_str!("../example.yaml");
    let schema = schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    for definition in definitions.values().chain([&schema]) {
        for key in definition["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            assert!(
                example.contains(&format!("{key}:")),
                "{key} is not in the example"
            );
        }
    }
}

#[test]
fn example_writes_the_defaults_it_claims() {
    let yaml = include_str!("../example.yaml");
    let section = |name: &str| {
        let lines = yaml.lines().skip_while(|line| *line != format!("{name}:"));
        let body = lines.skip(1).take_while(|line| line.starts_with(' '));
        body.fold(format!("{name}:\n"), |text, line| text + line + "\n")
    };
    let mut written =
        good(&(section("routing") + &section("limits") + &section("drain") + &section("log")));
    // Its comment says that there are none by default.
    written.routing.fallback_models.clear();
    written.limits.nodes.clear();
    let default = good("");
    assert_eq!(written, default);
}

#[test]
fn schema_describes_every_key() {
    let schema = schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["title"], "grapevine configuration");
    let definitions = schema["$defs"].as_object().expect("definitions");
    for (name, definition) in definitions
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .chain([("", &schema)])
    {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(
                property["description"].is_string(),
                "{name}.{key} has no description"
            );
        }
        let is_map = definition["properties"].is_object();
        assert!(
            !is_map || definition["additionalProperties"] == false,
            "{name} takes unknown keys"
        );
    }
}

#[test]
fn dump_is_a_configuration_again() {
    let config = good(
        "listen: 127.0.0.1:0\nupstreams: [{name: a, base_url: 'http://h/v1/', models: [x, '*']}]\n",
    );
    assert_eq!(good(&config.dump_yaml()), config);
}

#[test]
fn dump_shows_none_of_the_secrets_that_a_file_may_hold() {
    const SECRET: &str = "never-to-be-seen-0123456789abcdef0123456789";
    let text = format!(
        "listen: 127.0.0.1:0\n\
         admin: {{listen: '127.0.0.1:0', token: {SECRET}}}\n\
         upstreams: [{{name: a, base_url: 'http://h/v1', api_key: {SECRET}, headers: {{x-more: {SECRET}}}}}]\n\
         routing: {{seal_keys: [{SECRET}]}}\n\
         tasks: {{queue: 'nats://me:{SECRET}@h:4222', webhooks: {{secret: {SECRET}, hosts: [a.example]}}}}\n\
         tracing: {{otlp: {{endpoint: 'http://h:4318', headers: {{authorization: {SECRET}}}}}}}\n"
    );
    let config = good(&text);
    let shown = format!("{}{}{config:?}", config.dump(), config.dump_yaml());
    assert!(!shown.contains(SECRET), "{shown}");
    // It is there, and hidden.
    assert!(
        config.dump_yaml().matches("***").count() >= 5,
        "{}",
        config.dump_yaml()
    );
}

#[test]
fn streams_are_asked_for_their_usage_unless_that_is_switched_off() {
    assert!(good("").usage.ask);
    for (word, asks) in [("on", true), ("off", false), ("'off'", false)] {
        let config = good(&format!("listen: 127.0.0.1:0\nusage: {{ask: {word}}}\n"));
        assert_eq!(config.usage.ask, asks, "{word}");
        assert_eq!(good(&config.dump_yaml()), config);
    }
    assert_eq!(
        problems("usage: {ask: perhaps}\n"),
        ["1:14: usage.ask: perhaps is not known here; use on, off"]
    );
}

#[test]
fn models_of_any_name_can_be_written_wherever_models_are() {
    let config = good(
        "listen: 127.0.0.1:0\n\
         upstreams: [{name: a, base_url: 'http://h/v1/', models: [two words, {name: 通义千问, upstream_name: 'qwen \"7b\"'}]}]\n\
         residency: [{models: [two words], regions: [local]}]\n\
         keys: [{name: app, hash: 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', models: [modèle]}]\n",
    );
    let dump = config.dump_yaml();
    assert!(
        dump.contains("two words") && dump.contains("modèle"),
        "{dump}"
    );
    assert_eq!(config.residency.rules()[0].models[0].as_str(), "two words");
    let models = config.keys[0].models.as_ref().expect("a list");
    assert_eq!(models[0].as_str(), "modèle");
    let refused = problems("upstreams: [{name: a, base_url: 'http://h/v1/', models: [' a']}]\n");
    assert!(
        refused[0].contains("without blanks at the ends"),
        "{refused:?}"
    );
}

#[test]
fn dumped_dns_is_a_configuration_again() {
    for servers in ["", ", name_servers: [ns1.example.net]"] {
        let config = good(&format!(
            "listen: 127.0.0.1:0\ndns: {{zone: Mesh.Example., ttl: 1m{servers}}}\n"
        ));
        let dns = config.dns.clone().expect("a DNS server");
        assert_eq!(dns.zone.as_str(), "mesh.example");
        assert_eq!(dns.listen.to_string(), "0.0.0.0:53");
        assert_eq!(good(&config.dump_yaml()), config);
    }
}

#[test]
fn flag_goes_before_variable_before_file_before_default() {
    let yaml = "node: {name: file, region: file}\nlog: {level: warn}\n";
    let mut sources = sources(&[
        ("GRAPEVINE_NODE_NAME", "variable"),
        ("GRAPEVINE_REGION", "variable"),
    ]);
    sources.flags = Flags::default().with("--name", &["node", "name"], Some("flag".to_owned()));
    let config = load_text(yaml, &sources)
        .expect("a good configuration")
        .config;
    assert_eq!(config.node.name.as_str(), "flag");
    assert_eq!(config.node.region.as_str(), "variable");
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.admin.listen, checked::ADMIN_LISTEN);
}

#[test]
fn flags_alone_make_a_node() {
    let flags = Flags::default()
        .with("--listen", &["listen"], Some("127.0.0.1:0".to_owned()))
        .with_upstream("a".to_owned(), "http://127.0.0.1:9/v1".to_owned());
    let loaded = load(&Sources {
        flags,
        ..Sources::default()
    })
    .expect("a good configuration");
    assert_eq!(loaded.config.upstreams[0].name.as_str(), "a");
    assert_eq!(loaded.config.node.region.as_str(), "local");
    assert_eq!(loaded.warnings, []);
}

#[test]
fn upstream_flag_moves_the_one_of_its_name() {
    let yaml = "upstreams: [{name: a, base_url: 'http://file', priority: 7}]\n";
    let flags = Flags::default()
        .with_upstream("a".to_owned(), "http://flag".to_owned())
        .with_upstream("b".to_owned(), "http://new".to_owned());
    let config = load_text(
        yaml,
        &Sources {
            flags,
            ..Sources::default()
        },
    )
    .expect("a good configuration")
    .config;
    let urls: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| upstream.base_url.to_string())
        .collect();
    assert_eq!(urls, ["http://flag", "http://new"]);
    assert_eq!(config.upstreams[0].tier.0, 7);
}

#[test]
fn problem_names_the_flag_or_variable_it_came_from() {
    let mut sources = sources(&[("GRAPEVINE_WORKERS", "many")]);
    sources.flags = Flags::default().with("--listen", &["listen"], Some("x".to_owned()));
    let problems = load_text("workers: 3\n", &sources)
        .expect_err("two problems")
        .to_string();
    assert_eq!(
        problems,
        "GRAPEVINE_WORKERS: workers: many is not a whole number; write digits, such as 8\n\
         --listen: listen: x is not valid (invalid socket address syntax); \
         write IP:PORT, such as 0.0.0.0:8080 or [::]:8080"
    );
}

#[test]
fn list_in_a_variable_is_split_at_commas() {
    let sources = sources(&[("GRAPEVINE_TRUSTED_PROXIES", "10.0.0.0/8, ::1,")]);
    let config = load_text("trusted_proxies: [1.1.1.1]\n", &sources)
        .expect("a good configuration")
        .config;
    let networks: Vec<_> = config
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn variable_may_stand_inside_lists_maps_and_numbers() {
    let sources = sources(&[("TOKEN", "t, u: {v}"), ("N", "7")]);
    let yaml = "admin: {listen: 127.0.0.1:9090, token: ${TOKEN}}\nworkers: ${N}\nlimits: {in_flight: \"${N}\"}\n\
                cors: {origins: [${ORIGIN:-https://a.example}]}\n";
    let config = load_text(yaml, &sources)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    assert_eq!(
        config.admin.token.as_ref().map(Secret::expose),
        Some("t, u: {v}")
    );
    assert_eq!(
        (config.workers.get(), config.limits.in_flight),
        (7, Some(7))
    );
    assert_eq!(config.dump()["cors"]["origins"][0], "https://a.example");
}

#[test]
fn unset_variable_is_one_problem_and_hides_no_other() {
    let yaml = "upstreams:\n- name: a\n  base_url: ${NO_URL}\n  api_key: ${NO_KEY}\n  weight: -1\n";
    assert_eq!(
        problems(yaml),
        [
            "3:13: upstreams[0].base_url: names the variable NO_URL, which is unset or empty; \
             set NO_URL, or write ${NO_URL:-default}",
            "4:12: upstreams[0].api_key: names the variable NO_KEY, which is unset or empty; \
             set NO_KEY, or write ${NO_KEY:-default}",
            "5:11: upstreams[0].weight: -1 must be above 0 and at most 1000; \
             write a weight in that range, or remove the upstream",
        ]
    );
}

#[test]
fn secrets_are_in_no_debug_and_no_dump() {
    let hash = hash::KeyHash::of("k").to_string();
    let yaml = format!(
        "admin: {{token: {SECRET}-token}}\nkeys: [{{name: a, hash: '{hash}'}}]\nupstreams:\n\
         - {{name: a, base_url: 'http://h', api_key: {SECRET}, headers: {{x-key: {SECRET}}}}}\n"
    );
    let loaded =
        load_text(&yaml, &Sources::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let config = &loaded.config;
    let shown = format!(
        "{loaded:?} {config:#?} {} {}",
        config.dump(),
        config.dump_yaml()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains(&hash), "{shown}");
    assert_eq!(
        config.upstreams[0].headers[0].1.as_bytes(),
        SECRET.as_bytes()
    );
    assert_eq!(config.dump()["upstreams"][0]["api_key"], "***");
}

#[test]
fn secrets_are_in_no_problem() {
    // Each puts the secret where something is wrong: by itself, from a variable, under a wrong key.
    let broken = [
        "admin: {token: [hunter2]}",
        "admin: {token: \"hunter2\\n\", listen: 1.2.3.4:hunter}",
        "upstreams: [{name: a, base_url: 'http://h', api_key: \"hunter2\\n\"}]",
        "upstreams: [{name: a, base_url: 'http://h', headers: {x: \"hunter2\\n\"}}]",
        "upstreams: [{name: a, base_url: 'http://hunter2@h'}]",
        "upstreams: [{name: a, base_url: 'http://h?hunter2'}]",
        "upstreams: [{name: a, base_url: '${SECRET}'}]",
        "upstreams: [{name: '${SECRET} x', base_url: 'http://h'}]",
        "upstreams: hunter2",
        "upstreams: [hunter2]",
        "admin: hunter2",
        "keys: [{name: a, hash: hunter2}]",
        "workers: ${SECRET}",
        "limits: {in_flight: ${SECRET}, body: ${SECRET}, header_timeout: ${SECRET}}",
        "routing: {strategy: ${SECRET}, retry_on: [${SECRET}]}",
        "listen: ${SECRET}",
        "log: {level: '${SECRET}=='}",
    ];
    let sources = sources(&[("SECRET", "hunter2")]);
    for yaml in broken {
        let problems = load_text(yaml, &sources)
            .map(|loaded| loaded.config.dump())
            .expect_err(yaml);
        let shown = format!(
            "{problems} {problems:?} {}",
            serde_json::to_string(&problems.iter().collect::<Vec<_>>()).expect("problems are JSON")
        );
        assert!(!shown.contains("hunter2"), "{yaml}: {shown}");
    }
}

#[test]
fn unreadable_file_is_a_problem() {
    let sources = Sources {
        file: Some(PathBuf::from("/nowhere/grapevine.yaml")),
        ..Sources::default()
    };
    let problems = load(&sources).expect_err("no such file").to_string();
    assert_eq!(
        problems,
        "/nowhere/grapevine.yaml: cannot be read: No such file or directory (os error 2); \
         check the path given with -c or GRAPEVINE_CONFIG, and its permissions"
    );
    let folder = Folder::new("encoding");
    let sources = Sources {
        file: Some(folder.write("latin.yaml", b"node: {name: \xe4}")),
        ..Sources::default()
    };
    let problems = load(&sources).expect_err("not UTF-8").to_string();
    assert!(
        problems.ends_with("latin.yaml: is not UTF-8 text; save it as UTF-8"),
        "{problems}"
    );
}

/// Writes `yaml` beside certificates of the names that the example uses.
fn with_certificates(folder: &Folder, yaml: &str) -> PathBuf {
    let authority = Authority::new();
    let (cert, key) = authority.issue("spiffe://production/node/sgp-1", false);
    folder.write("mesh-ca.pem", authority.pem());
    folder.write("sgp-1.pem", &cert);
    folder.write("sgp-1.key", &key);
    folder.write("api.pem", &cert);
    folder.write("api.key", &key);
    folder.write("country.mmdb", "");
    folder.write("grapevine.yaml", yaml)
}

const MESH: &str = "listen: 127.0.0.1:8080\nupstreams: [{name: a, base_url: 'http://h'}]\n\
                    mesh: {advertise: 'a:1', tls: {ca: mesh-ca.pem, cert: sgp-1.pem, key: sgp-1.key}}\n";

fn mesh_problems(folder: &Folder, yaml: &str) -> Vec<String> {
    let path = folder.write("grapevine.yaml", yaml);
    let prefix = format!("{}/", folder.path().display());
    let problems = load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .expect_err("the mesh has problems");
    problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect()
}

#[test]
fn limits_of_keys_in_a_mesh_need_nodes_that_hold_their_rights() {
    let folder = Folder::new("rights");
    let key = format!(
        "keys: [{{name: a, hash: '{}', rpm: 5}}]\n",
        hash::KeyHash::of("k")
    );
    let yaml = |limits: &str| format!("{MESH}{key}{limits}");
    with_certificates(&folder, MESH);
    let remedy =
        "list all nodes that answer requests of keys with limits, the same list at each of them";
    assert_eq!(
        mesh_problems(&folder, &yaml("")),
        [format!(
            "grapevine.yaml: limits.nodes: is missing, and the key a has limits over the whole mesh; {remedy}"
        )]
    );
    assert_eq!(
        mesh_problems(&folder, &yaml("limits: {nodes: [fra-1]}\n")),
        [format!(
            "grapevine.yaml:5:17: limits.nodes: does not list this node, sgp-1, and the key a has limits; {remedy}"
        )]
    );
    assert_eq!(
        mesh_problems(&folder, &yaml("limits: {nodes: [sgp-1, sgp-1]}\n")),
        ["grapevine.yaml:5:25: limits.nodes[1]: sgp-1 is listed twice; list each node once"]
    );
    let path = folder.write("grapevine.yaml", yaml("limits: {nodes: [fra-1, sgp-1]}\n"));
    let loaded = load(&Sources {
        file: Some(path),
        ..Sources::default()
    });
    let limits = loaded.unwrap_or_else(|p| panic!("{p}")).config.limits;
    assert_eq!(limits.nodes.len(), 2);
    assert!(limits.file.ends_with("grapevine-limits-sgp-1.json"));
}

#[test]
fn limits_of_accounts_in_a_mesh_need_this_node_among_those_that_hold_rights() {
    let folder = Folder::new("account-rights");
    with_certificates(&folder, MESH);
    let yaml = |limits: &str| {
        let mesh = MESH.replace("'http://h'", "'http://h', account: main");
        format!("{mesh}accounts: [{{name: main, rpm: 5}}]\n{limits}")
    };
    let remedy =
        "list all nodes that have upstreams of it in limits.nodes, the same list at each of them";
    assert_eq!(
        mesh_problems(&folder, &yaml("")),
        [format!(
            "grapevine.yaml:2:54: upstreams[0].account: main has limits over the whole mesh, and limits.nodes is \
             missing; {remedy}"
        )]
    );
    assert_eq!(
        mesh_problems(&folder, &yaml("limits: {nodes: [fra-1]}\n")),
        [format!(
            "grapevine.yaml:2:54: upstreams[0].account: main has limits, and limits.nodes does not list this node, \
             sgp-1; {remedy}"
        )]
    );
    let good = yaml("limits: {nodes: [fra-1, sgp-1]}\n");
    let path = folder.write("grapevine.yaml", good);
    let loaded = load(&Sources {
        file: Some(path),
        ..Sources::default()
    });
    let config = loaded.unwrap_or_else(|p| panic!("{p}")).config;
    assert!(config.accounts[0].has_limits());
    assert_eq!(
        config.upstreams[0].account,
        Some(config.accounts[0].name.clone())
    );
}

#[test]
fn limits_of_clients_of_an_identity_provider_need_this_node_among_those_that_hold_rights() {
    let folder = Folder::new("oidc-rights");
    with_certificates(&folder, MESH);
    let oidc = "oidc: {issuer: 'https://id.example.com', audience: a, clients: [{}, {rpm: 5}]}\n";
    let remedy =
        "list all nodes that answer requests of keys with limits, the same list at each of them";
    assert_eq!(
        mesh_problems(&folder, &format!("{MESH}{oidc}")),
        [format!(
            "grapevine.yaml: limits.nodes: is missing, and a client of oidc has limits over the whole mesh; {remedy}"
        )]
    );
    let good = format!("{MESH}{oidc}limits: {{nodes: [sgp-1]}}\n");
    let path = folder.write("grapevine.yaml", good);
    let loaded = load(&Sources {
        file: Some(path),
        ..Sources::default()
    });
    assert!(loaded.is_ok());
}

#[test]
fn issued_keys_in_a_mesh_are_warned_of_where_this_node_holds_no_rights() {
    let folder = Folder::new("issued-rights");
    with_certificates(&folder, MESH);
    let issued =
        "issued_keys: {public_keys: ['ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE']}\n";
    let warnings = |limits: &str| {
        let path = folder.write("grapevine.yaml", format!("{MESH}{issued}{limits}"));
        let loaded = load(&Sources {
            file: Some(path),
            ..Sources::default()
        });
        let warnings = loaded.unwrap_or_else(|p| panic!("{p}")).warnings;
        let about = |warning: &ConfigProblem| {
            (warning.key == "limits.nodes").then(|| warning.problem.clone())
        };
        warnings.iter().filter_map(about).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(""),
        ["is missing, and issued keys may have limits"]
    );
    assert_eq!(
        warnings("limits: {nodes: [fra-1]}\n"),
        ["does not list this node, sgp-1, and issued keys may have limits"]
    );
    assert_eq!(warnings("limits: {nodes: [sgp-1]}\n"), [""; 0]);
}

#[test]
fn names_default_to_those_of_the_certificate() {
    let folder = Folder::new("identity");
    let path = with_certificates(&folder, MESH);
    let loaded = load(&Sources {
        file: Some(path),
        ..Sources::default()
    })
    .unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(loaded.config.node.name.as_str(), "sgp-1");
    assert_eq!(
        loaded.config.mesh.expect("a mesh").name.as_str(),
        "production"
    );
    assert_eq!(loaded.warnings, []);
}

#[test]
fn certificate_of_another_node_is_refused() {
    let folder = Folder::new("other-node");
    with_certificates(&folder, MESH);
    assert_eq!(
        mesh_problems(&folder, &format!("{MESH}node: {{name: jpn-1}}\n")),
        [
            "grapevine.yaml:3:55: mesh.tls.cert: is the certificate of spiffe://production/node/sgp-1, \
             but this node is spiffe://production/node/jpn-1; \
             name the right file, or make node.name and mesh.name agree with it"
        ]
    );
}

#[test]
fn certificate_of_another_authority_or_key_is_refused() {
    let folder = Folder::new("other-authority");
    with_certificates(&folder, MESH);
    let (_, other_key) = Authority::new().issue("spiffe://production/node/sgp-1", false);
    folder.write("mesh-ca.pem", Authority::new().pem());
    folder.write("sgp-1.key", other_key);
    assert_eq!(
        mesh_problems(&folder, MESH),
        [
            "grapevine.yaml:3:55: mesh.tls.cert: was not signed by mesh.tls.ca; make one with: grapevine ca issue",
            "grapevine.yaml:3:71: mesh.tls.key: sgp-1.key is not the key of the certificate; \
             name the key and the certificate that were made together",
        ]
    );
}

#[test]
fn expired_certificate_is_refused() {
    let folder = Folder::new("expired");
    with_certificates(&folder, MESH);
    let authority = Authority::new();
    let (cert, key) = authority.issue("spiffe://production/node/sgp-1", true);
    folder.write("mesh-ca.pem", authority.pem());
    folder.write("sgp-1.pem", &cert);
    folder.write("sgp-1.key", &key);
    assert_eq!(
        mesh_problems(&folder, MESH),
        [
            "grapevine.yaml:3:55: mesh.tls.cert: holds a certificate that has expired; \
             make one with: grapevine ca issue"
        ]
    );
}

#[test]
fn files_that_are_no_certificates_are_refused() {
    let folder = Folder::new("no-pem");
    folder.write("mesh-ca.pem", "hello");
    folder.write(
        "sgp-1.pem",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
    );
    assert_eq!(
        mesh_problems(
            &folder,
            &format!("{MESH}tls: {{cert: none.pem, key: none.key}}\n")
        ),
        [
            "grapevine.yaml:3:36: mesh.tls.ca: mesh-ca.pem holds no certificate; name a PEM file that does",
            "grapevine.yaml:3:55: mesh.tls.cert: sgp-1.pem is not a PEM file; \
             name a PEM file, with its BEGIN and END lines",
            "grapevine.yaml:3:71: mesh.tls.key: sgp-1.key cannot be read: No such file or directory (os error 2); \
             check the path and its permissions",
            "grapevine.yaml:4:13: tls.cert: none.pem cannot be read: No such file or directory (os error 2); \
             check the path and its permissions",
            "grapevine.yaml:4:28: tls.key: none.key cannot be read: No such file or directory (os error 2); \
             check the path and its permissions",
        ]
    );
}

#[test]
fn public_certificate_is_checked_for_its_time_and_key() {
    let folder = Folder::new("public-tls");
    let authority = Authority::new();
    let (cert, _) = authority.issue("spiffe://production/node/sgp-1", true);
    let (other, key) = authority.issue("spiffe://production/node/sgp-1", true);
    folder.write("a.pem", cert);
    folder.write("b.pem", other);
    folder.write("b.key", key);
    let yaml = "upstreams: [{name: a, base_url: 'http://h'}]\nlisten: 127.0.0.1:1\n";
    assert_eq!(
        mesh_problems(
            &folder,
            &format!("{yaml}tls: {{cert: a.pem, key: b.key}}\n")
        ),
        [
            "grapevine.yaml:3:13: tls.cert: holds a certificate that has expired; renew it",
            "grapevine.yaml:3:25: tls.key: b.key is not the key of the certificate; \
             name the key and the certificate that were made together"
        ]
    );
    assert_eq!(
        mesh_problems(
            &folder,
            &format!("{yaml}tls: {{cert: b.pem, key: b.key}}\n")
        ),
        ["grapevine.yaml:3:13: tls.cert: holds a certificate that has expired; renew it"]
    );
}

fn with_models(count: usize) -> String {
    let names: Vec<_> = (0..count)
        .map(|index| format!("vendor/model-{index:03}"))
        .collect();
    MESH.replace(
        "base_url",
        &format!("models: [{}], base_url", names.join(", ")),
    )
}

#[test]
fn models_that_gossip_cannot_carry_are_refused_in_a_mesh() {
    let folder = Folder::new("gossip");
    with_certificates(&folder, MESH);
    let problems = mesh_problems(&folder, &with_models(60));
    assert_eq!(problems.len(), 1, "{problems:?}");
    let words = "upstreams[0].models: has ";
    assert!(
        problems[0].contains(words) && problems[0].contains("names more than gossip carries"),
        "{problems:?}"
    );
    let file = Some(folder.write("grapevine.yaml", with_models(30)));
    let loaded = load(&Sources {
        file,
        ..Sources::default()
    })
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn more_upstreams_than_gossip_carries_are_a_warning() {
    let folder = Folder::new("gossip-state");
    let upstreams: String = (0..15)
        .map(|index| format!("- {{name: u{index}, base_url: 'http://h'}}\n"))
        .collect();
    let mesh = MESH.lines().last().expect("a line of mesh");
    let yaml = format!("listen: 127.0.0.1:1\n{mesh}\nupstreams:\n{upstreams}");
    let file = Some(with_certificates(&folder, &yaml));
    let loaded = load(&Sources {
        file,
        ..Sources::default()
    })
    .unwrap_or_else(|problems| panic!("{problems}"));
    let warnings: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.problem.as_str())
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].ends_with("bytes to publish, and gossip carries 4096"),
        "{warnings:?}"
    );
}
