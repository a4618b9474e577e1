//! What is simulated: the product's routing, or a baseline to compare it with.

/// How requests find their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// As the product does.
    Grapevine,
    /// Own upstreams, then the others by name, whatever their state.
    PriorityList,
    /// Each in turn.
    RoundRobin,
    /// The least time to first byte as this node alone measured it.
    LeastLatencyAlone,
    /// The one with the fewest requests of this node in flight.
    LeastInFlightAlone,
    /// What is truly best at this moment, with full knowledge.
    Oracle,
}
