//! Every problem of a section is reported, and addresses and folders that no node could use.

use super::*;

/// The problems of `yaml` in a file of its own, each from its key on.
fn problems_in(folder: &Folder, yaml: &str) -> Vec<String> {
    let file = Some(folder.write("grapevine.yaml", yaml));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let problems = load(&sources).expect_err("the file has problems");
    let text = |problem: &ConfigProblem| {
        let ConfigProblem { key, problem, .. } = problem;
        format!("{key}: {problem}").replace(&folder.path().display().to_string(), "FOLDER")
    };
    problems.iter().map(text).collect()
}

fn warnings_in(folder: &Folder, yaml: &str) -> Vec<String> {
    let file = Some(folder.write("grapevine.yaml", yaml));
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let texts = loaded.warnings.iter().map(ToString::to_string);
    texts
        .map(|text| text.replace(&folder.path().display().to_string(), "FOLDER"))
        .collect()
}

#[test]
fn address_for_listening_is_none_to_be_reached_at() {
    let folder = Folder::new("advertise");
    let found = problems_in(
        &folder,
        "mesh: {advertise: '0.0.0.0:7171', seeds: ['[::]:7171', 'sgp:7171', '224.0.0.1:7171']}\n\
         node: {public: {url: 'http://0.0.0.0:8080', addresses: ['::', 255.255.255.255, 203.0.113.5]}}\n",
    );
    let every = "is every address of a machine, and none that others can reach";
    let many = "is an address of many machines at once";
    for wanted in [
        format!("mesh.advertise: 0.0.0.0:7171 {every}"),
        format!("mesh.seeds[0]: [::]:7171 {every}"),
        format!("mesh.seeds[2]: 224.0.0.1:7171 {many}"),
        format!("node.public.url: http://0.0.0.0:8080 {every}"),
        format!("node.public.addresses[0]: :: {every}"),
        format!("node.public.addresses[1]: 255.255.255.255 {many}"),
    ] {
        assert!(found.contains(&wanted), "{wanted}: {found:#?}");
    }
    assert!(
        !found
            .iter()
            .any(|it| it.contains("seeds[1]") || it.contains("addresses[2]")),
        "{found:#?}"
    );
}

#[test]
fn listeners_that_take_each_others_port_are_refused() {
    assert_eq!(
        problems("listen: 0.0.0.0:8080\nadmin: {listen: 127.0.0.1:8080}\n"),
        [
            "2:17: admin.listen: 127.0.0.1:8080 overlaps with 0.0.0.0:8080, which is the public address; use another port"
        ]
    );
    assert_eq!(
        problems(
            "listen: 127.0.0.1:8080\ndns: {zone: api.example.net, listen: '0.0.0.0:9090'}\n\
             node: {public: {addresses: [203.0.113.5]}}\n"
        ),
        [
            "2:38: dns.listen: 0.0.0.0:9090 overlaps with 127.0.0.1:9090, which is admin.listen; use another port"
        ]
    );
    good("listen: 127.0.0.2:8080\nadmin: {listen: 127.0.0.1:8080}\n");
}

#[test]
fn file_of_the_nodes_own_in_a_folder_that_is_missing_is_warned_of() {
    let folder = Folder::new("missing");
    let hash = hash::KeyHash::of("k");
    let yaml = format!(
        "listen: 127.0.0.1:8080\nnode: {{name: a}}\nupstreams: [{{name: a, base_url: 'http://a'}}]\n\
         tasks: {{queue: 'sqlite:none/tasks.db'}}\nledger: {{file: none/usage.jsonl}}\n\
         limits: {{file: none/limits.json}}\nkeys: [{{name: app, hash: '{hash}', rpm: 7}}]\n\
         oidc: {{issuer: 'https://login.example.com', audience: a, file: none/oidc.json}}\n"
    );
    let found = warnings_in(&folder, &yaml);
    for (key, name) in [
        ("tasks.queue", "tasks.db"),
        ("ledger.file", "usage.jsonl"),
        ("limits.file", "limits.json"),
        ("oidc.file", "oidc.json"),
    ] {
        let wanted = format!(
            "{key}: FOLDER/none/{name} is in a folder that does not exist; \
             make it before the start: mkdir -p FOLDER/none"
        );
        assert!(
            found.iter().any(|it| it.ends_with(&wanted)),
            "{wanted}: {found:#?}"
        );
    }
    std::fs::create_dir(folder.path().join("none")).expect("a folder");
    assert_eq!(warnings_in(&folder, &yaml), [""; 0]);
    let found = problems_in(&folder, "tasks: {queue: 'sqlite:none'}\n");
    assert_eq!(found, ["tasks.queue: FOLDER/none is a folder"]);
}

