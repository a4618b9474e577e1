//! `grapevine node`, and the flags that set configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use grapevine_config::env::CONFIG_VARIABLE;
use grapevine_config::{Environment, Flags, Sources};
use grapevine_console::cli::fail;
use grapevine_tasks::hub::ServiceRegistry;

/// What `node` and `check` take. A flag overrides the environment, the environment overrides the file.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArgs {
    /// The configuration file; also GRAPEVINE_CONFIG. Without either no file is read.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name, unique in its mesh [node.name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The region it serves [node.region]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[arg(
        long,
        value_name = "IP:PORT",
        help = "The public address of the API [listen]"
    )]
    listen: Option<String>,
    #[arg(
        long,
        help = "Let everyone use the API while there are no keys, from other machines too [open]"
    )]
    open: bool,
    /// The operator's address [admin.listen]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    #[arg(
        long,
        value_name = "NAME=URL",
        value_parser = parse_upstream,
        help = "Add an upstream, or move the one of that name to another URL [upstreams]"
    )]
    upstream: Vec<(String, String)>,
    /// A node to ask for the rest of the mesh [mesh.seeds]
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// The mesh's name [mesh.name]
    #[arg(long, value_name = "NAME")]
    mesh_name: Option<String>,
    /// Where gossip and forwarded requests arrive [mesh.listen]
    #[arg(long, value_name = "IP:PORT")]
    mesh_listen: Option<String>,
    /// Where other nodes reach this one [mesh.advertise]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// The certificate of the mesh's authority [mesh.tls.ca]
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// This node's certificate [mesh.tls.cert]
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// This node's private key [mesh.tls.key]
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// The log's level or filter [log.level]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// The form of a log line: text or json [log.format]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    #[arg(
        long,
        value_name = "MODE",
        allow_hyphen_values = true,
        help = "What the node does, as in the variable WORKER_MODE: '!' requests, '*' all background services, \
                '-' neither, or keys of services [worker_mode]"
    )]
    worker_mode: Option<String>,
}

impl NodeArgs {
    /// Where the configuration comes from.
    pub(super) fn sources(self, environment: Environment) -> Sources {
        let file = self
            .config
            .or_else(|| environment.get(CONFIG_VARIABLE).map(PathBuf::from));
        let flags = Flags::default()
            .with("--name", &["node", "name"], self.name)
            .with("--region", &["node", "region"], self.region)
            .with("--listen", &["listen"], self.listen)
            .with("--open", &["open"], self.open.then(|| "true".to_owned()))
            .with("--admin-listen", &["admin", "listen"], self.admin_listen)
            .with_list("--seed", &["mesh", "seeds"], self.seed)
            .with("--mesh-name", &["mesh", "name"], self.mesh_name)
            .with("--mesh-listen", &["mesh", "listen"], self.mesh_listen)
            .with("--advertise", &["mesh", "advertise"], self.advertise)
            .with("--ca", &["mesh", "tls", "ca"], self.ca)
            .with("--cert", &["mesh", "tls", "cert"], self.cert)
            .with("--key", &["mesh", "tls", "key"], self.key)
            .with("--log", &["log", "level"], self.log)
            .with("--log-format", &["log", "format"], self.log_format)
            .with("--worker-mode", &["worker_mode"], self.worker_mode);
        let flags = self
            .upstream
            .into_iter()
            .fold(flags, |flags, (name, url)| flags.with_upstream(name, url));
        Sources {
            file,
            environment,
            flags,
        }
    }
}

fn parse_upstream(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => {
            Ok((name.to_owned(), url.to_owned()))
        }
        _ => Err("write NAME=URL, such as primary=https://api.example.com/v1".to_owned()),
    }
}

/// Runs a node until a signal or its admin port ends it.
pub(super) fn run(args: NodeArgs, environment: Environment, services: ServiceRegistry) -> ExitCode {
    let sources = args.sources(environment);
    let loaded = match grapevine_config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let warnings = problems.warnings().iter();
            let warnings: String = warnings
                .map(|warning| format!("\nwarning: {warning}"))
                .collect();
            let text = format!("the configuration has problems\n{problems}{warnings}");
            return fail(&text);
        }
    };
    super::block_on(crate::app::run(loaded, sources, services))
}
