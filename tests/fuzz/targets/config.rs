//! A configuration's text.

use grapevine_node::config::{Sources, load_text};

/// It is taken, or refused with problems that name their remedy; what it means can be shown, and what is shown is
/// taken again and means the same.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let variables = [("UPSTREAM_API_KEY", "sk-hunter2"), ("ADMIN_TOKEN", "t")];
    let sources = Sources {
        environment: variables.into_iter().collect(),
        ..Sources::default()
    };
    match load_text(text, &sources) {
        Ok(loaded) => {
            let shown = loaded.config.dump().to_string();
            // A secret that is put into a name is shown as the name that it is.
            let upstreams = loaded.config.dump()["upstreams"].take();
            for upstream in upstreams.as_array().into_iter().flatten() {
                let key = upstream["api_key"].as_str();
                assert!(key.is_none_or(|key| key == "***"), "a key is shown");
            }
            let filled = with_secrets(&shown);
            let again = load_text(&filled, &Sources::default());
            let again = again.unwrap_or_else(|problems| panic!("{shown}: {problems}"));
            assert_eq!(again.config.dump().to_string(), shown);
        }
        Err(problems) => {
            assert!(problems.iter().count() > 0);
            let shown = problems.to_string();
            assert!(!shown.contains("was not understood"), "{shown}");
            assert!(!shown.contains("sk-hunter2"), "a secret is shown: {shown}");
        }
    }
}

/// What is shown as stars and has a form of its own, as other values of that form.
fn with_secrets(shown: &str) -> String {
    let secret = r#""secret":"whsec_cGxlYXNlLXdyaXRlLXlvdXItb3duLXNlY3JldA==""#;
    let mut filled = shown.replace(r#""secret":"***""#, secret);
    let hash = r#""hash":"***""#;
    for number in 0..shown.matches(hash).count() {
        let other = format!(r#""hash":"sha256:{number:064x}""#);
        filled = filled.replacen(hash, &other, 1);
    }
    filled
}
