//! `grapevine init`: writes what a mesh needs to start: a configuration for each region's node, an authority and
//! certificates, a key for the first client, and the files of where it runs.
//!
//! Nothing is written before everything is known and made, and never over a file that exists. Secrets are in files of
//! their owner alone. The files of a platform are those of `deploy/`, included here, so that there is one of each.
//!
//! Reading order: [`answers`] (what is wanted, from flags or asked), [`providers`], [`mesh`] (what is made for it),
//! [`config`] (a node's configuration), [`common`] (the files of every platform), then [`local`], [`compose`],
//! [`systemd`] and [`kubernetes`], and [`files`] (how they are written).

mod answers;
mod common;
mod compose;
mod config;
mod files;
mod kubernetes;
mod local;
mod mesh;
mod providers;
mod systemd;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use grapevine_base::authority::AuthorityError;
use grapevine_config::Environment;
use grapevine_core::ids::MeshName;

use self::answers::{Answers, Asker};
use self::files::PlannedFile;
use self::mesh::PlannedMesh;
use super::fail;

/// What `init` takes.
#[derive(Clone, Debug, Args)]
pub struct MeshInitArgs {
    /// The folder to write to; it must be new or empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the mesh runs
    #[arg(long = "for", value_name = "WHERE", value_enum)]
    platform: Option<MeshPlatform>,
    /// A region, with the address at which other nodes reach its node (port 7171 unless written); may be repeated
    #[arg(long, value_name = "NAME[=HOST[:PORT]]")]
    region: Vec<String>,
    #[arg(
        long,
        value_name = "NAME[=URL]",
        help = format!("An upstream of every region: one of {}, or a name of yours with the URL of a self-hosted API; \
                        may be repeated", providers::WELL_KNOWN.join(", "))
    )]
    provider: Vec<String>,
    /// The variable of a provider's key, in place of the usual one; may be repeated
    #[arg(long, value_name = "PROVIDER=VARIABLE")]
    key_from: Vec<String>,
    /// The mesh's name [mesh.name]
    #[arg(long, value_name = "NAME", default_value = "production", value_parser = parse_mesh)]
    mesh: MeshName,
    /// The first node's public port on this machine, for local and compose; the others follow
    #[arg(long, value_name = "PORT", default_value_t = mesh::PORT,
          value_parser = clap::value_parser!(u16).range(2_000..=60_000))]
    port: u16,
}

/// Where a mesh runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MeshPlatform {
    /// All nodes on this machine, on loopback, to try
    Local,
    /// All nodes on one machine, in containers
    Compose,
    /// A machine for each node
    Systemd,
    /// A cluster for each node
    Kubernetes,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeshInitError {
    #[error(
        "{flag} is missing, and there is no terminal to ask at; `grapevine init --help` has examples"
    )]
    Missing { flag: &'static str },
    #[error("{flag}: {problem}")]
    Answer { flag: &'static str, problem: String },
    #[error("{} has files already; name a new folder", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the system gave no random bytes: {0}")]
    Random(io::Error),
    #[error("cannot ask: {0}")]
    Asking(io::Error),
}

fn parse_mesh(text: &str) -> Result<MeshName, String> {
    MeshName::new(text).map_err(|error| error.to_string())
}

/// Runs the command: asks on standard error what flags do not say, writes the files, and prints what to do next.
pub fn run(
    args: &MeshInitArgs,
    environment: &Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let mut asker = Asker {
        input: &mut stdin.lock(),
        out: &mut io::stderr(),
        is_terminal,
    };
    run_with(args, environment, &mut asker, out)
}

fn run_with<R: BufRead, W: Write>(
    args: &MeshInitArgs,
    environment: &Environment,
    asker: &mut Asker<'_, R, W>,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    match write(args, environment, asker) {
        Ok((mesh, count)) => {
            let folder = mesh.folder.display();
            let nodes = mesh.nodes.len();
            writeln!(out, "wrote {count} files for {nodes} nodes to {folder}")?;
            for (number, line) in next(&mesh).iter().enumerate() {
                writeln!(out, "  {}. {line}", number + 1)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(fail(&error.to_string())),
    }
}

/// Makes everything, then writes it, and returns how many files that was.
fn write<R: BufRead, W: Write>(
    args: &MeshInitArgs,
    environment: &Environment,
    asker: &mut Asker<'_, R, W>,
) -> Result<(PlannedMesh, usize), MeshInitError> {
    // Before anything is asked.
    files::must_be_empty(&args.folder)?;
    let answers = Answers::gather(args, asker)?;
    let user = files::make(&args.folder)?;
    let mesh = PlannedMesh::make(&args.folder, answers, user, environment)?;
    let planned = planned(&mesh);
    files::write(&args.folder, &planned)?;
    if mesh.platform == MeshPlatform::Compose && mesh.user != user {
        for node in &mesh.nodes {
            files::give(&args.folder.join(node.name.as_str()), mesh.user)?;
        }
    }
    Ok((mesh, planned.len()))
}

fn planned(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let mut files = common::files(mesh);
    files.extend(match mesh.platform {
        MeshPlatform::Local => local::files(mesh),
        MeshPlatform::Compose => compose::files(mesh),
        MeshPlatform::Systemd => systemd::files(mesh),
        MeshPlatform::Kubernetes => kubernetes::files(mesh),
    });
    files
}

/// What to do next.
fn next(mesh: &PlannedMesh) -> [String; 3] {
    match mesh.platform {
        MeshPlatform::Local => local::next(mesh),
        MeshPlatform::Compose => compose::next(mesh),
        MeshPlatform::Systemd => systemd::next(mesh),
        MeshPlatform::Kubernetes => kubernetes::next(mesh),
    }
}

/// What is to be done about providers' keys, for the file that holds them.
fn keys_step(mesh: &PlannedMesh, file: &Path) -> String {
    let wanting: Vec<&str> = mesh.variables_without_value().collect();
    match wanting.is_empty() {
        true => format!("look at the secrets in {}", file.display()),
        false => format!("write {} into {}", wanting.join(", "), file.display()),
    }
}
