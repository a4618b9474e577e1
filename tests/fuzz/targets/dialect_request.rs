//! A request in a dialect, which the first line names, in every other.

use grapevine_dialect::{Dialect, TranslateError, Translation};
use serde_json::Value;

use super::{dialect, line};

/// At home a request stays what it is. In another dialect it is one of that, and every loss has a place and a reason.
pub(crate) fn target(bytes: &[u8]) {
    let (name, body) = line(bytes);
    let Some(from) = dialect(name) else { return };
    let read = Translation::new(from, from).request(body);
    let parsed = serde_json::from_slice::<Value>(body).ok();
    match &read {
        Ok(home) => {
            let written = serde_json::from_slice::<Value>(&home.body).ok();
            assert_eq!(written, parsed, "{from} changes at home");
            assert!(
                home.losses.is_empty(),
                "{from} loses at home: {:?}",
                home.losses
            );
        }
        Err(TranslateError::NotJson) => assert!(!parsed.is_some_and(|body| body.is_object())),
        Err(_) => {}
    }
    for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
        let translated = Translation::new(from, to).request(body);
        assert_eq!(
            translated.is_ok(),
            read.is_ok(),
            "{from} is read in two ways"
        );
        let Ok(translated) = translated else { continue };
        let again = Translation::new(to, to).request(&translated.body);
        assert!(
            again.is_ok(),
            "{from} becomes no request of {to}: {again:?}"
        );
        for loss in &translated.losses {
            assert!(!loss.reason.is_empty(), "{from} to {to}: {loss:?}");
        }
    }
}
