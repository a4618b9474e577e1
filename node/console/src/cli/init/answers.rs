//! What is wanted: from flags, and asked where they say nothing and somebody is there to answer.

use std::collections::BTreeSet;
use std::io::{BufRead, Read as _, Write};

use clap::ValueEnum as _;
use grapevine_config::address::HostPort;
use grapevine_core::ids::{MeshName, NodeName};

use super::providers::{self, PlannedUpstream, WELL_KNOWN};
use super::{MeshInitArgs, MeshInitError, MeshPlatform};

/// Regions of one mesh that are written at once.
const REGIONS_MAX: usize = 64;

/// Upstreams of every node.
const PROVIDERS_MAX: usize = 32;

/// The longest name of a region, in bytes: pods and services have it in their names.
const REGION_BYTES_MAX: usize = 40;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// How often one question is asked.
const TRIES_MAX: usize = 5;

/// The port of the mesh, unless another is written.
pub(super) const MESH_PORT: u16 = 7171;

/// Where questions are asked.
pub(super) struct Asker<'a, R, W> {
    pub(super) input: &'a mut R,
    pub(super) out: &'a mut W,
    /// Whether somebody can answer.
    pub(super) is_terminal: bool,
}

impl<R: BufRead, W: Write> Asker<'_, R, W> {
    /// Asks until the answer can be read.
    ///
    /// # Errors
    /// When nobody answers, or no answer can be read.
    fn ask<T>(
        &mut self,
        flag: &'static str,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, MeshInitError> {
        if !self.is_terminal {
            return Err(MeshInitError::Missing { flag });
        }
        let mut last = String::new();
        for _ in 0..TRIES_MAX {
            write!(self.out, "{question}: ")
                .and_then(|()| self.out.flush())
                .map_err(MeshInitError::Asking)?;
            let mut answer = String::new();
            let mut input = self.input.by_ref().take(ANSWER_BYTES_MAX);
            let bytes = input
                .read_line(&mut answer)
                .map_err(MeshInitError::Asking)?;
            if bytes == 0 {
                return Err(MeshInitError::Missing { flag });
            }
            match read(answer.trim()) {
                Ok(value) => return Ok(value),
                Err(problem) => {
                    writeln!(self.out, "  {problem}").map_err(MeshInitError::Asking)?;
                    last = problem;
                }
            }
        }
        Err(MeshInitError::Answer {
            flag,
            problem: last,
        })
    }
}

/// A region that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionAnswer {
    pub(super) name: String,
    /// Where others reach its node; `None` where the platform gives addresses.
    pub(super) address: Option<HostPort>,
}

/// All that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) platform: MeshPlatform,
    pub(super) mesh: MeshName,
    pub(super) port: u16,
    pub(super) regions: Vec<RegionAnswer>,
    pub(super) upstreams: Vec<PlannedUpstream>,
}

impl Answers {
    /// From the flags, and from the terminal where they say nothing.
    ///
    /// # Errors
    /// With the flag whose answer is missing or wrong.
    pub(super) fn gather<R: BufRead, W: Write>(
        args: &MeshInitArgs,
        asker: &mut Asker<'_, R, W>,
    ) -> Result<Self, MeshInitError> {
        let platform = match args.platform {
            Some(platform) => platform,
            None => asker.ask(
                "--for",
                "Where does it run (local, compose, systemd, kubernetes)",
                |answer| MeshPlatform::from_str(answer, true),
            )?,
        };
        let mut regions = regions(&args.region, asker)?;
        addresses(&mut regions, platform, asker)?;
        let mut upstreams = upstreams(&args.provider, asker)?;
        keys(&args.key_from, &mut upstreams)?;
        Ok(Self {
            platform,
            mesh: args.mesh.clone(),
            port: args.port,
            regions,
            upstreams,
        })
    }
}

fn regions<R: BufRead, W: Write>(
    flags: &[String],
    asker: &mut Asker<'_, R, W>,
) -> Result<Vec<RegionAnswer>, MeshInitError> {
    const FLAG: &str = "--region";
    if flags.is_empty() {
        let question = "Regions, each with a node (such as: sgp usa eur)";
        return asker.ask(FLAG, question, |answer| {
            all_regions(answer.split_whitespace())
        });
    }
    all_regions(flags.iter().map(String::as_str)).map_err(wrong(FLAG))
}

fn all_regions<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<RegionAnswer>, String> {
    let regions: Vec<RegionAnswer> = texts.map(region).collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = regions.iter().map(|region| region.name.as_str()).collect();
    match regions.len() {
        0 => Err("name at least one region".to_owned()),
        count if count > REGIONS_MAX => Err(format!("at most {REGIONS_MAX} regions are written")),
        count if names.len() < count => Err("a region is named twice".to_owned()),
        _ => Ok(regions),
    }
}

