//! The rules that hold the layers apart and the files short, checked on the source text.
//!
//! Each check is a function from text to problems, so that a bad sample shows it can fail.

mod circles;
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use grapevine_tests::program::workspace;

/// The longest production part of a file, in lines.
const FILE_LINES_MAX: usize = 400;

/// The longest function, in lines, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The crates that make the product.
const SOURCES: [&str; 15] = [
    "node/core/src",
    "proto/src",
    "node/base/src",
    "node/config/src",
    "node/dialect/src",
    "node/observe/src",
    "node/geo/src",
    "node/http/src",
    "node/mesh/src",
    "node/tasks/src",
    "node/console/src",
    "node/lab/src",
    "node/src",
    "sim/src",
    "sim/entropy/src",
];

/// Modules that share a crate and never import one another: each could be one of its own.
const APART: [(&str, &[&str]); 2] = [
    ("node/http/src", &["dns", "ingress", "prober", "upstream"]),
    ("node/console/src", &["admin", "cli"]),
];

/// What each crate may depend on inside the workspace, without `grapevine-`.
const CRATE_EDGES: [(&str, &[&str]); 16] = [
    ("node/core", &[]),
    ("proto", &["core"]),
    ("node/base", &["core"]),
    ("node/keys", &["core"]),
    ("node/config", &["core", "keys", "proto"]),
    ("node/dialect", &["core"]),
    ("node/observe", &["base", "config", "core", "keys"]),
    ("node/geo", &["config", "core"]),
    (
        "node/http",
        &["base", "config", "core", "dialect", "keys", "observe"],
    ),
    ("node/mesh", &["base", "core", "observe", "proto"]),
    ("node/tasks", &["base", "config", "core"]),
    (
        "node/console",
        &["base", "config", "core", "keys", "observe"],
    ),
    ("node/lab", &["base", "config"]),
    (
        "node",
        &[
            "base", "config", "console", "core", "geo", "http", "keys", "lab", "mesh", "observe",
            "proto", "tasks",
        ],
    ),
    ("sim", &["core", "proto", "sim-entropy"]),
    ("sim/entropy", &[]),
];

/// Everything that core may depend on.
const CORE_DEPENDENCIES: [&str; 2] = ["rand_core", "thiserror"];

#[test]
fn crates_depend_in_one_direction() {
    let mut problems = Vec::new();
    for (directory, allowed) in CRATE_EDGES {
        let found = dependencies(&read(&workspace().join(directory).join("Cargo.toml")));
        assert!(
            !found.is_empty(),
            "{directory} has no dependencies: the reader is blind"
        );
        let ours = found
            .iter()
            .filter_map(|name| name.strip_prefix("grapevine-"));
        for name in ours.filter(|name| !allowed.contains(name)) {
            problems.push(format!("{directory} must not depend on grapevine-{name}"));
        }
    }
    assert_none(&problems);
}

#[test]
fn core_depends_on_randomness_traits_and_error_derives_only() {
    let found = dependencies(&read(&workspace().join("node/core/Cargo.toml")));
    assert_eq!(found, CORE_DEPENDENCIES.map(str::to_string).into());
}

#[test]
fn modules_that_are_kept_apart_never_import_one_another() {
    let mut problems = Vec::new();
    for (directory, apart) in APART {
        let root = workspace().join(directory);
        // A test may drive both sides of a wall.
        let files = rust_files(&root).into_iter();
        for path in files.filter(|path| !is_test_file(path)) {
            let relative = path.strip_prefix(&root).unwrap_or(&path);
            let module = top_module(relative);
            for (line, used) in used_modules(&blanked(production(&read(&path)))) {
                if !may_use(apart, &module, &used) {
                    let path = path.display();
                    problems.push(format!("{path}:{line}: {module} must not use {used}"));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn files_and_functions_are_short() {
    let mut problems = Vec::new();
    each_source(|path, text| {
        let lines = production(text).lines().count();
        if lines >= FILE_LINES_MAX {
            problems.push(format!(
                "{}: {lines} lines of {FILE_LINES_MAX}",
                path.display()
            ));
        }
        for (line, name, length) in functions(&blanked(production(text))) {
            if length > FUNCTION_LINES_MAX {
                problems.push(format!(
                    "{}:{line}: {name} has {length} lines",
                    path.display()
                ));
            }
        }
    });
    assert_none(&problems);
}

#[test]
fn production_code_calls_nothing_that_is_banned() {
    let mut problems = Vec::new();
    each_source(|path, text| {
        for (line, word) in banned(production(text)) {
            problems.push(format!("{}:{line}: {word}", path.display()));
        }
    });
    assert_none(&problems);
}

// A module that is kept apart may use itself, and what is not kept apart.
fn may_use(apart: &[&str], module: &str, used: &str) -> bool {
    module == used || !apart.contains(&module) || !apart.contains(&used)
}

// The module directly under `src` that a file belongs to.
fn top_module(relative: &Path) -> String {
    let first = relative
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    first
        .unwrap_or_default()
        .trim_end_matches(".rs")
        .to_string()
}

// Every module that code names by `crate::module`, also inside `crate::{a, b::c}`, with its line.
// Takes text without comments and literals.
fn used_modules(code: &str) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let line = code[..start].matches('\n').count() + 1;
        let tail = &code[start + "crate::".len()..];
        let names = match tail.strip_prefix('{') {
            Some(group) => group_heads(group),
            None => vec![identifier(tail)],
        };
        found.extend(
            names
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(|name| (line, name)),
        );
    }
    found
}

fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(identifier(group[start..index].trim_start()));
                return heads;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(identifier(group[start..index].trim_start()));
                start = index + 1;
            }
            _ => {}
        }
    }
    heads.push(identifier(group[start..].trim_start()));
    heads
}

