//! No module needs another that needs it: within each crate the arrows between modules run one way.
//!
//! A module may use what is inside it and what it is inside of. Everything else is an arrow, read from `use` lines
//! and from paths that begin with `crate` or `super`; a set of modules that reach one another is a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use grapevine_tests::program::workspace;

use super::{SOURCES, blanked, in_identifier, is_test_file, production, read, rust_files};

/// A module by the names that lead to it; the crate's root is empty.
type Module = Vec<String>;

/// Which modules each module uses.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn modules_use_one_another_in_one_direction() {
    let mut found = Vec::new();
    for source in SOURCES {
        let texts = modules(&workspace().join(source));
        assert!(
            !texts.is_empty(),
            "{source} holds no module: the reader is blind"
        );
        for circle in circles(&arrows(&texts)) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            found.push(format!("{source}: {}", names.join(", ")));
        }
    }
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

/// The modules below `root` with their texts, tests left out.
fn modules(root: &Path) -> BTreeMap<Module, String> {
    let files = rust_files(root)
        .into_iter()
        .filter(|path| !is_test_file(path));
    let module = |path: &Path| {
        let relative = path
            .strip_prefix(root)
            .expect("it is below")
            .with_extension("");
        let names = relative
            .components()
            .map(|part| part.as_os_str().to_string_lossy());
        let mut module: Module = names.map(|name| name.into_owned()).collect();
        if matches!(
            module.last().map(String::as_str),
            Some("mod" | "lib" | "main")
        ) {
            module.pop();
        }
        module
    };
    files.map(|path| (module(&path), read(&path))).collect()
}

fn arrows(texts: &BTreeMap<Module, String>) -> Arrows {
    let arrows_of = |(module, text): (&Module, &String)| {
        let used = paths(&blanked(production(text))).into_iter();
        let used = used.filter_map(|path| resolve(module, &path, texts));
        let is_arrow = |other: &Module| !other.starts_with(module) && !module.starts_with(other);
        (module.clone(), used.filter(is_arrow).collect())
    };
    texts.iter().map(arrows_of).collect()
}

/// Every path of the crate's own that `code` names.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find("use ") {
        let is_word = rest[..start].ends_with(in_identifier);
        let Some(length) = rest[start..].find(';') else {
            break;
        };
        if !is_word {
            expand(&[], &rest[start + "use ".len()..start + length], &mut found);
        }
        rest = &rest[start + length..];
    }
    for start in ["crate::", "super::"] {
        for (index, _) in code.match_indices(start) {
            let before = code[..index].chars().next_back();
            if before.is_none_or(|letter| !in_identifier(letter) && letter != ':') {
                let is_part = |letter: char| in_identifier(letter) || letter == ':';
                let path: String = code[index..]
                    .chars()
                    .take_while(|letter| is_part(*letter))
                    .collect();
                expand(&[], path.trim_end_matches(':'), &mut found);
            }
        }
    }
    let is_own = |path: &Vec<String>| {
        matches!(
            path.first().map(String::as_str),
            Some("crate" | "super" | "self")
        )
    };
    found.retain(is_own);
    found
}

/// Takes a tree of `use` apart into its paths.
fn expand(prefix: &[String], tree: &str, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, Some(group.trim_end().trim_end_matches('}'))),
        None => (tree.split(" as ").next().unwrap_or(tree), None),
    };
    let names = head
        .split("::")
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut path = prefix.to_vec();
    path.extend(names.map(str::to_owned));
    let Some(group) = group else {
        return found.push(path);
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (index, letter) in group.char_indices().chain([(group.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 || index == group.len() => {
                if !group[start..index].trim().is_empty() {
                    expand(&path, &group[start..index], found);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// The module that `path` leads to, as far as it leads to modules.
fn resolve(from: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut here = from.clone();
    let mut names = path.iter().map(String::as_str).peekable();
    while let Some(name) = names.next_if(|name| matches!(*name, "crate" | "super" | "self")) {
        match name {
            "crate" => here.clear(),
            "super" => drop(here.pop()),
            _ => {}
        }
    }
    let mut found = modules.contains_key(&here).then(|| here.clone());
    for name in names {
        here.push(name.to_owned());
        if !modules.contains_key(&here) {
            break;
        }
        found = Some(here.clone());
    }
    found
}

/// Every set of modules that reach one another.
fn circles(arrows: &Arrows) -> BTreeSet<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> = arrows
        .keys()
        .map(|module| (module, reached(module, arrows)))
        .collect();
    let circle = |module: &&Module| {
        let others = reach[*module]
            .iter()
            .filter(|other| reach[**other].contains(*module));
        let circle: BTreeSet<Module> = others.map(|other| (*other).clone()).collect();
        (!circle.is_empty()).then_some(circle)
    };
    reach.keys().filter_map(circle).collect()
}

fn reached<'a>(from: &'a Module, arrows: &'a Arrows) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(module) = waiting.pop() {
        for next in arrows.get(module).into_iter().flatten() {
            if found.insert(next) {
                waiting.push(next);
            }
        }
    }
    found
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let module = |name: &str| {
        name.split("::")
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let texts = files
        .iter()
        .map(|(name, text)| (module(name), (*text).to_owned()));
    let found = circles(&arrows(&texts.collect()));
    let names = |circle: &BTreeSet<Module>| {
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        names.join(" ")
    };
    found.iter().map(names).collect()
}

#[test]
fn circle_is_found_through_any_way_to_name_a_module() {
    for way in [
        "use super::b::B;",
        "use crate::{c::C, b};",
        "fn f() { crate::b::g() }",
        "use super::{b::{self, D}, c};",
    ] {
        let files = [
            ("", ""),
            ("a", way),
            ("b", "use crate::c::C;"),
            ("c", "use super::a;"),
        ];
        assert_eq!(circles_of(&files), ["a b c"], "{way}");
    }
}

#[test]
fn parent_and_child_and_tests_are_no_circle() {
    let files = [
        ("", "mod a;\nuse a::b::X;"),
        ("a", "mod b;\nuse b::B; // see crate::c"),
        ("a::b", "use super::Y;\n"),
        (
            "c",
            "use crate::a::b::X;\n#[cfg(test)]\nmod tests {\n use crate::d::D;\n}\n",
        ),
        ("d", "use super::c;"),
    ];
    assert_eq!(circles_of(&files), [""; 0]);
}