/// Reads `NAME` or `NAME=HOST[:PORT]`.
fn region(text: &str) -> Result<RegionAnswer, String> {
    let (name, address) = match text.split_once('=') {
        Some((name, address)) => (name, Some(parse_address(address)?)),
        None => (text, None),
    };
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_name = !name.is_empty()
        && name.len() <= REGION_BYTES_MAX
        && name.chars().all(|letter| is_plain(letter) || letter == '-')
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.ends_with(is_plain);
    if !is_name {
        return Err(format!(
            "{name:?} is no name of a region; use lower-case letters, digits and inner '-', a letter first, at most \
             {REGION_BYTES_MAX} of them, such as sgp or eu-west-1"
        ));
    }
    Ok(RegionAnswer {
        name: name.to_owned(),
        address,
    })
}

fn parse_address(text: &str) -> Result<HostPort, String> {
    let with_port = match text.rsplit_once(':') {
        // The last part of an IPv6 address in brackets is no port.
        Some((_, last)) if !last.ends_with(']') => text.to_owned(),
        _ => format!("{text}:{MESH_PORT}"),
    };
    let address: HostPort = with_port
        .parse()
        .map_err(|error| format!("{text:?} {error}; write HOST or HOST:PORT"))?;
    match address.host.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(format!("no node can be reached at {text}")),
        _ => Ok(address),
    }
}

/// Asks for the addresses that are missing; none may be given where the platform gives them.
fn addresses<R: BufRead, W: Write>(
    regions: &mut [RegionAnswer],
    platform: MeshPlatform,
    asker: &mut Asker<'_, R, W>,
) -> Result<(), MeshInitError> {
    const FLAG: &str = "--region NAME=HOST";
    let is_one_machine = matches!(platform, MeshPlatform::Local | MeshPlatform::Compose);
    for region in regions {
        match (is_one_machine, &region.address) {
            (true, Some(_)) => {
                let problem = format!(
                    "write {} alone: all nodes run on one machine, which has their addresses",
                    region.name
                );
                return Err(wrong(FLAG)(problem));
            }
            (false, None) => {
                let question = format!(
                    "Where do the others reach the node in {} (HOST or HOST:PORT, UDP)",
                    region.name
                );
                region.address = Some(asker.ask(FLAG, &question, parse_address)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn upstreams<R: BufRead, W: Write>(
    flags: &[String],
    asker: &mut Asker<'_, R, W>,
) -> Result<Vec<PlannedUpstream>, MeshInitError> {
    const FLAG: &str = "--provider";
    if flags.is_empty() {
        let known = WELL_KNOWN.join(" ");
        let question = format!("Providers ({known}, or NAME=URL of your own)");
        return asker.ask(FLAG, &question, |answer| {
            all_upstreams(answer.split_whitespace())
        });
    }
    all_upstreams(flags.iter().map(String::as_str)).map_err(wrong(FLAG))
}

fn all_upstreams<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<PlannedUpstream>, String> {
    let upstreams: Vec<_> = texts.map(providers::parse).collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = upstreams.iter().map(|one| one.name.as_str()).collect();
    match upstreams.len() {
        0 => Err("name at least one provider".to_owned()),
        count if count > PROVIDERS_MAX => Err(format!("at most {PROVIDERS_MAX} are written")),
        count if names.len() < count => Err("a provider is named twice".to_owned()),
        _ => Ok(upstreams),
    }
}

/// Sets the variables that flags name.
fn keys(flags: &[String], upstreams: &mut [PlannedUpstream]) -> Result<(), MeshInitError> {
    const FLAG: &str = "--key-from";
    for flag in flags {
        let (name, variable) = flag.split_once('=').ok_or_else(|| {
            wrong(FLAG)(format!(
                "{flag:?}: write PROVIDER=VARIABLE, such as own=OWN_API_KEY"
            ))
        })?;
        let is_variable = variable.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && variable
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !is_variable {
            let problem = format!("{variable:?} is no name of a variable");
            return Err(wrong(FLAG)(problem));
        }
        let upstream = upstreams.iter_mut().find(|one| one.name == name);
        let upstream =
            upstream.ok_or_else(|| wrong(FLAG)(format!("{name:?} is none of the providers")))?;
        upstream.variable = Some(variable.to_owned());
    }
    Ok(())
}

fn wrong(flag: &'static str) -> impl Fn(String) -> MeshInitError {
    move |problem| MeshInitError::Answer { flag, problem }
}

/// The name of the node of a region.
pub(super) fn node_name(region: &str, platform: MeshPlatform) -> Result<NodeName, MeshInitError> {
    let name = match platform {
        // A pod's name is its node's.
        MeshPlatform::Kubernetes => format!("{region}-grapevine-0"),
        _ => format!("{region}-1"),
    };
    NodeName::new(&name).map_err(|error| wrong("--region")(error.to_string()))
}