fn in_identifier(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|letter| in_identifier(*letter))
        .collect()
}

// The names in `[dependencies]`, not those for tests or builds.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
            if let Some(name) = line.strip_prefix("[dependencies.") {
                found.insert(name.trim_end_matches(']').to_string());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name: String = line
                .chars()
                .take_while(|letter| !" .=".contains(*letter))
                .collect();
            found.insert(name);
        }
    }
    found
}

// A file up to its tests.
fn production(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]").find(|(index, _)| {
        let line_start = text[..*index].rfind('\n').map_or(0, |newline| newline + 1);
        // An item inside production code may be for tests only; a module at the margin ends the file.
        text[line_start..*index].is_empty()
            && text[*index..].lines().nth(1).is_some_and(ends_production)
    });
    tests.map_or(text, |(index, _)| &text[..index])
}

fn ends_production(line: &str) -> bool {
    line.starts_with("mod ") && line.ends_with('{')
}

// Words that production code does not contain, with the line of each.
fn banned(text: &str) -> Vec<(usize, &'static str)> {
    const WORDS: [&str; 7] = [
        ".unwrap()",
        "println!",
        "eprintln!",
        "#[allow(",
        "#![allow(",
        "todo!",
        "unimplemented!",
    ];
    let mut found = Vec::new();
    for (index, line) in blanked(text).lines().enumerate() {
        for word in WORDS {
            // `println!` is a part of `eprintln!`: only a whole word counts.
            let whole = line.match_indices(word).any(|(at, _)| {
                !word.starts_with(char::is_alphabetic) || !line[..at].ends_with(in_identifier)
            });
            if whole {
                found.push((index + 1, word));
            }
        }
    }
    found
}

// Every function's first line, name and length in lines. Takes text without comments and literals.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let is_word = !code[..start].ends_with(in_identifier);
        let name = identifier(&code[start + "fn ".len()..]);
        if !is_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[start..]) {
            let line = code[..start].matches('\n').count() + 1;
            let length = code[start..start + end].matches('\n').count() + 1;
            found.push((line, name, length));
        }
    }
    found
}

