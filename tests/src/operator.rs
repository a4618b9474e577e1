//! An operator with an issuing key: makes it, issues keys, and says things about them, with the real command line.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::mesh::MESH_NAME;
use crate::node::Node;
use crate::program::grapevine;
use crate::scratch::Scratch;

/// Holds an issuing key.
#[derive(Debug)]
pub struct Operator {
    public_key: String,
    issuer: PathBuf,
    // Dropped last.
    _scratch: Scratch,
}

/// An issued key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its id.
    pub id: String,
    /// What clients send.
    pub token: String,
}

impl Operator {
    /// Makes an issuing key.
    ///
    /// # Panics
    ///
    /// When the program fails.
    #[must_use]
    pub fn new() -> Self {
        let scratch = Scratch::new("operator");
        let issuer = scratch.path().join("issuer.key");
        let made = run(&[
            "key",
            "init",
            "--json",
            "--out",
            &issuer.display().to_string(),
        ]);
        let made: Value = serde_json::from_str(&made).expect("JSON");
        Self {
            public_key: made["public_key"].as_str().expect("a key").to_owned(),
            issuer,
            _scratch: scratch,
        }
    }

    /// The section `issued_keys` of a node's configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        json!({"public_keys": [self.public_key], "mesh": MESH_NAME})
    }

    /// Issues a key for the tests' mesh, with more flags.
    ///
    /// # Panics
    ///
    /// When the program fails.
    #[must_use]
    pub fn issue(&self, name: &str, flags: &[&str]) -> Issued {
        self.issue_for(MESH_NAME, name, flags)
    }

    /// Issues a key for a mesh.
    ///
    /// # Panics
    ///
    /// As [`Operator::issue`].
    #[must_use]
    pub fn issue_for(&self, mesh: &str, name: &str, flags: &[&str]) -> Issued {
        let issuer = self.issuer.display().to_string();
        let mut line = vec![
            "key", "issue", "--json", "--issuer", &issuer, "--mesh", mesh, "--name", name,
        ];
        line.extend(flags);
        let issued: Value = serde_json::from_str(&run(&line)).expect("JSON");
        let text = |field: &str| issued[field].as_str().expect(field).to_owned();
        Issued {
            id: text("id"),
            token: text("token"),
        }
    }

    /// Says something about keys to a node: `["revoke", ID]`, `["put", ...]`, `["remove", NAME]`.
    ///
    /// # Panics
    ///
    /// When the program fails.
    pub fn say(&self, node: &Node, words: &[&str]) -> String {
        let issuer = self.issuer.display().to_string();
        let admin = node.addresses().admin.to_string();
        let mut line = vec!["key"];
        line.extend(words);
        line.extend(["--issuer", &issuer, "--admin", &admin]);
        run(&line)
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

/// What the program prints.
///
/// # Panics
///
/// When it cannot be run, or fails.
pub fn run(line: &[&str]) -> String {
    let ended = Command::new(grapevine()).args(line).output();
    let ended = ended.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    text(&ended.stdout)
}
