//! Paths about what one upstream keeps.
//!
//! The paths of files and batches are the node's own too: the node that a client asks sends on only what an upstream
//! keeps or is to keep, and answers the rest itself.

use super::Methods;

/// The longest id in a path: that of an upstream, and a seal.
const ID_MAX: usize = 256;

/// The methods of `path`; `None` where it is about nothing that an upstream keeps.
pub(super) fn listed(path: &str) -> Option<Methods> {
    let mut segments = path.strip_prefix("/v1/")?.split('/');
    let kind = segments.next()?;
    let id = match segments.next() {
        Some(id) => id,
        // Containers are made by tools; one that a client makes costs money that no answer reports.
        None => {
            let is_made = matches!(kind, "conversations" | "files" | "batches");
            return is_made.then_some(Methods::POST);
        }
    };
    let action = segments.next();
    let item = segments.next();
    let part = segments.next();
    let ids = [Some(id), item];
    if segments.next().is_some() || !ids.into_iter().flatten().all(is_id) {
        return None;
    }
    match (kind, action, item, part) {
        ("responses", None, None, None) => Some(Methods::GET_AND_DELETE),
        ("responses", Some("cancel"), None, None) => Some(Methods::POST),
        ("responses", Some("input_items"), None, None) => Some(Methods::GET),
        ("conversations", None, None, None) => Some(Methods::GET_POST_AND_DELETE),
        ("conversations", Some("items"), None, None) => Some(Methods::GET_AND_POST),
        ("conversations", Some("items"), Some(_), None) => Some(Methods::GET_AND_DELETE),
        ("containers", None, None, None) => Some(Methods::GET_AND_DELETE),
        ("containers", Some("files"), None, None) => Some(Methods::GET),
        ("containers", Some("files"), Some(_), None) => Some(Methods::GET_AND_DELETE),
        ("containers", Some("files"), Some(_), Some("content")) => Some(Methods::GET),
        ("files", None, None, None) => Some(Methods::GET_AND_DELETE),
        ("files", Some("content"), None, None) => Some(Methods::GET),
        ("batches", None, None, None) => Some(Methods::GET),
        ("batches", Some("cancel"), None, None) => Some(Methods::POST),
        _ => None,
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(is_plain)
}