// Where a function's body closes; `None` for a declaration that ends with a semicolon.
fn body_end(code: &str) -> Option<usize> {
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for (index, letter) in code.char_indices() {
        match letter {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

// The same text with comments, strings and character literals blanked, line by line as long as before.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let hidden = hidden_length(rest, out.chars().next_back());
        let length = if hidden == 0 {
            letter.len_utf8()
        } else {
            hidden
        };
        let (taken, left) = rest.split_at(length.min(rest.len()));
        if hidden == 0 {
            out.push(letter);
        } else {
            out.extend(
                taken
                    .chars()
                    .map(|letter| if letter == '\n' { '\n' } else { ' ' }),
            );
        }
        rest = left;
    }
    out
}

// The length of the comment or literal that `text` begins with; 0 where it begins with code.
fn hidden_length(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    let in_word = before.is_some_and(in_identifier);
    if !in_word && let Some(length) = raw_string_length(text) {
        return length;
    }
    if text.starts_with('"') {
        return string_length(text);
    }
    if text.starts_with('\'') {
        character_length(text)
    } else {
        0
    }
}

fn raw_string_length(text: &str) -> Option<usize> {
    let tail = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = tail.chars().take_while(|letter| *letter == '#').count();
    let body = tail[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let prefix = text.len() - body.len();
    Some(
        body.find(&close)
            .map_or(text.len(), |end| prefix + end + close.len()),
    )
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

// A character literal is short and closed; a lifetime is not closed.
fn character_length(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    let Some((_, first)) = letters.next() else {
        return 0;
    };
    if first == '\\' {
        let close = text
            .char_indices()
            .skip(3)
            .find(|(_, letter)| *letter == '\'');
        return close.map_or(0, |(index, _)| index + 1);
    }
    match letters.next() {
        Some((index, '\'')) => index + 1,
        _ => 0,
    }
}

fn each_source(mut check: impl FnMut(&Path, &str)) {
    for source in SOURCES {
        let files = rust_files(&workspace().join(source));
        assert!(
            !files.is_empty(),
            "{source} holds no Rust file: the scanner is blind"
        );
        for path in files.iter().filter(|path| !is_test_file(path)) {
            check(path, &read(path));
        }
    }
}

// Tests in files of their own: `tests.rs` and everything under a folder `tests`.
fn is_test_file(path: &Path) -> bool {
    let inside = path.strip_prefix(workspace()).unwrap_or(path);
    inside
        .components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

// Each scanner on small samples, bad ones among them.

#[test]
fn a_forbidden_crate_edge_is_read_from_the_manifest() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why\nthiserror.workspace = true\n\
        grapevine-node = { path = \"..\" }\n[dependencies.tokio]\nversion = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
    assert_eq!(
        dependencies(manifest),
        ["grapevine-node", "thiserror", "tokio"]
            .map(str::to_string)
            .into()
    );
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    let modules = |code: &str| {
        let found = used_modules(&blanked(code));
        found
            .into_iter()
            .map(|(line, name)| format!("{line}:{name}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(modules("use crate::mesh::Peers;"), "1:mesh");
    assert_eq!(
        modules("let x = crate::geo::locate(\n crate::clock::now());"),
        "1:geo 2:clock"
    );
    assert_eq!(
        modules("use crate::{\n    admin::{a, b},\n    driver,\n};"),
        "1:admin 1:driver"
    );
    assert_eq!(modules("pub(in crate::mesh) fn x() {}"), "1:mesh");
    assert_eq!(modules("// see crate::mesh"), "");
}

#[test]
fn modules_kept_apart_may_use_what_is_shared_but_not_one_another() {
    let apart = ["ingress", "upstream"];
    assert!(may_use(&apart, "ingress", "shared") && may_use(&apart, "ingress", "ingress"));
    assert!(may_use(&apart, "lib", "upstream"));
    assert!(!may_use(&apart, "ingress", "upstream"));
    assert_eq!(top_module(Path::new("ingress/request.rs")), "ingress");
    assert_eq!(top_module(Path::new("prober.rs")), "prober");
}

#[test]
fn braces_in_literals_and_comments_do_not_count() {
    let text = "fn a() {\n let x = \"}\"; // }\n let y = '}'; let z = r#\"}\"}\"#;\n let b = '\\'';\n}\nfn b<'a>(x: &'a [u8; 3]);\nfn c() { d() }\n";
    let found = functions(&blanked(text));
    assert_eq!(found, [(1, "a".to_string(), 5), (7, "c".to_string(), 1)]);
}

#[test]
fn a_long_function_is_found_inside_an_impl() {
    let body = "let x = 1;\n".repeat(FUNCTION_LINES_MAX);
    let text = format!(
        "impl A {{\n    pub fn long(&self) -> u8\n    where\n        Self: Sized,\n    {{\n{body}    }}\n}}\n"
    );
    let found = functions(&blanked(&text));
    assert_eq!(found.len(), 1);
    assert!(found[0].2 > FUNCTION_LINES_MAX, "{found:?}");
}

#[test]
fn production_ends_where_the_tests_begin() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
    assert_eq!(
        production(text),
        "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n"
    );
}

#[test]
fn banned_words_are_found_in_code_alone() {
    let text = "x.unwrap();\n// y.unwrap();\nlet s = \"println!\";\neprintln!();\n#[allow(dead_code)]\nx.unwrap_or(1);\n";
    assert_eq!(
        banned(text),
        [(1, ".unwrap()"), (4, "eprintln!"), (5, "#[allow(")]
    );
}

#[test]
fn tests_in_their_own_files_are_told_from_production() {
    let root = workspace();
    assert!(is_test_file(
        &root.join("node/lab/src/mock/tests/faults.rs")
    ));
    assert!(is_test_file(&root.join("node/core/src/engine/tests.rs")));
    assert!(!is_test_file(&root.join("node/lab/src/mock/faults.rs")));
}
