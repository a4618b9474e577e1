//! From a task to the requests that are made for it: its submitter's rules hold for them.

use std::sync::Arc;

use bytes::Bytes;
use grapevine_core::residency::Origin;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};

use super::task::{Checked, NewTask, Submitter};
use crate::exchange::{Caller, Guest, OwnRequest};

impl Submitter {
    /// Who `guest` is, for the record.
    pub fn of(guest: &Guest) -> Self {
        Self {
            key: guest.key.clone(),
            origin: match guest.client {
                Origin::Unknown => None,
                Origin::Continent(continent) => Some(continent.to_string()),
                Origin::Country(country) => Some(country.to_string()),
            },
            models: guest
                .models
                .as_deref()
                .map(|models| models.iter().cloned().map(Checked).collect()),
        }
    }

    /// Where it is, as it was written down; what cannot be read is unknown, which fences it in where rules
    /// say so.
    pub fn client(&self) -> Origin {
        let Some(text) = &self.origin else {
            return Origin::Unknown;
        };
        match (text.parse(), text.parse()) {
            (Ok(country), _) => Origin::Country(country),
            (_, Ok(continent)) => Origin::Continent(continent),
            _ => Origin::Unknown,
        }
    }
}

/// A request with a JSON `body` on behalf of the submitter of `task`.
pub fn request(task: &NewTask, method: Method, path: PathAndQuery, body: Bytes) -> OwnRequest {
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    let models = task.submitter.models.as_ref();
    OwnRequest {
        method,
        path,
        headers,
        body,
        caller: Caller {
            client: task.submitter.client(),
            key: task.submitter.key.clone(),
        },
        allow_regions: task.regions.iter().map(|region| region.0.clone()).collect(),
        allow_models: models.map(|models| Arc::new(models.iter().map(|it| it.0.clone()).collect())),
        session: None,
        timeout: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whereabouts_come_back_from_the_record() {
        let back = |origin| {
            let guest = Guest {
                client: origin,
                ..Guest::default()
            };
            Submitter::of(&guest).client()
        };
        let germany = Origin::Country("DE".parse().expect("a country"));
        let asia = Origin::Continent("asia".parse().expect("a continent"));
        assert_eq!(
            [back(germany), back(asia), back(Origin::Unknown)],
            [germany, asia, Origin::Unknown]
        );
    }
}
