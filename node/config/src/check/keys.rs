//! Checks of issued keys, prices and the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::ids::{MeshName, ModelName};
use grapevine_core::price::{ModelPrice, NanoUsd};
use grapevine_keys::issuer::IssuerPublicKey;
use grapevine_keys::ring::Issuers;

use super::super::checked::{IssuedKeysConfig, LedgerConfig, MeshConfig, NodeConfig};
use super::super::file::{DollarsText, IssuedKeysFile, Item, LedgerFile, PriceFile};
use super::super::prices::PriceTable;
use super::super::text::ByteSize;
use super::{Checker, items};

/// Issuing keys at once: one, and those that are being replaced.
const ISSUERS_MAX: usize = 8;

/// Prices of the file.
const PRICES_MAX: usize = 4_096;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Checker<'_> {
    pub(super) fn issued_keys(
        &mut self,
        file: Option<&IssuedKeysFile>,
        node: Option<&NodeConfig>,
        mesh: Option<&MeshConfig>,
    ) -> Option<IssuedKeysConfig> {
        let file = file?;
        let key = "issued_keys.public_keys";
        let form = "write what `grapevine key init` prints, such as ed25519:Gb9EC...";
        let public_keys: Vec<IssuerPublicKey> = items(key, &file.public_keys)
            .filter_map(|(key, text)| self.parse(&key, Some(text), form))
            .collect();
        let written = file.public_keys.as_ref().map_or(0, Vec::len);
        if written == 0 && file.public_keys.is_some() {
            let remedy =
                "add the public key that `grapevine key init` prints, or remove the section";
            self.problem(key, "is empty", remedy);
        }
        if written > ISSUERS_MAX {
            let problem = format!("names {written} keys, more than {ISSUERS_MAX}");
            self.problem(
                key,
                problem,
                "remove those that no key was issued with for long",
            );
        }
        let form = "write the mesh's name: lower-case letters, digits and inner '-'";
        let named: Option<MeshName> = self.parse("issued_keys.mesh", file.mesh.as_deref(), form);
        let mesh = named.or_else(|| mesh.map(|mesh| mesh.name.clone()));
        if mesh.is_none() && file.mesh.is_none() {
            let problem = "is missing, and the node has no mesh whose name could stand for it";
            let remedy = "name the mesh that `grapevine key issue --mesh` names";
            self.problem("issued_keys.mesh", problem, remedy);
        }
        let range = Duration::from_secs(60)..=DAY * 30;
        let stale_after = file.stale_after.as_ref();
        let stale_after =
            stale_after.map(|it| self.duration("issued_keys.stale_after", Some(it), DAY, range));
        let path = match &file.file {
            Some(text) => self.kept_path("issued_keys.file", text),
            None => {
                let name = node.map_or("node", |node| node.name.as_str());
                self.folder.join(format!("grapevine-keys-{name}.jws"))
            }
        };
        Some(IssuedKeysConfig {
            issuers: Issuers {
                public_keys,
                mesh: mesh?,
                stale_after,
            },
            file: path,
        })
    }

    pub(super) fn prices(&mut self, list: &Option<Vec<Item<PriceFile>>>) -> PriceTable {
        let mut table = PriceTable::default();
        let written = list.as_ref().map_or(0, Vec::len);
        if written > PRICES_MAX {
            let problem = format!("names {written} models, more than {PRICES_MAX}");
            self.problem("prices", problem, "name those that are used");
        }
        let mut names = BTreeMap::new();
        for (key, file) in items("prices", list).take(PRICES_MAX) {
            let form = "name the model as clients do";
            let model: Option<ModelName> =
                self.parse(&format!("{key}.model"), file.model.as_deref(), form);
            let Some(price) = self.price(&key, file) else {
                continue;
            };
            let Some(model) = model else { continue };
            if let Some(first) = names.insert(model.clone(), key.clone()) {
                let problem = format!("{model} has a price in {first} too");
                self.problem(&format!("{key}.model"), problem, "remove one of them");
            }
            table.set(model, price);
        }
        table
    }

    fn price(&mut self, key: &str, file: &PriceFile) -> Option<ModelPrice> {
        let mut dollars =
            |name: &str, text: &Option<DollarsText>| self.dollars(&format!("{key}.{name}"), text);
        let (input, output) = (
            dollars("input", &file.input),
            dollars("output", &file.output),
        );
        let cached_input = dollars("cached_input", &file.cached_input);
        let cache_write = dollars("cache_write", &file.cache_write);
        let request = dollars("request", &file.request);
        Some(ModelPrice {
            input: input?,
            cached_input: cached_input.or(input)?,
            cache_write: cache_write.or(input)?,
            output: output?,
            request: request.unwrap_or_default(),
        })
    }

    fn dollars(&mut self, key: &str, text: &Option<DollarsText>) -> Option<NanoUsd> {
        let read = NanoUsd::from_dollars(&text.as_ref()?.0);
        if read.is_none() {
            let problem = format!("{} is not an amount in US dollars", self.shown(key));
            self.problem(key, problem, "write decimal dollars, such as 2.50");
        }
        read
    }

    pub(super) fn ledger(&mut self, file: Option<&LedgerFile>) -> Option<LedgerConfig> {
        let file = file?;
        let sizes = ByteSize::mib(1)..=ByteSize::mib(16 * 1_024);
        let size = self.size("ledger.size", file.size.as_ref(), ByteSize::mib(64), sizes);
        let (age, retention) = (file.age.as_ref(), file.retention.as_ref());
        let age = self.duration("ledger.age", age, DAY, HOUR..=DAY * 30);
        let retention = self.duration("ledger.retention", retention, DAY * 90, DAY..=DAY * 365);
        let path = self.kept_path("ledger.file", file.file.as_deref()?);
        Some(LedgerConfig {
            file: path,
            size,
            age,
            retention,
        })
    }
}
