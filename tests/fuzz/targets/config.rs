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
            assert!(!shown.contains("sk-hunter2"), "a secret is shown");
            // A secret is shown as stars, and this one has to be long.
            let secret = r#""secret":"whsec_cGxlYXNlLXdyaXRlLXlvdXItb3duLXNlY3JldA==""#;
            let filled = shown.replace(r#""secret":"***""#, secret);
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
