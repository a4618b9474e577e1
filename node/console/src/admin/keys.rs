//! The keys in force, and statements about them.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use grapevine_base::clock;
use grapevine_keys::rights::{ClientKey, KeyLimits};
use grapevine_keys::ring::KeyRing;
use grapevine_keys::statement::{KeyStatement, SignedStatement};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;

/// Takes signed statements about keys, keeps them and spreads them.
#[async_trait]
pub trait TakeStatements: Send + Sync + 'static {
    /// What became of them.
    ///
    /// # Errors
    /// When one is refused; the others may have been taken.
    async fn take(&self, texts: Vec<String>) -> Result<Value, StatementsRefused>;

    /// The keys in force.
    fn ring(&self) -> KeyRing;
}

/// Why statements were refused, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StatementsRefused(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statements {
    statements: Vec<String>,
}

pub(super) async fn take(State(admin): State<Admin>, Json(given): Json<Statements>) -> Response {
    match admin.keys.take(given.statements).await {
        Ok(taken) => Json(taken).into_response(),
        Err(refused) => {
            let error = Json(json!({"error": refused.to_string()}));
            (StatusCode::BAD_REQUEST, error).into_response()
        }
    }
}

/// Every key that is no token, and every statement; hashes are not shown.
pub(super) async fn show(State(admin): State<Admin>) -> Json<Value> {
    let ring = admin.keys.ring();
    let issuers = ring.issuers();
    let known = ring.known();
    let statements: Vec<Value> = known.iter().map(statement).collect();
    let filed = (admin.filed_keys)();
    let filed = filed.iter().map(|key| {
        let mut shown = key_to_json(key);
        // A statement about the name holds, not the file.
        shown["overridden"] = ring.named(&key.name).1.into();
        shown
    });
    Json(json!({
        "node": admin.driver.view().node.as_str(),
        "mesh": issuers.as_ref().map(|issuers| issuers.mesh.as_str()),
        "issuers": issuers.iter().flat_map(|issuers| &issuers.public_keys).map(|key| {
            json!({"id": key.id(), "public_key": key.to_string()})
        }).collect::<Vec<_>>(),
        "file": filed.collect::<Vec<_>>(),
        "statements": statements,
        "compared_seconds_ago": ring.age(clock::wall()).as_secs(),
    }))
}

fn statement(signed: &SignedStatement) -> Value {
    let mut shown = match &signed.said {
        KeyStatement::Revoke { id, until } => {
            json!({"says": "revoked", "id": id.as_str(), "until": until.as_secs()})
        }
        KeyStatement::Put(put) => {
            let mut shown = key_to_json(&put.key);
            shown["says"] = "put".into();
            shown
        }
        KeyStatement::Remove { name } => json!({"says": "removed", "name": name.as_str()}),
    };
    shown["time"] = signed.made_at.as_secs_f64().into();
    shown
}

/// A key as the operator sees it.
pub fn key_to_json(key: &Arc<ClientKey>) -> Value {
    fn texts<T: ToString>(set: Option<&std::collections::BTreeSet<T>>) -> Option<Vec<String>> {
        Some(set?.iter().map(ToString::to_string).collect())
    }
    let rights = &key.rights;
    let mut shown = json!({
        "name": &*key.name,
        "scopes": rights.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "models": texts(rights.models.as_deref()),
        "regions": texts(rights.regions.as_deref()),
        "services": texts(rights.services.as_deref()),
        "upstreams": rights.upstreams.as_deref().map(|all| {
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        "expires": key.expires_at.map(|at| at.as_secs()),
    });
    for (name, limit) in limits(&rights.limits) {
        shown[name] = limit;
    }
    let models = rights.model_limits.iter().flat_map(|models| models.iter());
    for (model, of_model) in models {
        for (name, limit) in limits(of_model) {
            shown["limits"][model.as_str()][name] = limit;
        }
    }
    if let Some(weight) = rights.weight {
        shown["weight"] = weight.get().into();
    }
    if !rights.hedge {
        shown["hedge"] = "off".into();
    }
    shown
}

fn limits(limits: &KeyLimits) -> [(&'static str, Value); 4] {
    [
        ("rpm", limits.rpm.into()),
        ("tpm", limits.tpm.into()),
        (
            "budget",
            limits.budget.map(|budget| budget.to_string()).into(),
        ),
        ("concurrency", limits.concurrency.into()),
    ]
}
