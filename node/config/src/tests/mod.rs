//! Whole configurations: what is refused and with which message, precedence, what is never shown.

mod background;
mod base_url;
mod fallback;
mod mode;
mod problems;
mod provider;
mod reload;
mod seal;
mod sections;
mod sources;
mod tracing;

use std::path::{Path, PathBuf};

use super::*;

/// The problems of `yaml`, each in its line.
fn problems(yaml: &str) -> Vec<String> {
    let problems = load_text(yaml, &Sources::default()).expect_err("the text has problems");
    problems.iter().map(ToString::to_string).collect()
}

fn good(yaml: &str) -> Config {
    load_text(yaml, &Sources::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn warnings(yaml: &str) -> Vec<String> {
    let loaded =
        load_text(yaml, &Sources::default()).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// A folder of the test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("grapevine-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is no failure of the test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority that signs nodes' certificates, as `grapevine ca` makes it.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params =
            rcgen::CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key of a node, as PEM.
    fn issue(&self, uri: &str, is_expired: bool) -> (String, String) {
        let mut params =
            rcgen::CertificateParams::new(vec!["node.example".to_owned()]).expect("a good name");
        params
            .subject_alt_names
            .push(rcgen::SanType::URI(uri.try_into().expect("a good URI")));
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }
}
