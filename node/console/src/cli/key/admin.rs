//! `grapevine key revoke`, `put`, `remove` and `list`: statements about keys, signed here and handed to a node.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use grapevine_base::clock;
use grapevine_config::Environment;
use grapevine_core::date::CalendarDay;
use grapevine_core::ids::{MeshName, NodeName};
use grapevine_keys::hash::KeyHash;
use grapevine_keys::rights::{ClientKey, StaticKey};
use grapevine_keys::statement::KeyStatement;
use grapevine_keys::token::{IssuedKey, KeyId};
use serde_json::{Value, json};

use super::super::admin_port::{AdminArgs, AdminPort};
use super::book;
use super::rights::{RightsArgs, expiry};
use super::{IssuerArgs, KeyCommandError};

/// The node that takes statements, and what signs them.
#[derive(Debug, Args)]
struct NodeArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    /// The mesh that they are for; asked of the node where it is not given
    #[arg(long, value_name = "MESH", value_parser = parse_mesh)]
    mesh: Option<MeshName>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the signed statement instead of handing it to a node
    #[arg(long)]
    print: bool,
}

/// What `key revoke` takes.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The key's id (gvk_...), or the token itself
    #[arg(value_name = "ID")]
    id: String,
    /// When the key would end by itself, where it is not in the list of keys issued here
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Duration>,
    #[command(flatten)]
    node: NodeArgs,
}

/// What `key put` takes.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// Its name
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: NodeName,
    /// Its hash, as `grapevine key hash` prints it
    #[arg(long, value_name = "HASH")]
    hash: KeyHash,
    #[command(flatten)]
    rights: RightsArgs,
    /// When it ends: a span such as 30d, or a day such as 2027-01-31 (UTC). Default: never
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Duration>,
    #[command(flatten)]
    node: NodeArgs,
}

/// What `key remove` takes.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: NodeName,
    #[command(flatten)]
    node: NodeArgs,
}

/// What `key list` takes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// List the keys that were issued with the issuing key of this machine, instead of asking a node
    #[arg(long)]
    issued: bool,
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

fn parse_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|error| error.to_string())
}

fn parse_mesh(text: &str) -> Result<MeshName, String> {
    MeshName::new(text).map_err(|error| error.to_string())
}

impl NodeArgs {
    /// Signs `said` and hands it to the node.
    fn say(
        &self,
        said: &KeyStatement,
        environment: &Environment,
    ) -> Result<String, KeyCommandError> {
        let issuer = self.issuer.read()?;
        let port = self.admin.port(environment);
        let mesh = match &self.mesh {
            Some(mesh) => mesh.clone(),
            None => mesh_of(&port)?,
        };
        let text = said.sign(&mesh, clock::wall(), &issuer);
        let text = text.map_err(|error| KeyCommandError::Wrong(error.to_string()))?;
        if self.print {
            return Ok(text);
        }
        let answer = port.post("/keys/statements", &json!({"statements": [text]}))?;
        let answer: Value = port.read(&answer)?;
        let is_kept = answer["kept"].as_bool() == Some(true);
        let kept = match is_kept {
            true => "kept on its disk",
            false => "NOT kept on its disk (see its log): say it again to another node",
        };
        Ok(match answer["new"].as_u64() {
            Some(1..) => format!(
                "taken by the node at {}, {kept}; it spreads to the mesh",
                port.url()
            ),
            _ => format!(
                "the node at {} knew this, or something later, already",
                port.url()
            ),
        })
    }
}

fn mesh_of(port: &AdminPort) -> Result<MeshName, KeyCommandError> {
    let known: Value = port.read(&port.get("/keys", &[])?)?;
    let name = known["mesh"]
        .as_str()
        .and_then(|name| MeshName::new(name).ok());
    name.ok_or_else(|| {
        let wrong = "the node takes no issued keys: configure issued_keys there, or name the mesh with --mesh";
        KeyCommandError::Wrong(wrong.to_owned())
    })
}

pub(super) fn revoke(
    args: &RevokeArgs,
    environment: &Environment,
) -> Result<String, KeyCommandError> {
    let (id, until) = match IssuedKey::peek(args.id.trim().as_bytes()) {
        Ok(token) => (token.id, Some(token.expires_at)),
        Err(_) => {
            let id: KeyId = args
                .id
                .parse()
                .map_err(|error| KeyCommandError::Wrong(format!("{:?} {error}", args.id)))?;
            let book = book::read(&args.node.issuer.book())?;
            let entry = book.iter().find(|entry| entry.id == id.as_str());
            let until = entry.map(|entry| Duration::from_secs(entry.expires));
            (id, until)
        }
    };
    let Some(until) = args.expires.or(until) else {
        return Err(KeyCommandError::Wrong(format!(
            "{id} was not issued here: say when it would end by itself with --expires, or give the token"
        )));
    };
    let said = KeyStatement::Revoke {
        id: id.clone(),
        until,
    };
    let done = args.node.say(&said, environment)?;
    Ok(match args.node.print {
        true => done,
        false => format!("{id} is revoked: {done}"),
    })
}

pub(super) fn put(args: &PutArgs, environment: &Environment) -> Result<String, KeyCommandError> {
    let said = KeyStatement::Put(StaticKey {
        hash: args.hash,
        key: Arc::new(ClientKey {
            expires_at: args.expires,
            rights: args.rights.read()?,
            ..ClientKey::named(args.name.as_str())
        }),
    });
    args.node.say(&said, environment)
}

pub(super) fn remove(
    args: &RemoveArgs,
    environment: &Environment,
) -> Result<String, KeyCommandError> {
    let name = args.name.clone();
    args.node.say(&KeyStatement::Remove { name }, environment)
}

pub(super) fn list(args: &ListArgs, environment: &Environment) -> Result<String, KeyCommandError> {
    if args.issued {
        let entries = book::read(&args.issuer.book())?;
        if args.json {
            return Ok(json!({"issued": entries}).to_string());
        }
        let now = clock::wall().as_secs();
        let lines = entries.iter().map(|entry| {
            let ends = day(entry.expires);
            let state = if entry.expires <= now {
                "expired"
            } else {
                "until"
            };
            format!(
                "{}  {}  {}  {state} {ends}",
                entry.id, entry.name, entry.mesh
            )
        });
        return Ok(lines.collect::<Vec<_>>().join("\n"));
    }
    let port = args.admin.port(environment);
    let answer = port.get("/keys", &[])?;
    let known: Value = port.read(&answer)?;
    if args.json {
        return Ok(known.to_string());
    }
    let mut lines = Vec::new();
    for key in known["file"].as_array().into_iter().flatten() {
        let state = match key["overridden"].as_bool() {
            Some(true) => "file, but a statement holds",
            _ => "file",
        };
        lines.push(format!("{}  {state}", name_of(key)));
    }
    for said in known["statements"].as_array().into_iter().flatten() {
        let says = said["says"].as_str().unwrap_or("?");
        let until = said["until"].as_u64().or_else(|| said["expires"].as_u64());
        let until = until
            .map(|at| format!(" until {}", day(at)))
            .unwrap_or_default();
        lines.push(format!("{}  {says}{until}", name_of(said)));
    }
    if lines.is_empty() {
        lines.push("no static keys and no statements about keys".to_owned());
    }
    Ok(lines.join("\n"))
}

fn name_of(key: &Value) -> &str {
    key["name"]
        .as_str()
        .or_else(|| key["id"].as_str())
        .unwrap_or("?")
}

fn day(seconds: u64) -> CalendarDay {
    CalendarDay::of(Duration::from_secs(seconds))
}
