//! The manual in `deploy/guide` and the other documents: links, generated pages, configurations, the built book.
//!
//! `tests/deploy/guide` runs the commands, called by `deploy.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use grapevine_tests::program::{grapevine, workspace};
use grapevine_tests::reference;
use grapevine_tests::scratch::Scratch;

/// README.md is at most one and a half screens.
const README_BYTES_MAX: usize = 8_000;

#[test]
fn every_relative_link_of_the_documents_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 40, "the walk is blind: {documents:?}");
    let problems: Vec<String> = documents
        .iter()
        .flat_map(|path| broken_links(path, &read(path)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn broken_link_is_found() {
    let path = workspace().join("README.md");
    let found = |text: &str| broken_links(&path, text).len();
    assert_eq!(
        found("[a](SECURITY.md#reporting) [b](https://example.com)"),
        0
    );
    assert_eq!(found("[a](NOTHING.md)"), 1);
    assert_eq!(found("[a](SECURITY.md#nothing)"), 1);
    assert_eq!(found("[a](#nothing)"), 1);
    assert_eq!(found("`[a](NOTHING.md)`\n```\n[a](NOTHING.md)\n```\n"), 0);
}

#[test]
fn summary_lists_every_page_once() {
    let source = workspace().join("deploy/guide/src");
    let summary = read(&source.join("SUMMARY.md"));
    let listed: Vec<PathBuf> = links(&summary)
        .into_iter()
        .map(|target| source.join(target))
        .collect();
    let unique: BTreeSet<PathBuf> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a page is listed twice");
    let mut pages: BTreeSet<PathBuf> = markdown(&source).into_iter().collect();
    pages.remove(&source.join("SUMMARY.md"));
    assert_eq!(unique, pages);
}

#[test]
fn readme_is_short() {
    let length = read(&workspace().join("README.md")).len();
    assert!(length <= README_BYTES_MAX, "README.md has {length} bytes");
}

#[test]
fn configuration_reference_is_what_the_schema_gives() {
    let path = workspace().join("deploy/guide/src/configuration-reference.md");
    assert!(
        read(&path) == reference::page(),
        "the configuration has changed: cargo run -p grapevine-tests --example reference > {}",
        path.display()
    );
}

#[test]
fn every_configuration_of_the_guide_passes_check() {
    let scratch = Scratch::new("guide");
    prepare(scratch.path());
    let mut checked = 0;
    let source = workspace().join("deploy/guide/src");
    for path in markdown(&source)
        .into_iter()
        .chain([workspace().join("README.md")])
    {
        for block in blocks(&read(&path), "yaml") {
            let result = check(scratch.path(), &block);
            assert!(result.is_ok(), "{}:\n{block}\n{result:?}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 12, "only {checked} blocks were found");
    assert!(
        check(scratch.path(), "upstream: []\n").is_err(),
        "check is blind"
    );
}

#[test]
fn book_builds_without_warnings() {
    let scratch = Scratch::new("book");
    let program = workspace().join("tests/.env/deploy/bin/mdbook");
    let mut mdbook = Command::new(&program);
    mdbook
        .arg("build")
        .arg(workspace().join("deploy/guide"))
        .arg("--dest-dir")
        .arg(scratch.path());
    let output = mdbook.output();
    let output = output
        .unwrap_or_else(|error| panic!("{}: {error}: tests/run installs it", program.display()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        !stderr.contains("WARN") && !stderr.contains("ERROR"),
        "{stderr}"
    );
    assert!(scratch.path().join("routing.html").is_file(), "{stderr}");
}

/// Every Markdown file that is kept in the repository, but those of the simulator's report.
fn documents() -> Vec<PathBuf> {
    let root = workspace();
    let mut found = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("CONTRIBUTING.md"),
        root.join("SECURITY.md"),
    ];
    found.extend(markdown(&root.join("deploy")));
    found.extend(markdown(&root.join("sim")));
    found
}

/// The Markdown files below `folder`.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is wrong with the relative links of the document at `path`.
fn broken_links(path: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for target in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let folder = path.parent().unwrap_or(path);
        let file = match file {
            "" => path.to_path_buf(),
            file => plain(&folder.join(file)),
        };
        let has_anchor = || match path == file {
            true => anchors(text).contains(anchor),
            false => anchors(&read(&file)).contains(anchor),
        };
        if !file.exists() || !(anchor.is_empty() || has_anchor()) {
            problems.push(format!("{}: {target}", path.display()));
        }
    }
    problems
}

/// The targets of all links and images.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            found.push(target.to_owned());
            rest = after;
        }
    }
    found
}

/// The anchors of all headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in outside_fences(text) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else {
            continue;
        };
        if !line.starts_with('#') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let count = seen.entry(anchor.clone()).or_default();
        found.insert(match *count {
            0 => anchor,
            number => format!("{anchor}-{number}"),
        });
        *count += 1;
    }
    found
}

/// The lines outside of code, without code spans: links may have code as their text.
fn prose(text: &str) -> Vec<String> {
    outside_fences(text)
        .map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("x"))
        .collect()
}

fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The blocks of code in `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .filter_map(|part| part.split("```").next().map(str::to_owned))
        .collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// Writes the certificates and the secrets that the guide's configurations name.
fn prepare(folder: &Path) {
    let run = |words: &[&str]| {
        let output = Command::new(grapevine())
            .current_dir(folder)
            .args(words)
            .output();
        assert!(output.expect("the program runs").status.success());
    };
    run(&["ca", "init", "--out", ".", "--mesh", "production"]);
    for name in ["sgp-1", "api"] {
        run(&["ca", "issue", "--ca", ".", "--name", name, "--out", "."]);
    }
    std::fs::create_dir(folder.join("secrets")).expect("a writable folder");
    for name in ["openai", "anthropic", "gemini", "entra"] {
        std::fs::write(folder.join("secrets").join(name), "a-key\n").expect("a writable folder");
    }
}

/// Runs `grapevine check` on `config`: an error where it has problems.
fn check(folder: &Path, config: &str) -> Result<(), String> {
    // A reader fills in the hash of a key.
    let hash = format!("sha256:{}", "0".repeat(64));
    std::fs::write(
        folder.join("node.yaml"),
        config.replace("sha256:...", &hash),
    )
    .expect("a writable folder");
    let output = Command::new(grapevine())
        .current_dir(folder)
        .args(["check", "-c", "node.yaml"])
        .env("REGION", "sgp")
        .envs(
            [
                "UPSTREAM_API_KEY",
                "AZURE_API_KEY",
                "PRIMARY_KEY",
                "STANDBY_KEY",
            ]
            .map(|name| (name, "a-key")),
        )
        .env("GRAPEVINE_WEBHOOK_SECRET", "a-secret-of-24-bytes-at-least")
        .output()
        .expect("the program runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)),
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