#[test]
fn two_problems_of_one_section_are_both_reported() {
    let folder = Folder::new("both");
    let authority = Authority::new();
    let (cert, _) = authority.issue("spiffe://m/node/a", true);
    let (_, other_key) = authority.issue("spiffe://m/node/a", false);
    folder.write("cert.pem", cert);
    folder.write("other.key", other_key);
    folder.write("ca.pem", authority.pem());
    assert_eq!(
        problems_in(&folder, "tls: {cert: cert.pem, key: other.key}\n"),
        [
            "tls.cert: holds a certificate that has expired",
            "tls.key: FOLDER/other.key is not the key of the certificate",
        ]
    );
    let found = problems_in(&folder, "tls: {cert: ca.key, key: none.key}\n");
    let keys = |found: &[String]| -> Vec<String> {
        let keys = found.iter().filter_map(|it| it.split_once(':'));
        keys.map(|(key, _)| key.to_owned()).collect()
    };
    assert_eq!(keys(&found), ["tls.cert", "tls.key"]);
    let found = problems_in(
        &folder,
        "mesh: {advertise: '0.0.0.0:1', tls: {ca: ca.pem, cert: no.pem, key: no.key}}\nnode: {name: a}\n",
    );
    assert_eq!(
        keys(&found),
        ["mesh.advertise", "mesh.tls.cert", "mesh.tls.key"]
    );
    let upstream = |auth: &str| {
        let yaml = format!(
            "upstreams: [{{name: a, provider: azure, base_url: 'http://a', models: [m], auth: {auth}}}]\n"
        );
        keys(&problems_in(&folder, &yaml))
    };
    assert_eq!(
        upstream("{entra: {client_secret: x}}"),
        [
            "upstreams[0].auth.entra.client_id",
            "upstreams[0].auth.entra.tenant_id"
        ]
    );
}

#[test]
fn without_keys_strangers_get_in_only_where_that_is_meant() {
    let hash = hash::KeyHash::of("k");
    let keys = format!("keys: [{{name: app, hash: '{hash}'}}]\n");
    let upstreams = "upstreams: [{name: a, base_url: 'http://a'}]\n";
    let read = |yaml: &str| {
        let yaml = format!("{upstreams}{yaml}");
        let warned = warnings(&yaml).into_iter();
        let warned = warned.filter_map(|it| {
            let text = it.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == ':');
            Some(text.trim_start().split_once(':')?.0.to_owned())
        });
        (good(&yaml).listen.to_string(), warned.collect::<Vec<_>>())
    };
    let (here, all) = ("127.0.0.1:8080".to_owned(), "0.0.0.0:8080".to_owned());
    assert_eq!(read(""), (here.clone(), vec!["listen".to_owned()]));
    assert_eq!(read("open: false\n"), (here, vec!["listen".to_owned()]));
    assert_eq!(read("open: true\n"), (all.clone(), vec![]));
    assert_eq!(read(&keys), (all.clone(), vec![]));
    assert_eq!(
        read("oidc: {issuer: 'https://login.example.com', audience: a}\n"),
        (all.clone(), vec![])
    );
    assert_eq!(
        read("listen: 0.0.0.0:8080\n"),
        (all.clone(), vec!["keys".to_owned()])
    );
    assert_eq!(
        read("listen: 0.0.0.0:8080\nopen: true\n"),
        (all.clone(), vec![])
    );
    assert_eq!(
        read(&format!("open: true\n{keys}")),
        (all, vec!["open".to_owned()])
    );
    assert_eq!(
        problems("open: perhaps\n"),
        ["1:7: open: perhaps is neither true nor false; write true or false"]
    );
}
