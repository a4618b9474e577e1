//! Counts of listeners' connections, and of unauthorized requests.

use grapevine_core::connection::CloseReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::families::Families;

/// The error codes of a request without a key, and of one with an unknown key.
const MISSING_KEY: &str = "missing_api_key";
const WRONG_KEY: [&str; 11] = [
    "invalid_api_key",
    "key_malformed",
    "key_signature_wrong",
    "key_issuer_unknown",
    "key_for_another_mesh",
    "key_for_another_audience",
    "key_without_a_name",
    "key_not_yet_valid",
    "key_expired",
    "key_revoked",
    "key_not_understood",
];

/// Where connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The API.
    Public,
    /// The operator's port.
    Admin,
    /// DNS over TCP.
    Dns,
}

impl Listener {
    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
            Self::Dns => "dns",
        }
    }
}

/// What is counted of connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    closed: Family<ClosedLabels, Counter>,
    open: Family<ListenerLabels, Gauge>,
    max: Family<ListenerLabels, Gauge>,
    unauthorized: Family<ClosedLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClosedLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

/// Why a request was not authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthorized {
    /// No key or token was shown.
    Missing,
    /// A wrong one was shown.
    Wrong,
    /// Its address showed too many wrong ones.
    Blocked,
}

impl Unauthorized {
    const ALL: [Self; 3] = [Self::Missing, Self::Wrong, Self::Blocked];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Blocked => "blocked",
        }
    }
}

impl ConnectionMetrics {
    /// What a listener with room for `max` connections counts, from zero on.
    pub fn of(&self, listener: Listener, max: usize) -> ListenerMetrics {
        let labels = ListenerLabels {
            listener: listener.as_str(),
        };
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        self.max.get_or_create(&labels).set(limit);
        let metrics = ListenerMetrics {
            listener,
            open: self.open.get_or_create(&labels).clone(),
            all: self.clone(),
        };
        for reason in CloseReason::ALL {
            drop(metrics.counter(reason));
        }
        if matches!(listener, Listener::Public | Listener::Admin) {
            for reason in Unauthorized::ALL {
                let labels = unauthorized(listener, reason);
                drop(self.unauthorized.get_or_create(&labels));
            }
        }
        metrics
    }

    /// Counts a finished request of the API by the code of its error, if it was not authorized.
    pub fn request_ended(&self, error: Option<&str>) {
        match error {
            Some(MISSING_KEY) => self.unauthorized(Listener::Public, Unauthorized::Missing),
            Some(code) if WRONG_KEY.contains(&code) => {
                self.unauthorized(Listener::Public, Unauthorized::Wrong)
            }
            Some(_) | None => {}
        }
    }

    /// Counts a request that was not authorized.
    pub fn unauthorized(&self, listener: Listener, reason: Unauthorized) {
        let labels = unauthorized(listener, reason);
        self.unauthorized.get_or_create(&labels).inc();
    }

    /// Registers all of them.
    pub fn register(&self, families: &mut Families) {
        families.register(
            "connections_closed",
            "Connections that this node closed or refused, by listener and reason",
            self.closed.clone(),
        );
        families.register(
            "connections",
            "Connections that are open, by listener",
            self.open.clone(),
        );
        families.register(
            "connections_max",
            "Connections that a listener has room for: its limit, or less where file descriptors are few",
            self.max.clone(),
        );
        families.register(
            "unauthorized",
            "Requests without a key or token, with a wrong one, or from an address that showed too many, by listener",
            self.unauthorized.clone(),
        );
    }
}

const fn unauthorized(listener: Listener, reason: Unauthorized) -> ClosedLabels {
    ClosedLabels {
        listener: listener.as_str(),
        reason: reason.as_str(),
    }
}

/// What one listener counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    listener: Listener,
    open: Gauge,
    all: ConnectionMetrics,
}

impl ListenerMetrics {
    /// Which it is.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// Counts a connection that this side closed.
    pub fn closed(&self, reason: CloseReason) {
        self.counter(reason).inc();
    }

    /// Connections closed so far for `reason`.
    pub fn closed_so_far(&self, reason: CloseReason) -> u64 {
        self.counter(reason).get()
    }

    /// Sets how many are open.
    pub fn set_open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn counter(&self, reason: CloseReason) -> Counter {
        let labels = ClosedLabels {
            listener: self.listener.as_str(),
            reason: reason.as_str(),
        };
        self.all.closed.get_or_create(&labels).clone()
    }
}
