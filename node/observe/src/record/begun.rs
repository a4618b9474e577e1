//! A record as it begins.

use std::collections::VecDeque;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_base::exchange::RequestId;
use grapevine_core::ids::ModelName;
use grapevine_core::outcome::RequestEnd;
use grapevine_core::request::FallbackStep;
use http::Method;
use http::uri::PathAndQuery;

use super::{ClientRecord, RequestKind, RequestRecord, Tokens};
use crate::excerpt::{self, Excerpt};

impl RequestRecord {
    /// The record of a client's request that has just arrived.
    pub fn begun(id: RequestId, method: &Method, path: &PathAndQuery) -> Self {
        Self {
            id,
            time: clock::wall(),
            method: excerpt::method(method),
            path: Excerpt::of_path(path),
            model: None,
            fallbacks: Vec::new(),
            dialect: None,
            stream: false,
            status: 0,
            served: None,
            client: ClientRecord::default(),
            hedge: None,
            attempts: Vec::new(),
            untried: VecDeque::new(),
            overhead: Duration::ZERO,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            tokens: Tokens::default(),
            cost: None,
            key: None,
            key_id: None,
            residency: None,
            error: None,
            kind: RequestKind::Client,
            trace: None,
            forwarded_as: None,
        }
    }

    /// How it ended for its client: what every count of failures goes by.
    pub fn end(&self) -> RequestEnd {
        RequestEnd::of(self.status, self.error)
    }

    /// The model that answered: the last that stood in, else the one asked for.
    pub fn served_model(&self) -> Option<&ModelName> {
        let last = self.fallbacks.last();
        last.map(|step| &step.model).or(self.model.as_ref())
    }

    /// The changes of model in one text, such as `gpt-4o>claude-sonnet (context_too_long)`; `None` without any.
    pub fn fallback(&self) -> Option<String> {
        let asked = self.model.as_ref().filter(|_| !self.fallbacks.is_empty())?;
        let step = |step: &FallbackStep| format!(">{} ({})", step.model, step.cause.as_str());
        let steps: String = self.fallbacks.iter().map(step).collect();
        Some(format!("{asked}{steps}"))
    }

    /// What it holds, once it is complete; what is left keeps its names and its status alone.
    pub fn taken(&mut self) -> Self {
        Self {
            id: self.id.clone(),
            time: self.time,
            method: self.method.clone(),
            path: self.path.clone(),
            model: self.model.clone(),
            fallbacks: std::mem::take(&mut self.fallbacks),
            dialect: self.dialect.take(),
            stream: self.stream,
            status: self.status,
            served: self.served.take(),
            client: self.client,
            hedge: self.hedge.take(),
            attempts: std::mem::take(&mut self.attempts),
            untried: std::mem::take(&mut self.untried),
            overhead: self.overhead,
            first_byte: self.first_byte,
            total: self.total,
            tokens: self.tokens,
            cost: self.cost,
            key: self.key.take(),
            key_id: self.key_id.take(),
            residency: self.residency.take(),
            error: self.error,
            kind: self.kind,
            trace: self.trace.take(),
            forwarded_as: self.forwarded_as.take(),
        }
    }
}
