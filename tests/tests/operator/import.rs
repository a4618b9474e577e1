//! A LiteLLM config becomes a node, that node joins a mesh, and the mesh answers as LiteLLM would: by the old
//! names, with the old key, and with a fallback when a deployment fails.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, try_get, whole};
use grapevine_tests::ports::free_address;
use grapevine_tests::process::Process;
use grapevine_tests::program::{grapevine, workspace};
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mock, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// What clients of LiteLLM send.
const MASTER_KEY: &str = "sk-master-5b21";

/// What LiteLLM sends to a deployment: once in the file, once in a variable.
const UPSTREAM_KEY: &str = "sk-upstream-77c0";

/// A config in the shape of LiteLLM's documentation: two models, one with two deployments, a fallback, an alias.
fn litellm(first: &Mock, second: &Mock, spare: &Mock) -> String {
    format!(
        "model_list:\n\
         \x20 - model_name: zephyr-beta\n\
         \x20   litellm_params:\n\
         \x20     model: openai/first-model\n\
         \x20     api_base: {}\n\
         \x20     api_key: {UPSTREAM_KEY}\n\
         \x20     rpm: 60\n\
         \x20 - model_name: zephyr-beta\n\
         \x20   litellm_params:\n\
         \x20     model: hosted_vllm/second-model\n\
         \x20     api_base: {}\n\
         \x20     rpm: 600\n\
         \x20 - model_name: gpt-4o\n\
         \x20   litellm_params:\n\
         \x20     model: openai/spare-model\n\
         \x20     api_base: {}\n\
         \x20     api_key: os.environ/SPARE_KEY\n\
         litellm_settings:\n\
         \x20 num_retries: 2\n\
         \x20 request_timeout: 10\n\
         \x20 fallbacks: [{{\"zephyr-beta\": [\"gpt-4o\"]}}]\n\
         \x20 drop_params: true\n\
         router_settings:\n\
         \x20 routing_strategy: simple-shuffle\n\
         \x20 model_group_alias: {{\"gpt-4\": \"gpt-4o\"}}\n\
         \x20 redis_host: localhost\n\
         general_settings:\n\
         \x20 master_key: {MASTER_KEY}\n",
        first.base_url(),
        second.base_url(),
        spare.base_url(),
    )
}

/// Two nodes: `old` with what was imported, `new` with nothing but the way to it.
struct Nodes {
    processes: Vec<Process>,
    addresses: [[SocketAddr; 3]; 2],
    // Dropped last: the nodes write there.
    _scratch: Scratch,
}

