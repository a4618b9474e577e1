//! `grapevine init`: what it writes passes `check`, is what the real tools read, and starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use grapevine_tests::program::grapevine;
use grapevine_tests::scratch::Scratch;

use crate::deploy::{quiet, run, tool};

/// Regions as machines and clusters have them: a name, an address, and a port of its own.
const ADDRESSES: [&str; 3] = [
    "sgp=sgp.example.net",
    "usa=198.51.100.7",
    "eur=eur.example.net:7272",
];

/// Writes a mesh of three regions.
fn init(folder: &Path, platform: &str, regions: [&str; 3]) {
    let mut program = Command::new(grapevine());
    program.arg("init").arg(folder).args(["--for", platform]);
    for region in regions {
        program.args(["--region", region]);
    }
    program.args(["--provider", "openai", "--provider", "anthropic"]);
    program.args(["--provider", "own=http://127.0.0.1:8000/v1"]);
    program.env("OPENAI_API_KEY", "sk-of-the-provider");
    run(program.env("ANTHROPIC_API_KEY", "sk-of-the-other"));
}

/// The variables of a file `NAME=VALUE`.
fn variables(path: &Path) -> BTreeMap<String, String> {
    let lines = read(path);
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `grapevine check` finds neither a problem nor a warning.
fn check(config: &Path, variables: &BTreeMap<String, String>) {
    let mut program = Command::new(grapevine());
    program.args(["check", "-c"]).arg(config);
    let printed = run(program.env_clear().envs(variables));
    assert!(
        printed.starts_with("ok\nnode "),
        "{}: {printed}",
        config.display()
    );
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_mesh_on_this_machine_passes_check() {
    let scratch = Scratch::new("init-local");
    let folder = scratch.path().join("mesh");
    init(&folder, "local", ["sgp", "usa", "eur"]);
    quiet(tool("shellcheck").arg(folder.join("run")));
    let keys = variables(&folder.join("keys.env"));
    for node in ["sgp-1", "usa-1", "eur-1"] {
        check(&folder.join(node).join("node.yaml"), &keys);
    }
}

#[test]
fn containers_pass_check_and_are_a_project_of_compose() {
    let scratch = Scratch::new("init-compose");
    let folder = scratch.path().join("mesh");
    init(&folder, "compose", ["sgp", "usa", "eur"]);
    let mut compose = tool("docker-compose");
    let project = run(compose.arg("config").current_dir(&folder));
    for line in [
        "ANTHROPIC_API_KEY: sk-of-the-other",
        "read_only: true",
        "published: \"9093\"",
        "PROGRAM: given",
    ] {
        assert!(project.contains(line), "{line}: {project}");
    }
    let mut known = variables(&folder.join(".env"));
    // For Compose alone.
    assert!(known.remove("GRAPEVINE_USER").is_some());
    for node in ["sgp-1", "usa-1", "eur-1"] {
        check(&folder.join(node).join("node.yaml"), &known);
    }
}

#[test]
fn machines_pass_check_and_have_the_unit() {
    let scratch = Scratch::new("init-systemd");
    let folder = scratch.path().join("mesh");
    init(&folder, "systemd", ADDRESSES);
    for node in ["sgp-1", "usa-1", "eur-1"] {
        let node = folder.join(node);
        let mut known = variables(&node.join("grapevine.env"));
        // This machine has no /var/lib/grapevine.
        let queue = known.remove("GRAPEVINE_TASKS_QUEUE");
        assert_eq!(queue.as_deref(), Some("sqlite:/var/lib/grapevine/tasks.db"));
        check(&node.join("grapevine.yaml"), &known);
        for file in ["grapevine.service", "grapevine.sysusers", "install"] {
            assert!(node.join(file).is_file(), "{file}");
        }
    }
}

#[test]
fn clusters_pass_check_and_are_valid_for_kubernetes() {
    let scratch = Scratch::new("init-kubernetes");
    let folder = scratch.path().join("mesh");
    init(&folder, "kubernetes", ADDRESSES);
    for region in ["sgp", "usa", "eur"] {
        let node = format!("{region}-grapevine-0");
        let overlay = folder.join(&node);
        let rendered = run(tool("kubectl").arg("kustomize").arg(&overlay));
        let file = scratch.path().join(region);
        std::fs::write(&file, &rendered).expect("a writable scratch directory");
        run(tool("kubernetes-validate").arg("--strict").arg(&file));
        for gone in ["UPSTREAM_URL", "GRAPEVINE_MESH_SEEDS", "key: app-key-hash"] {
            assert!(!rendered.contains(gone), "{gone}: {rendered}");
        }
        assert!(rendered.contains("key: ANTHROPIC_API_KEY"), "{rendered}");
        // A pod has its configuration beside the folder of its certificates.
        let pod = overlay.join("config");
        std::fs::create_dir(&pod).expect("a writable scratch directory");
        std::fs::copy(overlay.join("node.yaml"), pod.join("node.yaml")).expect("a copy");
        let mut known = variables(&overlay.join("secrets.env"));
        let token = known.remove("admin-token").expect("a token");
        known.insert("GRAPEVINE_ADMIN_TOKEN".to_owned(), token);
        check(&pod.join("node.yaml"), &known);
    }
}

/// In a network of its own, so that the ports are those that a reader gets.
const SCRIPT: &str = r#"
set -euo pipefail
ip link set lo up
await() { local n; for n in $(seq 300); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done; echo "never came: $*"; exit 1; }
grapevine mock --listen 127.0.0.1:8000 >mock.log 2>&1 &
await curl -fsS 127.0.0.1:8000/v1/models
grapevine init mesh --for local --region sgp --region usa --region eur --provider own=http://127.0.0.1:8000/v1
mesh/run >run.log 2>&1 & run=$!
ready() {
  grapevine status --json --admin "http://127.0.0.1:$1" |
    jq -e '[.nodes[] | select(.live and .phase == "ready" and .upstreams[0].state == "healthy")] | length == 3'
}
for port in 9091 9092 9093; do await ready $port; done
for port in 8081 8082 8083; do
  curl -sS -o refused -w 'without a key %{http_code}\n' "127.0.0.1:$port/v1/models"
  curl -fsS "127.0.0.1:$port/v1/chat/completions" -H "authorization: Bearer $(cat mesh/app.key)" \
    -H 'content-type: application/json' -d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}' |
    jq -e '.choices[0].message.content' >/dev/null
  echo "answered at $port"
done
cat run.log
kill $run
wait $run || echo "ended with $?"
"#;

#[test]
fn three_regions_on_this_machine_start_and_answer_at_every_node() {
    let scratch = Scratch::new("init-run");
    let programs = scratch.path().join("bin");
    std::fs::create_dir(&programs).expect("a writable scratch directory");
    std::os::unix::fs::symlink(grapevine(), programs.join("grapevine")).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut apart = Command::new("unshare");
    apart
        .args(["--net", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["bash", "-c", SCRIPT])
        .env("PATH", format!("{}:{path}", programs.display()))
        .current_dir(scratch.path());
    let printed = run(&mut apart);
    for line in [
        "wrote 17 files for 3 nodes to mesh",
        "answered at 8081",
        "answered at 8083",
        "without a key 401",
        "usa-1  http://127.0.0.1:8082/v1  dashboard http://127.0.0.1:9092/",
        "ended with 143",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
}
