//! Nodes that are cut off, nodes of another mesh, and seeds that come late.

use std::time::Duration;

use grapevine_tests::client::chat;
use grapevine_tests::load::{Load, failures};
use grapevine_tests::mesh::{MESH_NAME, create_authority, issue_certificate};
use grapevine_tests::node::Addresses;
use grapevine_tests::ports::free_address;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use serde_json::json;

const MODEL: &str = "gpt-4o";
const LIMIT: Duration = Duration::from_secs(15);

/// Requests that show that a node serves.
const REQUESTS: usize = 20;

#[tokio::test]
async fn a_node_cut_off_from_all_peers_serves_its_own_upstream_and_comes_back() {
    let mocks = [
        Mock::start("sgp-mock", &[MODEL]).await,
        Mock::start("jpn-mock", &[MODEL]).await,
        Mock::start("usa-mock", &[MODEL]).await,
    ];
    for mock in &mocks {
        mock.set(json!({"latency": "30ms"})).await;
    }
    let mesh = Mesh::builder()
        .behind_network()
        .node("sgp", |node| node.upstream(&mocks[0]))
        .node("jpn", |node| node.upstream(&mocks[1]))
        .node("usa", |node| node.upstream(&mocks[2]))
        .start()
        .await;
    let load = Load::start(&mesh["sgp"], 4, MODEL);
    mesh.network().isolate("sgp");
    for (node, lost) in [
        ("sgp", "jpn"),
        ("sgp", "usa"),
        ("jpn", "sgp"),
        ("usa", "sgp"),
    ] {
        let what = format!("{lost} gone");
        mesh[node]
            .wait_for_view(&what, LIMIT, |view| {
                !view.is_live(lost) && !view.is_reachable(lost)
            })
            .await;
    }
    for _ in 0..REQUESTS {
        let answer = chat(&mesh["sgp"], MODEL, "alone").await;
        assert_eq!(
            (
                answer.status,
                answer.header("x-grapevine-node"),
                answer.header("x-grapevine-attempts")
            ),
            (200, "sgp", "1")
        );
    }
    let ready = mesh["sgp"].admin("/readyz").await;
    assert_eq!(
        ready.status,
        200,
        "a cut-off node that serves is ready: {}",
        ready.text()
    );
    assert!(
        mesh["jpn"].view().await.is_live("usa"),
        "the others keep each other"
    );

    mesh.network().heal();
    mesh.wait_until_converged().await;
    let samples = load.finish().await;
    assert_eq!(
        failures(&samples),
        Vec::<String>::new(),
        "of {}",
        samples.len()
    );
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused_with_advice_and_never_seen() {
    let mock = Mock::start("near", &[MODEL]).await;
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&mock))
        .node("jpn", |node| node)
        .start()
        .await;
    let elsewhere = Scratch::new("elsewhere");
    create_authority(elsewhere.path(), MESH_NAME);
    issue_certificate(elsewhere.path(), "intruder", elsewhere.path());
    let intruder = stranger(&elsewhere, "intruder", &mesh);

    let advice = wait_until("a log line that names what to check", LIMIT, async || {
        for node in [&mesh["sgp"], &intruder] {
            let log = node.log();
            if let Some(line) = log.lines().find(|line| is_advice(line)) {
                return Ok(line.to_string());
            }
        }
        Err(format!(
            "sgp:\n{}\nintruder:\n{}",
            mesh["sgp"].log(),
            intruder.log()
        ))
    });
    let (advice, _) = advice.await;
    eprintln!("{advice}");
    for node in mesh.nodes() {
        let view = node.view().await;
        assert!(view.node("intruder").is_none(), "{:#}", view.0);
        assert!(view.is_live("sgp") && view.is_live("jpn"));
    }
    let view = intruder.view().await;
    for name in ["sgp", "jpn"] {
        assert!(
            !view.is_live(name),
            "the intruder sees {name}: {:#}",
            view.0
        );
    }
    assert_eq!(chat(&mesh["jpn"], MODEL, "hello").await.status, 200);
}

/// A warning that names the certificate and where to look.
fn is_advice(line: &str) -> bool {
    let line = line.to_lowercase();
    let loud = line.contains("warn") || line.contains("error");
    let names = line.contains("certificate") || line.contains("authority");
    loud && names && (line.contains("mesh.tls") || line.contains("ca "))
}

/// A node that knows the mesh's addresses but has certificates from somewhere else.
fn stranger(directory: &Scratch, name: &str, mesh: &Mesh) -> Node {
    let addresses = Addresses {
        public: free_address(),
        mesh: free_address(),
        admin: free_address(),
    };
    let seeds: Vec<String> = mesh
        .nodes()
        .iter()
        .map(|node| node.addresses().mesh.to_string())
        .collect();
    let file = |name: String| directory.path().join(name);
    let config = json!({
        "node": {"name": name, "region": name},
        "listen": addresses.public.to_string(),
        "admin": {"listen": addresses.admin.to_string()},
        "mesh": {
            "name": MESH_NAME,
            "listen": addresses.mesh.to_string(),
            "advertise": addresses.mesh.to_string(),
            "seeds": seeds,
            "tls": {
                "ca": file("mesh-ca.pem".to_string()),
                "cert": file(format!("{name}.pem")),
                "key": file(format!("{name}.key")),
            },
        },
    });
    Node::start_in(directory.path(), name, addresses, config)
}

#[tokio::test]
async fn a_seed_by_name_that_comes_up_later_is_joined() {
    let (near, far) = (
        Mock::start("near", &[MODEL]).await,
        Mock::start("far", &["gpt-4o-far"]).await,
    );
    let mesh = Mesh::builder()
        .node("sgp", |node| node.upstream(&near))
        .node("jpn", |node| node.upstream(&far))
        .launch()
        .await;
    mesh["jpn"].kill();
    let port = mesh["jpn"].addresses().mesh.port();
    // The other node will know no seed, so that only this one's dials can join them.
    let seeds = json!([format!("localhost:{port}")]);
    mesh["sgp"]
        .restart_with(|config| config["mesh"]["seeds"] = seeds)
        .await;
    assert_eq!(chat(&mesh["sgp"], MODEL, "alone").await.status, 200);
    // The seed may serve it.
    let far = chat(&mesh["sgp"], "gpt-4o-far", "alone").await;
    assert_eq!(
        (far.status, &far.json()["error"]["code"]),
        (503, &json!("node_joining"))
    );

    mesh["jpn"]
        .restart_with(|config| config["mesh"]["seeds"] = json!([]))
        .await;
    mesh.wait_until_converged().await;
    let answer = chat(&mesh["sgp"], "gpt-4o-far", "together").await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-node")),
        (200, "jpn")
    );
}
