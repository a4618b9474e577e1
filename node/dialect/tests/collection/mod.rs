//! Real payloads of providers, where the machine has them.

use std::fs;
use std::path::{Path, PathBuf};

use grapevine_dialect::Dialect;
use serde_json::Value;

/// The APIs of the collection, and the dialects that they speak.
pub(crate) const APIS: [(&str, Dialect); 8] = [
    ("chat-completions", Dialect::Chat),
    ("baseten", Dialect::Chat),
    ("responses", Dialect::Responses),
    ("anthropic", Dialect::Messages),
    ("bedrock-anthropic", Dialect::Messages),
    ("google", Dialect::Gemini),
    ("vertex-anthropic", Dialect::Messages),
    ("bedrock", Dialect::Converse),
];

/// What a payload is, by the end of its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Request,
    Answer,
    Stream,
}

/// One of them.
pub(crate) struct Payload {
    pub(crate) name: String,
    pub(crate) api: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) value: Value,
}

/// Every payload of the collection; nothing if there is no collection.
pub(crate) fn payloads() -> Option<Vec<Payload>> {
    let root = match std::env::var_os("GRAPEVINE_PAYLOADS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/payloads"),
    };
    let Ok(cases) = fs::read_dir(&root) else {
        eprintln!("NOT RUN: no payloads at {}", root.display());
        return None;
    };
    let mut payloads = Vec::new();
    for case in cases.flatten() {
        for (api, dialect) in APIS {
            let Ok(files) = fs::read_dir(case.path().join(api)) else {
                continue;
            };
            for file in files.flatten() {
                let file_name = file.file_name().to_string_lossy().into_owned();
                let kind = match file_name.trim_start_matches("followup-") {
                    "request.json" => Kind::Request,
                    "response.json" => Kind::Answer,
                    "response-streaming.json" => Kind::Stream,
                    _ => continue,
                };
                let text = fs::read_to_string(file.path()).expect("the payload is readable");
                payloads.push(Payload {
                    name: format!("{}/{api}/{file_name}", case.file_name().to_string_lossy()),
                    api,
                    dialect,
                    kind,
                    value: serde_json::from_str(&text).expect("the payload is JSON"),
                });
            }
        }
    }
    payloads.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!payloads.is_empty(), "{} holds no payload", root.display());
    Some(payloads)
}
