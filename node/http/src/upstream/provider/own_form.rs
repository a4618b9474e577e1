//! Anthropic's messages as Anthropic's own API takes them, out of what clients of Bedrock and Vertex AI send.

use std::ops::Range;

use bytes::Bytes;
use grapevine_base::scan;

use super::body::{is_empty, kept};

/// What the body of such a client has in place of headers, and what its path says.
const KEYS: [&str; 4] = ["anthropic_version", "anthropic_beta", "model", "stream"];

/// What clouds call their versions by, beside a date.
const CLOUD_VERSIONS: [&str; 2] = ["bedrock-", "vertex-"];

/// A request in Anthropic's own form.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) struct OwnForm {
    pub(in crate::upstream) body: Bytes,
    /// The version that the client names, where it is one of Anthropic's own API.
    pub(in crate::upstream) version: Option<String>,
    /// What it asks for that is not released.
    pub(in crate::upstream) betas: Vec<String>,
}

/// Why a body has no such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::upstream) enum OwnFormError {
    /// Its members cannot be read with certainty.
    #[error("the body is no JSON object that every parser reads alike")]
    Unclear,
    /// A header could not hold it.
    #[error("'anthropic_version' must be a string")]
    Version,
    /// Headers could not hold it.
    #[error("'anthropic_beta' must be a list of strings")]
    Betas,
}

/// `body` with what the client's path says of it; `None` where the path says nothing, and the body names its model.
pub(in crate::upstream) fn own_form(
    body: &Bytes,
    of_path: Option<(&str, bool)>,
) -> Result<OwnForm, OwnFormError> {
    let found = scan::top_level(body, KEYS).map_err(|_| OwnFormError::Unclear)?;
    let raw = |at: usize| found[at].clone().map(|range| &body[range]);
    let version = raw(0).map(|raw| scan::text(raw).ok_or(OwnFormError::Version));
    let version = version.transpose()?.map(|text| text.into_owned());
    let betas = raw(1).map(|raw| serde_json::from_slice(raw).map_err(|_| OwnFormError::Betas));
    let betas = betas.transpose()?.unwrap_or_default();
    let mut dropped: Vec<Range<usize>> = match of_path {
        Some(_) => found.iter().flatten().cloned().collect(),
        None => found[..2].iter().flatten().cloned().collect(),
    };
    dropped.sort_unstable_by_key(|range| range.start);
    let open = body.iter().position(|byte| *byte == b'{');
    let open = open.ok_or(OwnFormError::Unclear)? + 1;
    let rest: [_; KEYS.len() + 1] = kept(body, open, &dropped).ok_or(OwnFormError::Unclear)?;
    let mut written = Vec::with_capacity(body.len() + 64);
    written.extend_from_slice(&body[..open]);
    if let Some((model, is_stream)) = of_path {
        let model = serde_json::Value::from(model);
        let comma = if is_empty(body, &rest) { "" } else { "," };
        let added = format!("\"model\":{model},\"stream\":{is_stream}{comma}");
        written.extend_from_slice(added.as_bytes());
    }
    for range in rest {
        written.extend_from_slice(&body[range]);
    }
    let is_own = |version: &String| {
        !CLOUD_VERSIONS
            .iter()
            .any(|cloud| version.starts_with(cloud))
    };
    Ok(OwnForm {
        body: written.into(),
        version: version.filter(is_own),
        betas,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn of(body: &str, of_path: Option<(&str, bool)>) -> Result<OwnForm, OwnFormError> {
        own_form(&Bytes::copy_from_slice(body.as_bytes()), of_path)
    }

    #[test]
    fn path_of_the_client_says_model_and_stream() {
        let body = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"anthropic_beta":["x","y"]}"#;
        let form = of(body, Some(("m\"", true))).expect("a form");
        assert_eq!(form.body, r#"{"model":"m\"","stream":true,"max_tokens":1}"#);
        assert_eq!(
            (form.version, form.betas),
            (None, vec!["x".into(), "y".into()])
        );
    }

    #[test]
    fn body_that_names_its_model_keeps_it() {
        let body = r#"{"model":"m","anthropic_version":"2023-06-01"}"#;
        let form = of(body, None).expect("a form");
        assert_eq!(form.body, r#"{"model":"m"}"#);
        assert_eq!(form.version.as_deref(), Some("2023-06-01"));
    }

    #[test]
    fn members_that_no_header_can_hold_are_refused() {
        for (body, error) in [
            (r#"{"anthropic_version":1}"#, OwnFormError::Version),
            (r#"{"anthropic_beta":"x"}"#, OwnFormError::Betas),
            (r#"{"a":1,"anthropic_beta":[1]}"#, OwnFormError::Betas),
            (r#"{"model":"a","model":"b"}"#, OwnFormError::Unclear),
            ("[]", OwnFormError::Unclear),
        ] {
            assert_eq!(of(body, Some(("m", false))), Err(error), "{body}");
        }
    }

    proptest! {
        #[test]
        fn written_body_says_the_same_as_an_edited_tree(
            order in Just(vec!["model", "stream", "anthropic_version", "anthropic_beta", "a", "b"]).prop_shuffle(),
            count in 0_usize..=6,
            blank in "[ \n\t]{0,2}",
        ) {
            let value = |key: &str| match key {
                "anthropic_beta" => json!(["x"]),
                "anthropic_version" => json!("v"),
                key => json!({"model": key, "s": "}\","}),
            };
            let members = order.iter().take(count);
            let members = members.map(|key| format!("{blank}\"{key}\"{blank}:{blank}{}{blank}", value(key)));
            let text = format!("{blank}{{{}{blank}}}", members.collect::<Vec<_>>().join(","));
            let mut object: Map<String, Value> = serde_json::from_str(&text).expect("an object");
            let form = of(&text, Some(("m", true))).expect("a form");
            for key in ["anthropic_version", "anthropic_beta"] {
                object.remove(key);
            }
            object.insert("model".to_owned(), json!("m"));
            object.insert("stream".to_owned(), json!(true));
            let read: Value = serde_json::from_slice(&form.body).expect("JSON again");
            prop_assert_eq!(read, Value::Object(object));
        }
    }
}
