use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    init: MeshInitArgs,
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("grapevine-init-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run wrote, what it asked, and how it ended.
struct Ended {
    error: Option<String>,
    asked: String,
    files: BTreeMap<String, (String, u32)>,
}

fn run_in(folder: &Folder, flags: &str, typed: Option<&str>, variables: &[(&str, &str)]) -> Ended {
    let words = ["init", folder.0.to_str().expect("a plain path")];
    let words = words.into_iter().chain(flags.split_whitespace());
    let args = Program::parse_from(words).init;
    let mut asked = Vec::new();
    let mut asker = Asker {
        input: &mut typed.unwrap_or_default().as_bytes(),
        out: &mut asked,
        is_terminal: typed.is_some(),
    };
    let environment = variables.iter().copied().collect();
    let written = write(&args, &environment, &mut asker);
    let mut files = BTreeMap::new();
    if written.is_ok() {
        collect(&folder.0, &folder.0, &mut files);
    }
    Ended {
        error: written.err().map(|error| error.to_string()),
        asked: String::from_utf8(asked).expect("questions are text"),
        files,
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, (String, u32)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path
                .strip_prefix(root)
                .expect("below")
                .display()
                .to_string();
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            files.insert(name, (fs::read_to_string(&path).expect("text"), mode));
        }
    }
}

fn run(name: &str, flags: &str) -> Ended {
    run_in(&Folder::new(name), flags, None, &[])
}

const LOCAL: &str = "--for local --region sgp --region usa --provider openai";

#[test]
fn every_node_gets_its_own_files_and_no_other_nodes_key() {
    let ended = run("files", LOCAL);
    assert_eq!(ended.error, None);
    let names: Vec<&str> = ended.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "app.key",
            "ca/mesh-ca.key",
            "ca/mesh-ca.pem",
            "keys.env",
            "run",
            "sgp-1/mesh/mesh-ca.pem",
            "sgp-1/mesh/sgp-1.key",
            "sgp-1/mesh/sgp-1.pem",
            "sgp-1/node.yaml",
            "usa-1/mesh/mesh-ca.pem",
            "usa-1/mesh/usa-1.key",
            "usa-1/mesh/usa-1.pem",
            "usa-1/node.yaml",
        ]
    );
}

#[test]
fn secrets_are_their_owners_alone_and_stand_nowhere_else() {
    for platform in ["local", "compose", "systemd", "kubernetes"] {
        let folder = Folder::new(&format!("secrets-{platform}"));
        let region = match platform {
            "local" | "compose" => "sgp",
            _ => "sgp=sgp.example.net",
        };
        let flags = format!("--for {platform} --region {region} --provider openai");
        let ended = run_in(
            &folder,
            &flags,
            None,
            &[("OPENAI_API_KEY", "sk-of-the-provider")],
        );
        assert_eq!(ended.error, None, "{platform}");
        let client_key = ended.files["app.key"].0.trim().to_owned();
        let mut with_provider_key = 0;
        for (name, (text, mode)) in &ended.files {
            let holds = |secret: &str| text.contains(secret);
            with_provider_key += usize::from(holds("sk-of-the-provider"));
            let is_secret = holds("sk-of-the-provider")
                || holds(&client_key)
                || holds("PRIVATE KEY")
                || holds("gv-");
            assert_eq!(is_secret, *mode == 0o600, "{platform}/{name} has {mode:o}");
        }
        assert_eq!(with_provider_key, 1, "{platform}");
    }
}

#[test]
fn a_folder_with_files_is_refused_and_stays_as_it_is() {
    let folder = Folder::new("full");
    fs::create_dir(&folder.0).expect("a new folder");
    fs::write(folder.0.join("node.yaml"), "mine").expect("a writable folder");
    let error = run_in(&folder, LOCAL, None, &[]).error.expect("refused");
    assert!(
        error.ends_with("has files already; name a new folder"),
        "{error}"
    );
    let left: Vec<_> = fs::read_dir(&folder.0).expect("a folder").collect();
    assert_eq!(left.len(), 1);
    assert_eq!(
        fs::read_to_string(folder.0.join("node.yaml")).expect("text"),
        "mine"
    );
}

#[test]
fn what_flags_do_not_say_is_asked_until_it_can_be_read() {
    let typed = "nowhere\nsystemd\nsgp sgp\nsgp usa\nsgp.example.net\nusa.example.net:7000\nazure\ngroq \
                 own=http://gpu-1:8000/v1\n";
    let ended = run_in(&Folder::new("asked"), "", Some(typed), &[]);
    assert_eq!(ended.error, None, "{}", ended.asked);
    for line in [
        "a region is named twice",
        "azure has no address of its own; write azure=https://",
        "Where do the others reach the node in usa",
    ] {
        assert!(ended.asked.contains(line), "{line}: {}", ended.asked);
    }
    let config = &ended.files["sgp-1/grapevine.yaml"].0;
    assert!(
        config.contains("  advertise: \"sgp.example.net:7171\"\n"),
        "{config}"
    );
    assert!(
        config.contains("  seeds: [\"usa.example.net:7000\"]\n"),
        "{config}"
    );
    assert!(!config.contains("\n  listen: "), "{config}");
    let other = &ended.files["usa-1/grapevine.yaml"].0;
    assert!(other.contains("\n  listen: 0.0.0.0:7000\n"), "{other}");
    assert!(
        config.contains("    api_key: ${GROQ_API_KEY}\n"),
        "{config}"
    );
    assert!(
        config.contains("  - name: own\n    base_url: http://gpu-1:8000/v1\nkeys:"),
        "{config}"
    );
}

