//! What clients of OpenAI may refer to by id: responses, conversations and files, each known to the mock that made it and
//! to no other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use grapevine_base::scan::form;
use grapevine_base::scan::media::{Media, media};
use http::Method;
use serde_json::{Value, json};

use super::exchange::{Call, Outcome, items, object, text};
use super::kept::Kept;
use super::refusal::Refusal;

/// Conversations and files of each kind; beyond, no more are made.
const STORED_MAX: usize = 4_096;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) kept: Kept,
    conversations: Mutex<BTreeMap<String, Vec<Value>>>,
    files: Mutex<BTreeMap<String, StoredFile>>,
}

#[derive(Debug)]
struct StoredFile {
    shown: Value,
    content: Vec<u8>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stored {
    /// The items of the conversation that a request names, by its id or as an object.
    pub(super) fn conversation(&self, named: &Value) -> Result<Vec<Value>, Refusal> {
        let Some(id) = conversation_id(named) else {
            return Ok(Vec::new());
        };
        let conversations = locked(&self.conversations);
        conversations
            .get(id)
            .cloned()
            .ok_or_else(|| gone("Conversation", id))
    }

    /// Adds what was asked and answered to the conversation that a request names.
    pub(super) fn go_on(&self, named: &Value, all: &[Value]) {
        let mut conversations = locked(&self.conversations);
        let kept = conversation_id(named).and_then(|id| conversations.get_mut(id));
        if let Some(kept) = kept {
            *kept = all.to_vec();
        }
    }

    /// Checks that every file that `input` names is here.
    pub(super) fn check_files(&self, input: &[Value]) -> Result<(), Refusal> {
        let parts = input.iter().flat_map(|item| items(&item["content"]));
        for part in parts {
            let id = text(part, "file_id");
            if !id.is_empty() && !locked(&self.files).contains_key(id) {
                return Err(gone("File", id).param("input"));
            }
        }
        Ok(())
    }

    /// Requests below `/v1/conversations` and `/v1/files`; `None` for others. `id` is a new one's.
    pub(super) fn serve(&self, call: &Call<'_>, id: &str) -> Option<Result<Outcome, Refusal>> {
        let mut segments = call.path.strip_prefix("/v1/")?.split('/');
        let (kind, named, action) = (segments.next()?, segments.next(), segments.next());
        match kind {
            "conversations" => Some(self.serve_conversation(call, id, named, action)),
            "files" => Some(self.serve_file(call, id, named, action)),
            _ => None,
        }
    }

    fn serve_conversation(
        &self,
        call: &Call<'_>,
        id: &str,
        named: Option<&str>,
        action: Option<&str>,
    ) -> Result<Outcome, Refusal> {
        let mut all = locked(&self.conversations);
        let Some(named) = named else {
            let body = object(call.body)?;
            let id = format!("conv_{}", plain(id));
            let given = body.get("items").map(items).unwrap_or_default().to_vec();
            room(all.len())?;
            all.insert(id.clone(), given);
            return Ok(Outcome::json(&shown_conversation(&id)));
        };
        let kept = all
            .get_mut(named)
            .ok_or_else(|| gone("Conversation", named))?;
        match (call.method, action) {
            (&Method::GET, None) => Ok(Outcome::json(&shown_conversation(named))),
            (&Method::DELETE, None) => {
                all.remove(named);
                let shown = json!({"id": named, "object": "conversation.deleted", "deleted": true});
                Ok(Outcome::json(&shown))
            }
            (&Method::POST, Some("items")) => {
                let body = object(call.body)?;
                let new = body.get("items").map(items).unwrap_or_default().to_vec();
                kept.extend(new.iter().cloned());
                Ok(Outcome::json(&list(&new)))
            }
            (&Method::GET, Some("items")) => Ok(Outcome::json(&list(kept))),
            _ => Err(Refusal::new(405, "Method not allowed.")),
        }
    }

    fn serve_file(
        &self,
        call: &Call<'_>,
        id: &str,
        named: Option<&str>,
        action: Option<&str>,
    ) -> Result<Outcome, Refusal> {
        let mut all = locked(&self.files);
        let Some(named) = named else {
            room(all.len())?;
            let id = format!("file-{}", plain(id));
            let file = uploaded(call, &id)?;
            let shown = file.shown.clone();
            all.insert(id, file);
            return Ok(Outcome::json(&shown));
        };
        let kept = all.get(named).ok_or_else(|| gone("File", named))?;
        match (call.method, action) {
            (&Method::GET, None) => Ok(Outcome::json(&kept.shown)),
            (&Method::GET, Some("content")) => {
                let kind = "application/octet-stream";
                Ok(Outcome::text(200, kind, kept.content.clone()))
            }
            (&Method::DELETE, None) => {
                all.remove(named);
                Ok(Outcome::json(
                    &json!({"id": named, "object": "file", "deleted": true}),
                ))
            }
            _ => Err(Refusal::new(405, "Method not allowed.")),
        }
    }
}

/// Letters and digits alone, as the ids of files are.
fn plain(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn conversation_id(named: &Value) -> Option<&str> {
    named.as_str().or_else(|| named["id"].as_str())
}

fn shown_conversation(id: &str) -> Value {
    json!({"id": id, "object": "conversation", "created_at": 1_700_000_000, "metadata": {}})
}

fn list(all: &[Value]) -> Value {
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    json!({
        "object": "list", "data": all, "has_more": false,
        "first_id": id(all.first()), "last_id": id(all.last()),
    })
}

fn gone(kind: &str, id: &str) -> Refusal {
    Refusal::new(404, format!("{kind} with id '{id}' not found."))
}

fn room(count: usize) -> Result<(), Refusal> {
    match count < STORED_MAX {
        true => Ok(()),
        false => Err(Refusal::new(429, "The mock keeps no more.")),
    }
}

fn uploaded(call: &Call<'_>, id: &str) -> Result<StoredFile, Refusal> {
    let wrong = |what: String| Refusal::invalid(what);
    let Ok(Media::Form(boundary)) = media(call.headers) else {
        return Err(wrong("The body must be a form.".to_owned()));
    };
    let fields = form::fields(call.body, boundary, ["purpose"]);
    let [purpose] = fields.map_err(|error| wrong(error.to_string()))?;
    let purpose = purpose.ok_or_else(|| wrong("'purpose' is a required property".to_owned()))?;
    let purpose = String::from_utf8_lossy(&call.body[purpose]).into_owned();
    if ![
        "assistants",
        "vision",
        "user_data",
        "evals",
        "batch",
        "fine-tune",
    ]
    .contains(&&*purpose)
    {
        return Err(wrong(format!("'{purpose}' is not one of the purposes.")));
    }
    let shown = json!({
        "id": id, "object": "file", "bytes": call.body.len(), "created_at": call.seconds(),
        "filename": "file", "purpose": purpose, "status": "processed",
    });
    let content = content(call.body, boundary).unwrap_or_default().to_vec();
    Ok(StoredFile { shown, content })
}

/// The content of the part that has a file name.
fn content<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let find = |from: usize, what: &[u8]| {
        let rest = body.get(from..)?;
        rest.windows(what.len())
            .position(|window| window == what)
            .map(|at| from + at)
    };
    let head = find(0, b"filename=")?;
    let start = find(head, b"\r\n\r\n")? + 4;
    let end = find(start, format!("\r\n--{boundary}").as_bytes())?;
    body.get(start..end)
}
