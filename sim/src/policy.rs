//! What is simulated: the product's routing, or one that it is held against.

/// How requests find their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// As the product does.
    Grapevine,
    /// Own upstreams, then the others by name, whatever they are like.
    PriorityList,
    /// Each in turn.
    RoundRobin,
    /// The least first byte as this node alone saw it.
    LeastLatencyAlone,
    /// Whatever is truly best at this moment, known for certain.
    Oracle,
}