#[test]
fn without_a_terminal_the_missing_flag_is_named() {
    for (flags, missing) in [
        ("", "--for"),
        ("--for local", "--region"),
        ("--for local --region sgp", "--provider"),
        (
            "--for systemd --region sgp --provider groq",
            "--region NAME=HOST",
        ),
    ] {
        let error = run("missing", flags).error.expect("something is missing");
        assert!(
            error.starts_with(&format!("{missing} is missing")),
            "{error}"
        );
    }
    let folder = Folder::new("silence");
    let error = run_in(&folder, "", Some(""), &[]).error.expect("no answer");
    assert!(error.starts_with("--for is missing"), "{error}");
    assert!(!folder.0.exists(), "nothing is made before all is known");
}

#[test]
fn wrong_answers_name_the_flag_and_a_remedy() {
    for (flags, expected) in [
        (
            "--for local --region SGP --provider groq",
            "--region: \"SGP\" is no name of a region",
        ),
        (
            "--for local --region a- --provider groq",
            "--region: \"a-\" is no name",
        ),
        (
            "--for local --region a --region a --provider groq",
            "--region: a region is named twice",
        ),
        (
            "--for local --region a=h --provider groq",
            "--region NAME=HOST: write a alone",
        ),
        (
            "--for systemd --region a=0.0.0.0 --provider groq",
            "--region: no node can be reached at 0.0.0.0",
        ),
        (
            "--for systemd --region a=h:0 --provider groq",
            "--region: \"h:0\" must have a port",
        ),
        (
            "--for local --region a --provider nobody",
            "--provider: \"nobody\" is none of openai, ",
        ),
        (
            "--for local --region a --provider own=gpu",
            "--provider: \"gpu\" must begin with http://",
        ),
        (
            "--for local --region a --provider o=http://u:p@h",
            "must not hold a user or a password",
        ),
        (
            "--for local --region a --provider o=http://h/v1/models",
            "write http://h/v1",
        ),
        (
            "--for local --region a --provider groq --provider groq",
            "a provider is named twice",
        ),
        (
            "--for local --region a --provider groq --key-from x=K",
            "--key-from: \"x\" is none of the providers",
        ),
        (
            "--for local --region a --provider groq --key-from groq=A-B",
            "is no name of a variable",
        ),
    ] {
        let error = run("wrong", flags).error.expect("refused");
        assert!(error.contains(expected), "{flags}: {error}");
    }
}

#[test]
fn addresses_of_ipv6_keep_their_brackets() {
    let ended = run(
        "six",
        "--for systemd --region a=[2001:db8::1] --region b=h:7000 --provider groq",
    );
    assert_eq!(ended.error, None);
    let config = &ended.files["a-1/grapevine.yaml"].0;
    assert!(
        config.contains("advertise: \"[2001:db8::1]:7171\"\n"),
        "{config}"
    );
}

#[test]
fn every_well_known_provider_is_in_the_table_with_the_variable_of_its_key() {
    for name in providers::WELL_KNOWN {
        let text = match name {
            "azure" => "azure=https://mine.openai.azure.com".to_owned(),
            name => name.to_owned(),
        };
        let upstream = providers::parse(&text).expect("a known provider");
        assert!(
            upstream
                .variable
                .is_some_and(|variable| variable.ends_with("_API_KEY")),
            "{name}"
        );
        assert!(upstream.base_url.starts_with("https://"), "{name}");
    }
}

#[test]
fn a_variable_that_is_set_is_taken_along_and_one_that_would_need_quotes_is_not() {
    let flags = "--for local --region sgp --provider openai --provider groq --key-from groq=MINE";
    let variables = [("OPENAI_API_KEY", "sk-1"), ("MINE", "two words")];
    let ended = run_in(&Folder::new("variables"), flags, None, &variables);
    let keys = &ended.files["keys.env"].0;
    assert!(keys.ends_with("OPENAI_API_KEY=sk-1\n# MINE=\n"), "{keys}");
}

#[test]
fn what_to_do_next_is_three_lines() {
    let folder = Folder::new("next");
    let path = folder.0.to_str().expect("a plain path");
    let words = ["init", path].into_iter().chain(LOCAL.split_whitespace());
    let args = Program::parse_from(words).init;
    let mut asker = Asker {
        input: &mut io::empty(),
        out: &mut io::sink(),
        is_terminal: false,
    };
    let mut out = Vec::new();
    run_with(&args, &Environment::default(), &mut asker, &mut out).expect("a buffer takes all");
    let text = String::from_utf8(out).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].starts_with("wrote 13 files for 2 nodes to "),
        "{text}"
    );
    assert!(lines[1].contains("1. write OPENAI_API_KEY into "), "{text}");
    assert!(lines[2].ends_with("/run"), "{text}");
}
