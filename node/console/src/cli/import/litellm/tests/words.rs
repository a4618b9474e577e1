//! The texts of the import name only metrics and keys that exist.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const METRICS: &str = include_str!("../../../../../../../deploy/prometheus/METRICS.md");
const TABLE: &str = include_str!("../known.txt");

/// First parts of LiteLLM's own keys.
const LITELLM: [&str; 5] = [
    "litellm_params",
    "model_info",
    "router_settings",
    "litellm_settings",
    "general_settings",
];

/// Words with an underscore that are neither keys of the configuration nor metrics: LiteLLM's, and fields of
/// `/requests` and of bodies.
const OTHERS: [&str; 14] = [
    "api_base",
    "callback_settings",
    "credential_list",
    "custom_llm_provider",
    "environment_variables",
    "hosted_vllm",
    "litellm_credential_name",
    "model_list",
    "model_name",
    "reasoning_content",
    "stream_timeout",
    "token_counter",
    "tokens_in",
    "tokens_out",
];

/// Every key of the configuration in full, and every name of one.
struct Keys {
    paths: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Keys {
    fn new() -> Self {
        let schema = grapevine_config::schema();
        let mut keys = Self {
            paths: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        keys.collect(&schema, &schema, "", 0);
        keys
    }

    fn collect(&mut self, schema: &Value, node: &Value, path: &str, depth: usize) {
        // No key lies deeper; a schema may refer to itself.
        if depth > 16 {
            return;
        }
        if let Some(target) = node["$ref"].as_str() {
            let pointer = target.trim_start_matches('#');
            let target = schema
                .pointer(pointer)
                .expect("a reference leads somewhere");
            self.collect(schema, target, path, depth + 1);
        }
        for list in ["anyOf", "oneOf", "allOf"] {
            for one in node[list].as_array().into_iter().flatten() {
                self.collect(schema, one, path, depth + 1);
            }
        }
        if node["items"].is_object() {
            self.collect(schema, &node["items"], &format!("{path}[]"), depth + 1);
        }
        for (name, inner) in node["properties"].as_object().into_iter().flatten() {
            let full = match path {
                "" => name.clone(),
                above => format!("{above}.{name}"),
            };
            self.names.insert(name.clone());
            self.paths.insert(full.clone());
            self.collect(schema, inner, &full, depth + 1);
        }
    }
}

/// Every text that a finding may consist of: cells of the table, and literals of the code before its tests.
fn texts() -> Vec<String> {
    let is_line = |line: &&str| !line.is_empty() && !line.starts_with(['#', '[']);
    let lines = TABLE.lines().filter(is_line);
    let cells = lines.flat_map(|line| line.split(" | ").skip(2));
    let mut texts: Vec<String> = cells.map(str::to_owned).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/import");
    for folder in [folder.clone(), folder.join("litellm")] {
        for entry in std::fs::read_dir(folder).expect("the import's folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let code = text.split("#[cfg(test)]\nmod tests {").next();
                texts.extend(literals(code.unwrap_or_default()));
            }
        }
    }
    texts
}

/// The texts in quotes of `code`, comments left out.
fn literals(code: &str) -> Vec<String> {
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let lines = code.lines().filter(|line| !is_comment(line));
    let code = lines.collect::<Vec<_>>().join("\n");
    let code = code
        .replace("'\"'", "")
        .replace("\\\\", "")
        .replace("\\\"", "'");
    let quoted = code.split('"').skip(1).step_by(2);
    // A backslash at the end of a line continues the text in the next.
    let joined = |text: &str| {
        let lines = text.split("\\\n").map(str::trim_start);
        without_arguments(&lines.collect::<String>())
    };
    quoted.map(joined).collect()
}

/// `text` without the names of its arguments: `{name}`.
fn without_arguments(text: &str) -> String {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| match part.split_once('}') {
        Some((name, rest)) if !name.contains(' ') => format!("...{rest}"),
        _ => format!("{{{part}"),
    });
    let text = rest.fold(first, |text, part| text + &part);
    text.replace('\u{1}', "{").replace('\u{2}', "}")
}

/// The words of `text`: what may be a key, a metric or a name.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_.[]-/:".contains(letter);
    let words = text.split(move |letter| !is_word(letter));
    words.map(|word| word.trim_end_matches(['.', ':']))
}

fn is_metric(word: &str) -> bool {
    word.starts_with("grapevine_") || word.starts_with("gen_ai_")
}

/// Whether `word` looks like a key in full: small words with dots between.
fn is_path(word: &str) -> bool {
    let is_small = |part: &str| {
        let part = part.trim_end_matches("[]");
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    word.contains('.') && word.split('.').all(is_small)
}

/// Whether it ends as a file's name does, or a host's.
fn is_file(word: &str) -> bool {
    let ends = [".md", ".yaml", ".conf", ".rs", ".com", ".ai", ".txt"];
    ends.iter().any(|end| word.ends_with(end))
}

#[test]
fn every_metric_that_a_text_names_exists() {
    let texts = texts();
    let named: BTreeSet<&str> = texts
        .iter()
        .flat_map(|text| words(text))
        .filter(|word| is_metric(word) && *word != "grapevine_")
        .collect();
    assert!(named.contains("gen_ai_client_token_usage"), "{named:?}");
    for name in named {
        let is_there = METRICS.contains(&format!("`{name}`"));
        // The crates are called so too.
        let is_crate = name.starts_with("grapevine_") && name.contains("::");
        assert!(is_there || is_crate, "{name} is no metric");
    }
}

#[test]
fn every_key_that_a_text_names_exists() {
    let keys = Keys::new();
    let mut named = BTreeSet::new();
    for text in texts() {
        for word in words(&text).filter(|word| is_path(word) && !is_file(word)) {
            let first = word.split('.').next().unwrap_or_default();
            if !LITELLM.contains(&first) {
                named.insert(word.to_owned());
            }
        }
    }
    for known in ["upstreams[].max_retries", "tracing.otlp.endpoint"] {
        assert!(named.contains(known), "{known} in {named:?}");
    }
    for key in named {
        assert!(keys.paths.contains(&key), "{key} is no key");
    }
}

#[test]
fn every_word_with_an_underscore_is_known() {
    let keys = Keys::new();
    for text in texts() {
        for word in words(&text) {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let is_name = word.trim_matches('_').contains('_')
                && word.bytes().all(is_plain)
                && text.contains(' ');
            let is_known = keys.names.contains(word)
                || is_metric(word)
                || LITELLM.contains(&word)
                || OTHERS.contains(&word);
            assert!(!is_name || is_known, "{word} in: {text}");
        }
    }
}

#[test]
fn words_are_found_in_literals_alone() {
    let code = "// \"no\"\nfn f() { g(\"a {{b}} {x_y}\\\n    c\", '\"', \"d \\\"e\\\"\"); }\n";
    assert_eq!(literals(code), ["a {b} ...c", "d 'e'"]);
}
