//! What an operator does to a running node, beside draining it: reading its configuration again, and taking one of its
//! upstreams out of use. Each leaves a line in the log.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use grapevine_base::table::cut;
use grapevine_core::engine::{Event, UpstreamSwitch};
use grapevine_core::ids::UpstreamName;
use serde_json::json;
use tokio::sync::oneshot;
use tracing::info;

use super::Admin;

/// What is shown of a name that no upstream has, in characters: one more than a name may have.
const NAME_SHOWN: usize = 64;

/// An operator's wish that the configuration is read again; it waits for what comes of it.
#[derive(Debug)]
pub struct ReloadAsk(oneshot::Sender<Result<(), String>>);

impl ReloadAsk {
    /// Says whether the new configuration is in use, or the problems that keep the old one.
    pub fn answer(self, ended: Result<(), String>) {
        // Whoever asked may have gone away.
        let _ = self.0.send(ended);
    }
}

/// Reads the configuration again, and waits until it is in use or refused.
pub(super) async fn reload(State(admin): State<Admin>) -> Response {
    info!("reload asked for by the operator");
    let (ask, answer) = oneshot::channel();
    // A node that is shutting down takes none.
    let ended = match admin.reload.send(ReloadAsk(ask)).await {
        Ok(()) => answer.await.ok(),
        Err(_) => None,
    };
    match ended {
        Some(Ok(())) => Json(json!({"reloaded": true})).into_response(),
        Some(Err(problems)) => {
            let error = format!("the configuration in use stays: {problems}");
            refused(StatusCode::BAD_REQUEST, &error)
        }
        None => refused(StatusCode::SERVICE_UNAVAILABLE, "the node shuts down"),
    }
}

pub(super) async fn disable(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    switch(&admin, &name, true).await
}

pub(super) async fn enable(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    switch(&admin, &name, false).await
}

/// Holds until the opposite is asked for, or the process ends; a reload does not change it.
async fn switch(admin: &Admin, name: &str, is_disabled: bool) -> Response {
    let own = admin.driver.view().own.clone();
    let known = UpstreamName::new(name)
        .ok()
        .filter(|name| own.contains_key(name));
    let Some(upstream) = known else {
        let names: Vec<&str> = own.keys().map(UpstreamName::as_str).collect();
        let names = match names.as_slice() {
            [] => "it has none".to_owned(),
            names => format!("it has {}", names.join(", ")),
        };
        let name = cut(name, NAME_SHOWN);
        let error = format!(
            "this node has no upstream called {name:?}: {names}; ask the node that owns it"
        );
        return refused(StatusCode::BAD_REQUEST, &error);
    };
    let in_flight = own.get(&upstream).map_or(0, |it| it.in_flight());
    let word = if is_disabled { "disabled" } else { "enabled" };
    info!(upstream.name = %upstream, in_flight, "upstream {word} by the operator");
    let shown =
        json!({"upstream": upstream.as_str(), "disabled": is_disabled, "in_flight": in_flight});
    let event = UpstreamSwitch {
        upstream,
        is_disabled,
    };
    admin.driver.send(Event::UpstreamSwitched(event)).await;
    Json(shown).into_response()
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
