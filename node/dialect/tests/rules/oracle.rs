//! The script that knows the rules.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use grapevine_dialect::framing::EventReader;
use grapevine_dialect::grammar::ServerEvent;
use grapevine_dialect::{Dialect, Framing};
use serde_json::{Value, json};

/// The seed of what is generated: the same each time, so that what fails was broken by the change at hand.
const SEED: &str = "1";

/// A body to check.
pub(crate) struct Body {
    dialect: Dialect,
    kind: &'static str,
    pub(crate) name: String,
    body: Value,
}

impl Body {
    pub(crate) fn new(dialect: Dialect, kind: &'static str, name: String, body: Value) -> Self {
        Self {
            dialect,
            kind,
            name,
            body,
        }
    }
}

/// A body that follows the rules of its own dialect.
pub(crate) struct Generated {
    pub(crate) dialect: Dialect,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) body: Value,
    /// The field that it was made for.
    pub(crate) field: Option<String>,
    /// The same without that field.
    pub(crate) without: Option<Value>,
}

/// The events in the bytes of a stream, each as its SDK reads it: Converse's by the name that its frame has.
pub(crate) fn received(dialect: Dialect, bytes: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let mut reader = EventReader::new(Framing::of(dialect));
    reader.push(bytes, &mut events).unwrap();
    let said = events.into_iter().filter(|event| event.data != "[DONE]");
    let value = |event: ServerEvent| -> Value {
        let value = serde_json::from_str(&event.data).unwrap();
        match (dialect, event.name) {
            (Dialect::Converse, Some(name)) => json!({name: value}),
            _ => value,
        }
    };
    said.map(value).collect()
}

/// The script, and what runs it.
pub(crate) struct Oracle {
    python: PathBuf,
    script: PathBuf,
}

impl Oracle {
    /// Nothing where the SDKs are not installed.
    pub(crate) fn find() -> Option<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
        let named = std::env::var_os("GRAPEVINE_PYTHON").map(PathBuf::from);
        let python = named.unwrap_or_else(|| tests.join(".env/python/bin/python"));
        let script = tests.join("clients/dialect_rules.py");
        if !python.is_file() {
            eprintln!("NOT RUN: no SDKs at {}", python.display());
            return None;
        }
        Some(Self { python, script })
    }

    pub(crate) fn generated(&self, count: usize) -> Vec<Generated> {
        let count = count.to_string();
        let lines = self.run(&["generate", SEED, &count], Stdio::null());
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_string();
        let dialect = |name: &str| {
            let mut all = Dialect::ALL.into_iter();
            all.find(|one| one.to_string() == name).unwrap()
        };
        let read = |line: Value| Generated {
            dialect: dialect(&text(&line, "dialect")),
            kind: text(&line, "kind"),
            name: text(&line, "name"),
            body: line["body"].clone(),
            field: line["field"].as_str().map(ToString::to_string),
            without: line.get("without").cloned(),
        };
        lines.into_iter().map(read).collect()
    }

    /// What is wrong with each body, by its name.
    pub(crate) fn problems(&self, bodies: &[Body]) -> Vec<String> {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("bodies-{}-{number}.jsonl", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        for body in bodies {
            let line = json!({
                "dialect": body.dialect.to_string(), "kind": body.kind, "name": body.name, "body": body.body,
            });
            writeln!(file, "{line}").unwrap();
        }
        file.flush().unwrap();
        let lines = self.run(&["check"], File::open(&path).unwrap().into());
        std::fs::remove_file(&path).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let said = |line: &Value| {
            let (name, path, problem) = (&line["name"], &line["path"], &line["problem"]);
            format!("{}: {}: {}", text(name), text(path), text(problem))
        };
        lines.iter().map(said).collect()
    }

    fn run(&self, arguments: &[&str], input: Stdio) -> Vec<Value> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(arguments).stdin(input);
        let output = command.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?}: {}: {complaint}",
            output.status
        );
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}
