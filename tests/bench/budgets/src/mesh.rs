//! A mesh in which many upstreams serve one model: the first one's own, the others behind ever longer round trips.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fact::{Phase, Standing};
use grapevine_core::ids::{ModelName, NodeName, RegionName, UpstreamName};
use grapevine_core::latency::{ByClass, FirstByte, Tries};
use grapevine_core::limit::InFlight;
use grapevine_core::units::{Share, Tier, Weight};
use grapevine_core::view::{Candidate, Reach, Routes, TierRoutes, UpstreamView, View, Way};

const FIRST_BYTE: Duration = Duration::from_millis(300);

/// The model that all serve.
pub(crate) fn model() -> anyhow::Result<ModelName> {
    Ok(ModelName::new("gpt-4o")?)
}

/// What the first node sees.
pub(crate) fn view(model: &ModelName, candidates: usize) -> anyhow::Result<View> {
    let usable: Vec<_> = (0..candidates).map(candidate).collect::<Result<_, _>>()?;
    let tier = TierRoutes {
        usable,
        suspect: Vec::new(),
        unusable: Vec::new(),
        dialects: grapevine_core::dialect::DialectSet::ALL,
    };
    let routes = Routes { tiers: vec![tier] };
    Ok(View {
        made_at: Instant::START,
        node: NodeName::new("node-0")?,
        region: RegionName::new("region-0")?,
        place: None,
        phase: Phase::Ready,
        models: BTreeMap::from([(model.clone(), routes)]),
        any_model: Routes::default(),
        no_model: Routes::default(),
        own: BTreeMap::new(),
        nodes: Vec::new(),
        mesh_rules: Arc::default(),
    })
}

fn candidate(number: usize) -> anyhow::Result<Arc<Candidate>> {
    let millis = u64::try_from(number)?;
    let first_byte = FirstByte {
        expected: FIRST_BYTE,
        low: FIRST_BYTE,
    };
    let upstream = UpstreamView {
        way: if number == 0 { Way::Local } else { Way::Peer },
        node: NodeName::new(&format!("node-{number}"))?,
        name: UpstreamName::new("primary")?,
        region: RegionName::new(&format!("region-{number}"))?,
        place: None,
        tier: Tier(1),
        weight: Weight::default(),
        dialects: grapevine_core::dialect::DialectSet::ALL,
        websocket: false,
        attempts_max: 1,
        standing: Standing::Ready,
        reported_at: Instant::START,
        figures_at: Instant::START,
        break_rate: Share::ZERO,
        rtt: Duration::from_millis(millis),
        reach: Reach::Open,
        others_in_flight: 0,
        in_flight_max: 100,
        reported: None,
        admission_max: 100,
        in_flight: InFlight::default(),
        cache: grapevine_core::cache_meter::CacheMeter::default(),
        hot_until: None,
        returned_at: None,
        trial: false,
        account: None,
    };
    Ok(Arc::new(Candidate {
        upstream: Arc::new(upstream),
        ttft: first_byte.expected,
        ttft_low: first_byte.low,
        whole: first_byte,
        per_kib: Duration::ZERO,
        model_standing: None,
        refused_until: None,
        measured: true,
        whole_measured: true,
        tries: ByClass::<Tries>::default(),
        incumbent: false,
        account_rests_until: None,
    }))
}
