//! `grapevine key`: makes, issues, revokes and shows clients' keys.
//!
//! [`hash`] is about static keys alone. Everything else needs the operator's issuing key, which is a file on the
//! operator's machine: `issue` signs tokens, `admin` signs statements about keys and hands them to a node, which
//! spreads them. `book` is the operator's own list of what was issued.

mod admin;
mod book;
mod hash;
mod help;
mod issue;
mod rights;

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use grapevine_base::causes;
use grapevine_config::Environment;
use grapevine_keys::issuer::{IssuingKey, IssuingKeyError};

use super::admin_port::AskError;
use super::fail;

pub(super) use hash::generate;

/// The issuing key, unless another file is named.
const ISSUER_FILE: &str = "grapevine-issuer.key";

/// What `key` takes.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Print the hash of a key for `keys[].hash` of the configuration
    ///
    /// The key is read from standard input, one line, so that it appears in no history and no list of
    /// processes: `printf %s "$KEY" | grapevine key hash`.
    #[command(after_help = help::HASH)]
    Hash(hash::HashArgs),
    /// Make the issuing key, and print its public half for issued_keys.public_keys of every node
    ///
    /// It signs keys and revocations. Keep it off the nodes, and keep a copy: without it no key can be revoked.
    #[command(after_help = help::INIT)]
    Init(issue::InitArgs),
    /// Issue a key: a token that every node of the mesh verifies alone
    #[command(after_help = help::ISSUE)]
    Issue(issue::IssueArgs),
    /// Show what a token says; it is read from standard input, or given
    #[command(after_help = help::SHOW)]
    Show(issue::ShowArgs),
    /// Revoke an issued key: every node refuses it from now on
    #[command(after_help = help::REVOKE)]
    Revoke(admin::RevokeArgs),
    /// Put a static key, or change it, at every node, without their configuration files
    #[command(after_help = help::PUT)]
    Put(admin::PutArgs),
    /// Remove a static key at every node, whatever their configuration files say
    #[command(after_help = help::REMOVE)]
    Remove(admin::RemoveArgs),
    /// List the keys and statements that a node knows, or those that were issued here
    #[command(after_help = help::LIST)]
    List(admin::ListArgs),
}

/// Where the issuing key is.
#[derive(Debug, Args)]
struct IssuerArgs {
    /// The issuing key
    #[arg(long, value_name = "FILE", default_value = ISSUER_FILE)]
    issuer: PathBuf,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum KeyCommandError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} is there already; name another file with --out", path.display())]
    Exists { path: PathBuf },
    #[error("{}: {error}; make one with: grapevine key init", path.display())]
    Issuer {
        path: PathBuf,
        error: IssuingKeyError,
    },
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Asked(#[from] AskError),
}

impl IssuerArgs {
    fn read(&self) -> Result<IssuingKey, KeyCommandError> {
        let path = &self.issuer;
        let pem = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeyCommandError::Wrong(format!(
                "{}: there is no issuing key; make one with: grapevine key init, or name it with --issuer",
                path.display()
            )),
            _ => KeyCommandError::File {
                path: path.clone(),
                error,
            },
        })?;
        IssuingKey::from_pem(&pem).map_err(|error| KeyCommandError::Issuer {
            path: path.clone(),
            error,
        })
    }

    fn book(&self) -> PathBuf {
        beside(&self.issuer, "issued.jsonl")
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Runs the command.
///
/// # Errors
/// When the input cannot be read or the output cannot be written.
pub fn run(
    args: &KeyArgs,
    environment: &Environment,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let done = match &args.command {
        KeyCommand::Hash(args) => return hash::run(args, input, out),
        KeyCommand::Init(args) => issue::init(args),
        KeyCommand::Issue(args) => issue::issue(args),
        KeyCommand::Show(args) => issue::show(args, input),
        KeyCommand::Revoke(args) => admin::revoke(args, environment),
        KeyCommand::Put(args) => admin::put(args, environment),
        KeyCommand::Remove(args) => admin::remove(args, environment),
        KeyCommand::List(args) => admin::list(args, environment),
    };
    match done {
        Ok(text) => {
            writeln!(out, "{}", text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(fail(&causes::joined(&error))),
    }
}
