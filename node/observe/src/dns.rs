//! Counts of the DNS server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use grapevine_base::families::Families;

/// Questions answered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DnsQueries(Family<DnsLabels, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DnsLabels {
    r#type: &'static str,
    code: &'static str,
}

impl DnsQueries {
    /// Counts one answer with `code` to a question of type `kind`; both of closed sets.
    pub fn count(&self, kind: &'static str, code: &'static str) {
        let labels = DnsLabels { r#type: kind, code };
        self.0.get_or_create(&labels).inc();
    }

    pub(super) fn register(&self, families: &mut Families) {
        families.register(
            "dns_queries",
            "DNS questions answered, by the type asked for and the answer's code",
            self.0.clone(),
        );
    }
}
