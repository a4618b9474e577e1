//! An answer or an error in a dialect, which the first line names, in every other.

use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::{Dialect, Translation};
use serde_json::Value;

use super::{dialect, line};

/// The status of an answer that is none.
const FAILED: u16 = 500;

/// At home an answer stays what it is. In another dialect it is one of that, and so is an error, whatever came.
pub(crate) fn target(bytes: &[u8]) {
    let (name, body) = line(bytes);
    let Some(upstream) = dialect(name) else {
        return;
    };
    let terms = AnswerTerms::default();
    if let Ok(home) = Translation::new(upstream, upstream).response(body, &terms) {
        let written = serde_json::from_slice::<Value>(&home.body).ok();
        let parsed = serde_json::from_slice::<Value>(body).ok();
        assert_eq!(written, parsed, "{upstream} changes at home");
        assert!(
            home.losses.is_empty(),
            "{upstream} loses at home: {:?}",
            home.losses
        );
    }
    for client in Dialect::ALL
        .into_iter()
        .filter(|client| *client != upstream)
    {
        let there = Translation::new(client, upstream);
        if let Ok(translated) = there.response(body, &terms) {
            let again = Translation::new(client, client).response(&translated.body, &terms);
            assert!(
                again.is_ok(),
                "{upstream} becomes no answer of {client}: {again:?}"
            );
        }
        let error = there.error(FAILED, body);
        assert_eq!(error.status, FAILED);
        let again =
            Translation::new(client, client).error_with(FAILED, error.name.as_deref(), &error.body);
        assert!(
            !again.error.message.is_empty(),
            "{upstream} becomes no error of {client}"
        );
    }
}
