//! The payload of a node's background work.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_core::fact::ServicesFact;
use grapevine_core::ids::{ServiceKey, StoreName};
use grapevine_core::mode::SERVICES_MAX;
use serde::{Deserialize, Serialize};

use crate::value::figure::Figure;
use crate::value::{ValueError, json};

/// At most [`SERVICES_MAX`] of each are written and read; what is beyond them is left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServicesPayload {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    serves: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    waiting: BTreeMap<String, Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
}

impl ServicesPayload {
    /// The payload in at most `bytes_max` bytes. Long keys leave less room: first what waits is cut from
    /// the end of its order, then what is served.
    pub(crate) fn fitting(fact: &ServicesFact, bytes_max: usize) -> Self {
        let word = |key: &ServiceKey| key.as_str().to_owned();
        let waiting = fact.waiting.iter().take(SERVICES_MAX);
        let mut payload = Self {
            serves: fact.serves.iter().take(SERVICES_MAX).map(word).collect(),
            waiting: waiting
                .map(|(key, count)| (word(key), Figure((*count).into())))
                .collect(),
            store: fact.store.as_ref().map(|store| store.as_str().to_owned()),
        };
        while json(&payload).len() > bytes_max
            && (payload.waiting.pop_last().is_some() || payload.serves.pop().is_some())
        {}
        payload
    }

    pub(crate) fn into_fact(self) -> Result<ServicesFact, ValueError> {
        let serves = self.serves.iter().take(SERVICES_MAX);
        let serves: Result<BTreeSet<_>, _> = serves.map(|key| ServiceKey::new(key)).collect();
        let mut waiting = BTreeMap::new();
        for (key, count) in self.waiting.iter().take(SERVICES_MAX) {
            waiting.insert(ServiceKey::new(key)?, count.count("waiting")?);
        }
        Ok(ServicesFact {
            serves: serves?,
            waiting,
            store: self.store.as_deref().map(StoreName::new).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::fact::{Fact, FactKey};

    use super::*;
    use crate::value::{PAYLOAD_BYTES_MAX, decode, encode};

    fn key(text: &str) -> ServiceKey {
        ServiceKey::new(text).expect("a key")
    }

    fn fact(count: usize, length: usize) -> ServicesFact {
        let keys = (0..count).map(|number| key(&format!("{number:0>length$}")));
        ServicesFact {
            serves: keys.clone().collect(),
            waiting: keys.map(|key| (key, 7)).collect(),
            store: None,
        }
    }

    fn back(fact: &ServicesFact) -> ServicesFact {
        let payload = encode(&Fact::Services(fact.clone()), PAYLOAD_BYTES_MAX).expect("fits");
        match decode(&FactKey::Services, &payload.json) {
            Ok(Fact::Services(fact)) => fact,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn services_have_these_bytes_and_come_back() {
        let fact = ServicesFact {
            serves: BTreeSet::from([key("async-task:process"), key("workflow:process")]),
            waiting: BTreeMap::from([(key("my-plugin:process"), 12)]),
            store: None,
        };
        let payload = encode(&Fact::Services(fact.clone()), PAYLOAD_BYTES_MAX).expect("fits");
        let written = concat!(
            r#"{"serves":["async-task:process","workflow:process"],"#,
            r#""waiting":{"my-plugin:process":12}}"#
        );
        assert_eq!(payload.json, written);
        assert_eq!(back(&fact), fact);
        let shared = ServicesFact {
            store: Some(StoreName::new("postgres-0a1b2c3d").expect("a name")),
            ..fact
        };
        let payload = encode(&Fact::Services(shared.clone()), PAYLOAD_BYTES_MAX).expect("fits");
        let ends = r#""my-plugin:process":12},"store":"postgres-0a1b2c3d"}"#;
        assert!(payload.json.ends_with(ends), "{}", payload.json);
        assert_eq!(back(&shared), shared);
        assert_eq!(back(&ServicesFact::default()), ServicesFact::default());
    }

    #[test]
    fn what_is_served_is_cut_last() {
        let many = back(&fact(40, 8));
        assert_eq!(
            (many.serves.len(), many.waiting.len()),
            (SERVICES_MAX, SERVICES_MAX)
        );
        let long = back(&fact(SERVICES_MAX, 50));
        assert!(long.waiting.is_empty() || long.serves.len() == SERVICES_MAX);
        assert!(long.serves.len() > 10);
    }

    #[test]
    fn bad_keys_and_counts_are_refused() {
        for json in [
            r#"{"serves":["a b"]}"#,
            r#"{"waiting":{"":1}}"#,
            r#"{"waiting":{"a":-1}}"#,
            r#"{"serves":"a"}"#,
            r#"{"store":"a b"}"#,
        ] {
            assert!(decode(&FactKey::Services, json).is_err(), "{json}");
        }
    }
}
