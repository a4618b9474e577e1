//! What a cell says of itself to others, how readers merge it, and what a cell sees of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::CellOffer;
use crate::fact::FactChange;
use crate::geo_point::{GeoPoint, RTT_UNKNOWN};
use crate::ids::{CellName, NodeName, Stamp, UpstreamName};

/// Offers in a summary: some 90 bytes each, so that it fits a gossiped value of 1 KiB with what was withdrawn.
pub const OFFERS_MAX: usize = 5;

/// Withdrawn upstreams in a summary.
pub const WITHDRAWN_MAX: usize = 5;

/// Offers in an outlook for one model: what fits a value.
pub const OUTLOOK_MAX: usize = 10;

/// Those of one cell in it, so that the loss of a cell leaves others.
pub const OFFERS_PER_CELL: usize = 2;

/// One that was listed stays unless another is better by more than this share.
const STAYS_SHARE: f64 = 0.1;

/// Figures that changed by less than this share are not worth a message.
const LITTLE: f64 = 0.1;

/// What a delegate publishes of its cell for one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellSummary {
    /// The best upstreams, the best first.
    pub offers: Vec<CellOffer>,
    /// Those that were listed and may not be used any more, with the stamps that say so, the newest first: other
    /// delegates may still list them.
    pub withdrawn: Vec<(NodeName, UpstreamName, Stamp)>,
    /// How many further ones there are.
    pub others: u32,
}

/// The summary of a cell's `upstreams` for one model, each with whether new work may go there, after `before`.
pub fn summarise(
    before: &CellSummary,
    upstreams: impl IntoIterator<Item = (CellOffer, bool)>,
) -> CellSummary {
    let was_listed = |offer: &CellOffer| before.offers.iter().any(|it| it.key() == offer.key());
    let was_withdrawn = |offer: &CellOffer| {
        let mut withdrawn = before.withdrawn.iter();
        withdrawn.any(|(node, upstream, _)| (node, upstream) == offer.key())
    };
    let (mut offers, mut withdrawn) = (Vec::new(), Vec::new());
    for (offer, is_usable) in upstreams {
        if is_usable {
            let favour = if was_listed(&offer) {
                1.0 - STAYS_SHARE
            } else {
                1.0
            };
            offers.push((offer.expected().mul_f64(favour), offer));
        } else if was_listed(&offer) || was_withdrawn(&offer) {
            withdrawn.push((offer.node, offer.upstream, offer.stamp));
        }
    }
    offers.sort_by(|(left, one), (right, other)| (left, one.key()).cmp(&(right, other.key())));
    let others = offers.len().saturating_sub(OFFERS_MAX);
    offers.truncate(OFFERS_MAX);
    withdrawn.sort_by(|left, right| right.2.cmp(&left.2).then_with(|| left.cmp(right)));
    withdrawn.truncate(WITHDRAWN_MAX);
    CellSummary {
        offers: offers.into_iter().map(|(_, offer)| offer).collect(),
        withdrawn,
        others: u32::try_from(others).unwrap_or(u32::MAX),
    }
}

/// What `new` tells beyond `old`: a transition where an upstream was withdrawn, or the first one came.
pub fn change(old: &CellSummary, new: &CellSummary) -> FactChange {
    let is_new = |it: &&(NodeName, UpstreamName, Stamp)| {
        let mut known = old.withdrawn.iter();
        !known.any(|known| (&known.0, &known.1) == (&it.0, &it.1))
    };
    let appears = old.offers.is_empty() != new.offers.is_empty();
    if appears || new.withdrawn.iter().any(|it| is_new(&it)) {
        return FactChange::Transition;
    }
    let is_known = |new: &CellOffer| {
        let old = old.offers.iter().find(|old| old.key() == new.key());
        old.is_some_and(|old| {
            let differs = old.ttft.abs_diff(new.ttft) > old.ttft.mul_f64(LITTLE);
            !differs && (old.load.get() - new.load.get()).abs() <= LITTLE
        })
    };
    let same = old.offers.len() == new.offers.len()
        && new.offers.iter().all(is_known)
        && old.withdrawn.len() == new.withdrawn.len();
    match same {
        true => FactChange::Little,
        false => FactChange::Figures,
    }
}

/// What several delegates of one cell say of one model, as one: of each upstream what its owner published last. The order does
/// not matter, nor how often a summary is merged, nor in which groups.
///
/// Bound: [`OFFERS_MAX`] and [`WITHDRAWN_MAX`] for each summary.
pub fn merge<'a>(summaries: impl IntoIterator<Item = &'a CellSummary>) -> CellSummary {
    let mut offers: BTreeMap<(&NodeName, &UpstreamName), &CellOffer> = BTreeMap::new();
    let mut withdrawn: BTreeMap<(&NodeName, &UpstreamName), Stamp> = BTreeMap::new();
    let mut others = 0;
    for summary in summaries {
        others = others.max(summary.others);
        for offer in &summary.offers {
            let known = offers.entry(offer.key()).or_insert(offer);
            if offer.stamp > known.stamp {
                *known = offer;
            }
        }
        for (node, upstream, stamp) in &summary.withdrawn {
            let known = withdrawn.entry((node, upstream)).or_insert(*stamp);
            *known = (*known).max(*stamp);
        }
    }
    offers.retain(|key, offer| withdrawn.get(key).is_none_or(|stamp| *stamp < offer.stamp));
    withdrawn.retain(|key, _| !offers.contains_key(key));
    let mut offers: Vec<CellOffer> = offers.into_values().cloned().collect();
    offers.sort_by(|one, other| (one.expected(), one.key()).cmp(&(other.expected(), other.key())));
    let withdrawn = withdrawn.into_iter();
    CellSummary {
        offers,
        withdrawn: withdrawn
            .map(|((node, upstream), stamp)| (node.clone(), upstream.clone(), stamp))
            .collect(),
        others,
    }
}

/// The best offers of other cells for one model, as seen from `place`, the cheapest first: at most [`OUTLOOK_MAX`], and
/// [`OFFERS_PER_CELL`] of each.
pub fn outlook<'a>(
    place: Option<GeoPoint>,
    summaries: impl IntoIterator<Item = &'a CellSummary>,
) -> Vec<CellOffer> {
    let offers = summaries.into_iter().flat_map(|summary| &summary.offers);
    let cost = |offer: &CellOffer| -> Duration {
        let known = place.zip(offer.place);
        let rtt = known.map_or(RTT_UNKNOWN, |(here, there)| here.rtt_prior(there));
        rtt.saturating_add(offer.expected())
    };
    let mut offers: Vec<(Duration, &CellOffer)> =
        offers.map(|offer| (cost(offer), offer)).collect();
    offers.sort_by(|(left, one), (right, other)| (left, one.key()).cmp(&(right, other.key())));
    let mut of_cell: BTreeMap<&CellName, usize> = BTreeMap::new();
    let fitting = offers.into_iter().map(|(_, offer)| offer).filter(|offer| {
        let count = of_cell.entry(&offer.cell).or_default();
        *count += 1;
        *count <= OFFERS_PER_CELL
    });
    fitting.take(OUTLOOK_MAX).cloned().collect()
}
