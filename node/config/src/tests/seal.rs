//! The secrets of sealed ids, the weight of caches, and the upstreams that a key may choose.

use super::super::checked::SealSource;
use super::*;

const HEAD: &str =
    "listen: 127.0.0.1:8080\nupstreams:\n  - {name: a, base_url: 'http://127.0.0.1:1/v1'}\n";

fn with_routing(section: &str) -> String {
    format!("{HEAD}routing: {section}\n")
}

#[test]
fn secrets_are_taken_in_their_order_and_never_shown() {
    let (new, old) = ("n".repeat(32), "o".repeat(40));
    let config = good(&with_routing(&format!("{{seal_keys: [{new}, {old}]}}")));
    let SealSource::Written(secrets) = &config.routing.seal else {
        panic!("written secrets: {:?}", config.routing.seal);
    };
    let exposed: Vec<_> = secrets.iter().map(|secret| secret.expose()).collect();
    assert_eq!(exposed, [new.as_str(), old.as_str()]);
    let shown = format!("{} {config:?}", config.dump());
    assert!(!shown.contains(&new) && !shown.contains(&old), "{shown}");
}

#[test]
fn node_alone_keeps_its_own_key_in_a_file_with_its_name() {
    let config = good(&format!("{HEAD}node: {{name: sgp-1}}\n"));
    let SealSource::Kept(path) = &config.routing.seal else {
        panic!("a file: {:?}", config.routing.seal);
    };
    assert!(path.ends_with("grapevine-seal-sgp-1.key"));
}

#[test]
fn bad_secrets_and_weights_are_problems_with_a_remedy() {
    for (section, problem) in [
        (
            "{seal_keys: []}",
            "routing.seal_keys: is empty; list one secret, or remove the key",
        ),
        (
            "{seal_keys: [short]}",
            "routing.seal_keys[0]: must be at least 32 bytes; write the output of `openssl rand -hex 32`, the same at \
             every node of the mesh",
        ),
        (
            "{cache_weight: 11}",
            "routing.cache_weight: 11 must be from 0 to 10; write 0 to route by speed alone, 1 to count the time that a \
             warm cache saves",
        ),
    ] {
        let found = problems(&with_routing(section));
        assert_eq!(found.len(), 1, "{section}: {found:?}");
        assert!(found[0].ends_with(problem), "{section}: {}", found[0]);
    }
    let many = format!("{{seal_keys: [{}]}}", vec!["x".repeat(32); 9].join(", "));
    let found = problems(&with_routing(&many));
    assert!(
        found[0].contains("lists 9 secrets, more than 8"),
        "{found:?}"
    );
    assert!(
        good(&with_routing("{cache_weight: 1.5}"))
            .routing
            .cache_weight
            == 1.5
    );
}

#[test]
fn upstreams_of_a_key_keep_their_order() {
    let hash = "0".repeat(64);
    let key = |names: &str| {
        format!("{HEAD}keys:\n  - {{name: app, hash: \"sha256:{hash}\", upstreams: [{names}]}}\n")
    };
    let config = good(&key("z, a"));
    let upstreams = config.keys[0].upstreams.as_ref().expect("a list");
    let names: Vec<_> = upstreams.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    assert!(problems(&key("'two words'"))[0].contains("keys[0].upstreams[0]"));
}
