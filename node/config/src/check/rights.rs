//! Checks of the nodes that hold the rights of keys' limits.

use std::net::SocketAddr;
use std::path::PathBuf;

use grapevine_core::escrow::growth::OverrunRule;
use grapevine_core::escrow::seats::SEATS_MAX;
use grapevine_core::ids::NodeName;

use super::super::checked::{
    IssuedKeysConfig, KeyConfig, LimitsConfig, MeshConfig, NodeConfig, OidcConfig,
};
use super::super::file::{ConfigFile, LimitsFile, OverrunWord};
use super::node::NAME_FORM;
use super::{Checker, items};

/// Who clients are.
pub(super) struct ClientsConfig {
    pub(super) keys: Vec<KeyConfig>,
    pub(super) issued_keys: Option<IssuedKeysConfig>,
    pub(super) oidc: Option<OidcConfig>,
}

/// What of `limits` is about rights.
pub(super) struct RightsConfig {
    pub(super) nodes: Vec<NodeName>,
    pub(super) file: PathBuf,
    pub(super) max_tokens: u64,
    pub(super) overrun: OverrunRule,
}

impl Checker<'_> {
    /// The limits, issued keys, the identity provider, and keys of the file, which must fit together; `public` is the
    /// public address, where requests are served.
    pub(super) fn keys_and_limits(
        &mut self,
        file: &ConfigFile,
        (node, mesh): (&Option<NodeConfig>, &Option<MeshConfig>),
        public: Option<SocketAddr>,
    ) -> (LimitsConfig, ClientsConfig) {
        let node = node.as_ref();
        let limits = self.limits(file.limits.as_ref(), node);
        let issued = file.issued_keys.as_ref();
        let issued_keys = self.issued_keys(issued, node, mesh.as_ref());
        let keys = self.keys(
            &file.keys,
            public.filter(|_| issued.is_none() && file.oidc.is_none() && file.open != Some(true)),
        );
        let has_mesh = file.mesh.as_ref().is_some_and(|mesh| mesh.tls.is_some());
        let server = node.filter(|_| has_mesh && public.is_some());
        let oidc = self.oidc(file.oidc.as_ref(), node);
        let limited = keys.iter().find(|key| key.is_limited());
        let limited = limited.map(|key| format!("the key {}", key.name));
        let limited = limited.or_else(|| {
            let clients = &oidc.as_ref()?.rules.clients;
            let mut rights = clients.iter().map(|clients| &clients.rights);
            rights
                .any(|rights| rights.is_limited())
                .then(|| "a client of oidc".to_owned())
        });
        if let Some((node, limited)) = server.zip(limited) {
            self.rights_suffice(&limits, &limited, &node.name);
        }
        if let Some(node) = server.filter(|_| issued_keys.is_some()) {
            self.warn_of_issued_limits(&limits, &node.name);
        }
        let clients = ClientsConfig {
            keys,
            issued_keys,
            oidc,
        };
        (limits, clients)
    }

    pub(super) fn rights(
        &mut self,
        file: Option<&LimitsFile>,
        node: Option<&NodeConfig>,
    ) -> RightsConfig {
        let default = LimitsConfig::default();
        let key = "limits.nodes";
        let written = file.and_then(|file| file.nodes.as_ref());
        let mut nodes: Vec<NodeName> = Vec::new();
        for (at, text) in file.into_iter().flat_map(|file| items(key, &file.nodes)) {
            let Some(name) = self.parse::<NodeName>(&at, Some(text), NAME_FORM) else {
                continue;
            };
            if nodes.contains(&name) {
                self.problem(
                    &at,
                    format!("{name} is listed twice"),
                    "list each node once",
                );
            }
            nodes.push(name);
        }
        if nodes.len() > SEATS_MAX {
            let problem = format!("lists {} nodes, more than {SEATS_MAX}", nodes.len());
            let remedy = "list those that serve most requests of keys with limits";
            self.problem(key, problem, remedy);
        }
        if written.is_some_and(Vec::is_empty) {
            let remedy = "list the nodes that hold rights, or remove the key";
            self.problem(key, "is empty", remedy);
        }
        let path = match file.and_then(|file| file.file.as_ref()) {
            Some(text) => self.kept_path("limits.file", text),
            None => {
                let name = node.map_or("node", |node| node.name.as_str());
                self.folder.join(format!("grapevine-limits-{name}.json"))
            }
        };
        let max_tokens = file.and_then(|file| file.max_tokens);
        let range = 1..=1_000_000;
        let overrun = file.and_then(|file| file.overrun);
        RightsConfig {
            nodes,
            file: path,
            max_tokens: self.number("limits.max_tokens", max_tokens, default.max_tokens, range),
            overrun: match overrun {
                None => default.overrun,
                Some(OverrunWord::End) => OverrunRule::End,
                Some(OverrunWord::Allow) => OverrunRule::Allow,
            },
        }
    }

    /// Issued keys bring their limits along: the configuration does not show them.
    fn warn_of_issued_limits(&mut self, limits: &LimitsConfig, node: &NodeName) {
        let is_refused = self.source_map.was_refused("limits.nodes");
        if limits.nodes.contains(node) || is_refused {
            return;
        }
        let problem = match limits.nodes.is_empty() {
            true => "is missing, and issued keys may have limits".to_owned(),
            false => format!("does not list this node, {node}, and issued keys may have limits"),
        };
        let remedy = "list all nodes that answer requests of keys with limits, the same list at each of them; others \
                      refuse such requests with 503";
        self.warning("limits.nodes", problem, remedy);
    }

    /// Checks that keys with limits, of which `limited` is one, can be served here: `node` is this one, which serves
    /// requests in a mesh.
    fn rights_suffice(&mut self, limits: &LimitsConfig, limited: &str, node: &NodeName) {
        if limits.nodes.contains(node) || self.source_map.was_refused("limits.nodes") {
            return;
        }
        let problem = match limits.nodes.is_empty() {
            true => format!("is missing, and {limited} has limits over the whole mesh"),
            false => format!("does not list this node, {node}, and {limited} has limits"),
        };
        let remedy = "list all nodes that answer requests of keys with limits, the same list at each of them";
        self.problem("limits.nodes", problem, remedy);
    }
}
