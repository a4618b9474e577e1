//! A node with a service of its own: `my-plugin:process` asks a model about each of the texts it is given.
//!
//!     cargo run --example my_plugin -- node --upstream primary=https://api.example.com/v1
//!     curl 127.0.0.1:8080/v1/tasks --json '{"service": "my-plugin:process",
//!         "payload": {"model": "gpt-4o", "texts": ["hello", "world"]}}'

use std::collections::btree_map::Entry;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use grapevine_core::ids::ServiceKey;
use grapevine_node::cli::{self, Cli};
use grapevine_node::config::Environment;
use grapevine_node::tasks::hub::ServiceRegistry;
use grapevine_node::tasks::service::{Service, TaskError, Work};
use grapevine_node::tasks::store::Note;
use grapevine_node::tasks::task::{Task, TaskFault, TaskProgress};
use serde_json::{Value, json};

struct MyPlugin;

#[async_trait::async_trait]
impl Service for MyPlugin {
    fn key(&self) -> ServiceKey {
        ServiceKey::new("my-plugin:process").expect("a valid key")
    }

    async fn run(&self, task: &Task, work: &Work) -> Result<Value, TaskError> {
        let fatal = |message: &str| TaskError::Fatal(TaskFault::new("bad_payload", message));
        let texts = task.new.payload["texts"].as_array();
        let texts = texts.ok_or_else(|| fatal("payload.texts must be a list"))?;
        // What an earlier attempt did, here or at another node, is not done again.
        let mut notes = work.notes().await?;
        for (number, text) in (0..).zip(texts) {
            if let Entry::Vacant(place) = notes.entry(number) {
                let messages = json!([{"role": "user", "content": text}]);
                let body = json!({"model": task.new.payload["model"], "messages": messages});
                let answer = work.post(task, "/v1/chat/completions", &body).await?;
                let content = answer["choices"][0]["message"].to_string().into();
                let note = Note { number, content };
                work.save(std::slice::from_ref(&note)).await?;
                place.insert(note);
            }
            work.set_progress(TaskProgress::new(notes.len(), texts.len()));
        }
        let answer = |note: &Note| serde_json::from_slice::<Value>(&note.content).ok();
        Ok(notes.values().filter_map(answer).collect())
    }
}

fn main() -> ExitCode {
    let services = ServiceRegistry::new([Arc::new(MyPlugin) as Arc<dyn Service>]);
    cli::run_with(Cli::parse(), Environment::of_process(), services)
}
