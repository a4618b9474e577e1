//! `grapevine key init`, `issue` and `show`: what needs the issuing key or a token, and no node.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use grapevine_base::clock;
use grapevine_core::ids::{MeshName, NodeName};
use grapevine_keys::issuer::{IssuerPublicKey, IssuingKey};
use grapevine_keys::token::{IssuedKey, KeyId};
use serde_json::json;

use super::super::super::admin::key_to_json;
use super::book::{self, BookEntry};
use super::rights::{RightsArgs, expiry};
use super::{ISSUER_FILE, IssuerArgs, KeyCommandError};

/// The longest token that is read.
const TOKEN_MAX: u64 = 4_096;

/// What `key init` takes.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where the issuing key is written, readable to its owner alone; nothing is overwritten
    #[arg(long, value_name = "FILE", default_value = ISSUER_FILE)]
    out: PathBuf,
    /// Print one JSON object: file and public_key
    #[arg(long)]
    json: bool,
}

pub(super) fn init(args: &InitArgs) -> Result<String, KeyCommandError> {
    let path = args.out.clone();
    let key = IssuingKey::generate().map_err(|error| KeyCommandError::Issuer {
        path: path.clone(),
        error,
    })?;
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(key.to_pem().as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyCommandError::Exists { path: path.clone() },
        _ => KeyCommandError::File {
            path: path.clone(),
            error,
        },
    })?;
    let public = key.public().to_string();
    Ok(match args.json {
        true => json!({"file": path, "public_key": public}).to_string(),
        false => format!(
            "wrote {}: keep it off the nodes, and keep a copy\n\nin the configuration of every node:\n\n\
             issued_keys:\n  public_keys: [\"{public}\"]",
            path.display()
        ),
    })
}

/// What `key issue` takes.
#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// The name of its holder in records and limits; keys of one name are one client's
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: NodeName,
    /// The mesh that it is for, as in mesh.name or issued_keys.mesh
    #[arg(long, value_name = "MESH", value_parser = parse_mesh)]
    mesh: MeshName,
    #[command(flatten)]
    rights: RightsArgs,
    /// When it ends: a span such as 30d, or a day such as 2027-01-31 (UTC)
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = expiry)]
    expires: Duration,
    #[command(flatten)]
    issuer: IssuerArgs,
    /// Print one JSON object: id, token and expires
    #[arg(long)]
    json: bool,
}

fn parse_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|error| error.to_string())
}

fn parse_mesh(text: &str) -> Result<MeshName, String> {
    MeshName::new(text).map_err(|error| error.to_string())
}

pub(super) fn issue(args: &IssueArgs) -> Result<String, KeyCommandError> {
    let issuer = args.issuer.read()?;
    let wrong = |error: &dyn std::fmt::Display| KeyCommandError::Wrong(error.to_string());
    let now = clock::wall();
    let key = IssuedKey {
        id: KeyId::generate().map_err(|error| wrong(&error))?,
        name: args.name.clone(),
        mesh: args.mesh.clone(),
        issued_at: now,
        not_before: now,
        expires_at: args.expires,
        rights: args.rights.read()?,
    };
    let token = key.sign(&issuer).map_err(|error| wrong(&error))?;
    // First the book: a key that is not in it could not be found again to be revoked.
    book::append(&args.issuer.book(), &BookEntry::of(&key))?;
    let expires = key.expires_at.as_secs();
    Ok(match args.json {
        true => json!({"id": key.id.as_str(), "token": token, "expires": expires}).to_string(),
        false => format!("id:    {}\ntoken: {token}", key.id),
    })
}

/// What `key show` takes.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The token; without it, one line of standard input, so that it appears in no history
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// The public key that must have signed it, as `grapevine key init` prints it
    #[arg(long, value_name = "KEY")]
    public_key: Option<IssuerPublicKey>,
}

pub(super) fn show(args: &ShowArgs, input: &mut impl BufRead) -> Result<String, KeyCommandError> {
    let token = match &args.token {
        Some(token) => token.clone(),
        None => read(input)?,
    };
    let token = token.trim().as_bytes();
    let said = match &args.public_key {
        Some(key) => IssuedKey::open(token, &[*key]),
        None => IssuedKey::peek(token),
    };
    let said = said.map_err(|error| KeyCommandError::Wrong(format!("no issued key: {error}")))?;
    let now = clock::wall();
    let mut shown = key_to_json(&said.client_key().into());
    shown["id"] = said.id.as_str().into();
    shown["mesh"] = said.mesh.as_str().into();
    shown["issued"] = said.issued_at.as_secs().into();
    shown["not_before"] = said.not_before.as_secs().into();
    shown["expired"] = (now >= said.expires_at).into();
    shown["signature"] = match args.public_key {
        Some(_) => "right".into(),
        None => "not checked: give --public-key".into(),
    };
    Ok(format!("{shown:#}"))
}

fn read(input: &mut impl BufRead) -> Result<String, KeyCommandError> {
    let mut text = String::new();
    let read = input.take(TOKEN_MAX + 1).read_to_string(&mut text);
    let path = PathBuf::from("standard input");
    read.map_err(|error| KeyCommandError::File { path, error })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::KeyArgs;
    use super::*;
    use clap::Parser;
    use grapevine_config::Environment;
    use std::process::ExitCode;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        key: KeyArgs,
    }

    fn run(line: &[&str], input: &str) -> (bool, String) {
        let parsed = Line::try_parse_from(["key"].iter().chain(line)).expect("a command line");
        let mut out = Vec::new();
        let environment = Environment::default();
        let code = super::super::run(&parsed.key, &environment, &mut input.as_bytes(), &mut out);
        let is_good = format!("{:?}", code.expect("output")) == format!("{:?}", ExitCode::SUCCESS);
        (is_good, String::from_utf8(out).expect("text"))
    }

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn key_is_issued_listed_and_shown_and_its_issuer_is_not_overwritten() {
        let folder = std::env::temp_dir().join(format!("grapevine-issue-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let folder = Folder(folder);
        let issuer = folder.0.join("issuer.key").display().to_string();
        let (is_good, made) = run(&["init", "--out", &issuer, "--json"], "");
        assert!(is_good, "{made}");
        let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
        let public = made["public_key"].as_str().expect("a key");
        assert!(!run(&["init", "--out", &issuer], "").0);
        let issue = [
            "issue",
            "--name",
            "app",
            "--mesh",
            "production",
            "--models",
            "gpt-4o,fast",
            "--regions",
            "eur",
            "--rpm",
            "600",
            "--tpm",
            "200k",
            "--budget",
            "50usd/month",
            "--expires",
            "30d",
            "--issuer",
            &issuer,
            "--json",
        ];
        let (is_good, issued) = run(&issue, "");
        assert!(is_good, "{issued}");
        let issued: serde_json::Value = serde_json::from_str(&issued).expect("JSON");
        let token = issued["token"].as_str().expect("a token");
        let (is_good, shown) = run(&["show", "--public-key", public], &format!("{token}\n"));
        assert!(is_good, "{shown}");
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(
            (&shown["id"], &shown["tpm"]),
            (&issued["id"], &json!(200_000))
        );
        assert_eq!(
            (&shown["signature"], &shown["expired"]),
            (&json!("right"), &json!(false))
        );
        let (is_good, list) = run(&["list", "--issued", "--issuer", &issuer], "");
        let id = issued["id"].as_str().expect("an id");
        assert!(
            is_good && list.contains(id) && !list.contains(token),
            "{list}"
        );
        assert!(!run(&["show"], "not a token").0);
    }
}
