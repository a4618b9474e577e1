//! `grapevine ca`: makes a mesh's certificate authority, and issues certificates to its nodes.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use grapevine_base::authority::{self, Authority, AuthorityError, Issued, NODE_VALID};
use grapevine_core::ids::{MeshName, NodeName};
use serde_json::json;

use super::fail;

/// The authority's certificate, in its folder.
pub(super) const CA_CERTIFICATE: &str = "mesh-ca.pem";

/// The authority's private key, in its folder.
pub(super) const CA_KEY: &str = "mesh-ca.key";

/// The longest validity of a node's certificate, in days.
const DAYS_MAX: u64 = 3_650;

/// What `ca` takes.
#[derive(Clone, Debug, Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
    /// Print which files were written as one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum CaCommand {
    /// Make a certificate authority: mesh-ca.pem for every node, mesh-ca.key to be kept safe
    #[command(after_help = INIT)]
    Init {
        /// The folder to write to; made where it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The mesh's name [mesh.name]
        #[arg(long, value_name = "NAME", value_parser = parse_mesh)]
        mesh: MeshName,
        /// Overwrite what is there
        #[arg(long)]
        force: bool,
    },
    /// Issue a certificate to a node: NODE.pem and NODE.key
    #[command(after_help = ISSUE)]
    Issue {
        /// The folder with mesh-ca.pem and mesh-ca.key
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The node's name [node.name]
        #[arg(long, value_name = "NODE", value_parser = parse_node)]
        name: NodeName,
        /// The folder to write to; made where it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// A DNS name to put in beside the mesh's own; may be repeated
        #[arg(long, value_name = "DNS")]
        dns: Vec<String>,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = NODE_VALID.as_secs() / 86_400,
              value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
        days: u64,
        /// Overwrite what is there
        #[arg(long)]
        force: bool,
    },
}

const INIT: &str = command_help!(
    ["grapevine ca init --out ca --mesh prod"],
    ["0  the files are written", "1  they are not"]
);

const ISSUE: &str = command_help!(
    ["grapevine ca issue --ca ca --name sgp-1 --out certificates --days 90"],
    ["0  the files are written", "1  they are not"]
);

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
enum CaError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} is there already; add --force to overwrite it", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

fn parse_mesh(text: &str) -> Result<MeshName, String> {
    MeshName::new(text).map_err(|error| error.to_string())
}

fn parse_node(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|error| error.to_string())
}

/// Runs the command, and prints which files were written.
pub fn run(args: &CaArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    let written = match &args.command {
        CaCommand::Init { out, mesh, force } => init(out, mesh, *force),
        CaCommand::Issue {
            ca,
            name,
            out,
            dns,
            days,
            force,
        } => {
            let valid = Duration::from_secs(days * 86_400);
            let issued = authority_of(ca).and_then(|ca| Ok(ca.issue(name, dns, valid)?));
            issued.and_then(|issued| {
                let names = (format!("{name}.pem"), format!("{name}.key"));
                write_pair(out, (&names.0, &names.1), &issued, *force)
            })
        }
    };
    match written {
        Ok((certificate, key)) if args.json => {
            writeln!(out, "{}", json!({"certificate": certificate, "key": key}))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok((certificate, key)) => {
            writeln!(out, "wrote {} and {}", certificate.display(), key.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(fail(&error.to_string())),
    }
}

type Written = Result<(PathBuf, PathBuf), CaError>;

fn init(out: &Path, mesh: &MeshName, force: bool) -> Written {
    write_pair(
        out,
        (CA_CERTIFICATE, CA_KEY),
        &authority::create(mesh)?,
        force,
    )
}

fn authority_of(folder: &Path) -> Result<Authority, CaError> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| CaError::File { path, error })
    };
    Ok(Authority::from_pem(&read(CA_CERTIFICATE)?, &read(CA_KEY)?)?)
}

/// Writes both files, or neither if one exists and `force` is not given.
fn write_pair(folder: &Path, names: (&str, &str), issued: &Issued, force: bool) -> Written {
    let (certificate, key) = (folder.join(names.0), folder.join(names.1));
    for path in [&certificate, &key] {
        if !force && path.exists() {
            return Err(CaError::Exists { path: path.clone() });
        }
    }
    fs::create_dir_all(folder).map_err(|error| CaError::File {
        path: folder.to_owned(),
        error,
    })?;
    write(&key, &issued.key, 0o600)?;
    write(&certificate, &issued.certificate, 0o644)?;
    Ok((certificate, key))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        // An existing file would keep its mode, and a key may have been readable to all.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|error| CaError::File {
        path: path.to_owned(),
        error,
    })
}
