//! `WORKER_MODE`.

use grapevine_core::ids::ServiceKey;
use grapevine_core::mode::Mode;

/// A mode means what its items mean one by one, and is written in its own grammar.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(mode) = text.parse::<Mode>() else {
        return;
    };
    assert_eq!(mode.to_string().parse().as_ref(), Ok(&mode));
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_blank = text.trim().is_empty();
    assert_eq!(mode.serves_requests(), is_blank || items.contains(&"!"));
    let stranger = ServiceKey::new("no:such").expect("a key");
    let names_stranger = items.contains(&"no:such");
    let serves_all = is_blank || items == ["*"];
    assert_eq!(mode.serves(&stranger), serves_all || names_stranger);
    for key in items
        .into_iter()
        .filter_map(|item| ServiceKey::new(item).ok())
    {
        assert!(mode.serves(&key), "{key:?}");
    }
}