fn run(arguments: &[&str]) -> Output {
    Command::new(grapevine())
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Nodes {
    async fn start(litellm: &str) -> Self {
        let scratch = Scratch::new("import");
        let file = |name: &str| text(&scratch.path().join(name));
        std::fs::write(file("litellm.yaml"), litellm).expect("a file can be written");
        let imported = run(&[
            "import",
            "litellm",
            &file("litellm.yaml"),
            "-o",
            &file("old.yaml"),
        ]);
        let stderr = String::from_utf8_lossy(&imported.stderr).into_owned();
        // Something was lost (drop_params), and a variable is new.
        assert_eq!(imported.status.code(), Some(3), "{stderr}");
        assert!(
            stderr.contains("litellm_settings.drop_params") && stderr.contains("OPENAI_KEY_1"),
            "{stderr}"
        );
        let written = std::fs::read_to_string(file("old.yaml")).expect("the new file");
        for secret in [MASTER_KEY, UPSTREAM_KEY] {
            assert!(
                !written.contains(secret) && !stderr.contains(secret),
                "{secret} in\n{stderr}\n{written}"
            );
        }
        std::fs::write(file("new.yaml"), "upstreams: []\n").expect("a file can be written");
        assert!(
            run(&["ca", "init", "--mesh", "moved", "--out", &file("ca")])
                .status
                .success()
        );
        let addresses = [(); 2].map(|()| [(); 3].map(|()| free_address()));
        let mut processes = Vec::new();
        for (index, name) in ["old", "new"].into_iter().enumerate() {
            let issued = [
                "ca",
                "issue",
                "--ca",
                &file("ca"),
                "--name",
                name,
                "--out",
                &file(""),
            ];
            assert!(run(&issued).status.success());
            let [public, mesh, admin] = addresses[index].map(|address| address.to_string());
            let seed = addresses[1 - index][1].to_string();
            let (config, ca) = (file(&format!("{name}.yaml")), file("ca/mesh-ca.pem"));
            let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
            let arguments = [
                "node",
                "-c",
                &config,
                "--region",
                name,
                "--listen",
                &public,
                "--admin-listen",
                &admin,
                "--mesh-listen",
                &mesh,
                "--advertise",
                &mesh,
                "--seed",
                &seed,
                "--ca",
                &ca,
                "--cert",
                &cert,
                "--key",
                &key,
            ];
            let arguments = arguments.map(str::to_owned);
            let process = Process::new(name, &grapevine(), &arguments, scratch.path())
                .environment("OPENAI_KEY_1", UPSTREAM_KEY)
                .environment("SPARE_KEY", UPSTREAM_KEY)
                .environment("NO_COLOR", "1");
            process.start();
            processes.push(process);
        }
        let nodes = Self {
            processes,
            addresses,
            _scratch: scratch,
        };
        nodes.wait_until_joined().await;
        nodes
    }

    /// Until the new node sees the upstreams of the old one.
    async fn wait_until_joined(&self) {
        let client = http();
        let page = format!("http://{}/mesh", self.addresses[1][2]);
        wait_until("the two nodes to meet", LIMIT, async || {
            self.processes.iter().for_each(Process::check_alive);
            let answer = try_get(&client, &page)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let view: Value = answer.json();
            let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
            let old = nodes.iter().find(|node| node["name"] == "old");
            let is_there = old.is_some_and(|old| {
                let healthy = old["upstreams"].as_array().into_iter().flatten();
                old["reach"] == "open"
                    && healthy.filter(|one| one["state"] == "healthy").count() == 4
            });
            if is_there {
                Ok(())
            } else {
                Err(view.to_string())
            }
        })
        .await;
    }

    /// Asks one of the nodes, 0 the old one.
    async fn ask(&self, node: usize, model: &str, key: &str) -> Answer {
        let url = format!("http://{}/v1/chat/completions", self.addresses[node][0]);
        let request = http()
            .post(url)
            .bearer_auth(key)
            .json(&chat_body(model, "hello"));
        whole(request).await.expect("an answer")
    }
}

#[tokio::test]
async fn imported_mesh_answers_by_the_old_names_and_falls_back_as_configured() {
    let first = Mock::start("first", &["first-model"]).await;
    let second = Mock::start("second", &["second-model"]).await;
    let spare = Mock::start("spare", &["spare-model"]).await;
    let nodes = Nodes::start(&litellm(&first, &second, &spare)).await;

    // The old key opens the node that was imported, and no other key does.
    assert_eq!(nodes.ask(0, "gpt-4o", "sk-wrong").await.status, 401);
    for model in ["gpt-4o", "gpt-4", "zephyr-beta"] {
        let answer = nodes.ask(0, model, MASTER_KEY).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
    }
    // A node that joined asks it over the mesh.
    let answer = nodes.ask(1, "zephyr-beta", "any").await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-path")),
        (200, "new>old"),
        "{}",
        answer.text()
    );

    // One deployment fails: the other answers. Both fail: the fallback does, from the next tier.
    first
        .set(json!({"error_rate": 1.0, "error_status": 500}))
        .await;
    for _ in 0..5 {
        let answer = nodes.ask(0, "zephyr-beta", MASTER_KEY).await;
        assert_eq!(
            (answer.status, answer.header("x-grapevine-upstream")),
            (200, "hosted_vllm")
        );
    }
    second.kill();
    let before = spare.count("completed").await;
    let answer = nodes.ask(0, "zephyr-beta", MASTER_KEY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(spare.count("completed").await, before + 1);
}

#[tokio::test]
async fn what_is_no_config_of_litellm_is_refused_and_nothing_is_written() {
    let scratch = Scratch::new("import-none");
    let file = |name: &str| text(&scratch.path().join(name));
    std::fs::write(file("a.yaml"), "services: {}\n").expect("a file can be written");
    let refused = run(&["import", "litellm", &file("a.yaml"), "-o", &file("b.yaml")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("model_list"));
    assert!(!scratch.path().join("b.yaml").exists());
}

/// A file of which nothing is lost: Azure, a pattern, and callbacks that are built in.
const AZURE: &str = "\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o
      api_base: https://openai-eu.openai.azure.com/
      api_key: os.environ/AZURE_KEY
  - model_name: anthropic/*
    litellm_params: {model: anthropic/*, api_key: os.environ/CLAUDE_KEY}
litellm_settings:
  callbacks: [prometheus, otel]
";

#[test]
fn imported_urls_keep_their_hosts_and_pass_the_check_without_a_warning() {
    let scratch = Scratch::new("import-azure");
    let file = |name: &str| text(&scratch.path().join(name));
    std::fs::write(file("a.yaml"), AZURE).expect("a file can be written");
    let imported = run(&["import", "litellm", &file("a.yaml"), "-o", &file("b.yaml")]);
    let findings = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert_eq!(imported.status.code(), Some(3), "{findings}");
    for part in [
        "note: model_list[0].litellm_params.api_base: https://openai-eu.openai.azure.com/ is written as \
         https://openai-eu.openai.azure.com:",
        "clients ask for MODEL, not for anthropic/MODEL",
        "note: litellm_settings.callbacks[0]: prometheus is built in",
        "note: litellm_settings.callbacks[1]: otel is built in",
    ] {
        assert!(findings.contains(part), "{part} is not in\n{findings}");
    }
    assert!(!findings.contains("lost"), "{findings}");
    let checked = Command::new(grapevine())
        .args(["check", "-c", &file("b.yaml")])
        .env("AZURE_KEY", "a")
        .env("CLAUDE_KEY", "b")
        .output()
        .expect("the program runs");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.contains("upstream  azure at https://openai-eu.openai.azure.com (azure, key)"),
        "{checked}"
    );
    assert!(!checked.contains("base_url"), "{checked}");
}

#[test]
fn check_warns_of_a_url_of_a_call_and_of_a_provider_without_its_path() {
    let scratch = Scratch::new("check-urls");
    let path = text(&scratch.path().join("node.yaml"));
    let config = "listen: 127.0.0.1:8080\nupstreams:\n\
                  \x20 - {name: a, base_url: 'http://10.0.0.7:8000/v1/chat/completions'}\n\
                  \x20 - {name: b, base_url: 'https://openrouter.ai/api'}\n";
    std::fs::write(&path, config).expect("a file can be written");
    let checked = run(&["check", "-c", &path]);
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    let printed = printed + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{printed}");
    for remedy in [
        "upstreams[0].base_url: http://10.0.0.7:8000/v1/chat/completions ends in /chat/completions",
        "set it to http://10.0.0.7:8000/v1",
        "set it to https://openrouter.ai/api/v1",
    ] {
        assert!(printed.contains(remedy), "{remedy} is not in\n{printed}");
    }
}

#[test]
fn every_config_of_the_migration_pages_is_valid() {
    let scratch = Scratch::new("moving");
    let file = |name: &str| text(&scratch.path().join(name));
    assert!(
        run(&["ca", "init", "--mesh", "pages", "--out", &file("")])
            .status
            .success()
    );
    // What the pages call the certificate of the API.
    let issued = run(&[
        "ca",
        "issue",
        "--ca",
        &file(""),
        "--name",
        "api",
        "--out",
        &file(""),
    ]);
    assert!(issued.status.success());
    let mut checked = 0;
    for page in ["nginx.md", "own-router.md"] {
        let path = workspace().join("deploy/guide/src/migrating").join(page);
        let page = std::fs::read_to_string(&path).expect("a page");
        for block in page.split("```yaml\n").skip(1) {
            let config = block.split("```").next().unwrap_or_default();
            std::fs::write(file("node.yaml"), config).expect("a file can be written");
            let output = Command::new(grapevine())
                .args(["check", "-c", &file("node.yaml")])
                .env("PRIMARY_KEY", "a")
                .env("STANDBY_KEY", "b")
                .output()
                .expect("the program runs");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{}: {printed}\n{config}",
                path.display()
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 2);
}
