//! What nodes do together: joining, routing by place and latency, draining, and peers that misbehave.

mod accounts;
mod agents;
mod bad_peer;
mod conversations;
mod draining;
mod engines;
mod flood;
mod geography;
mod harness;
mod hedging;
mod held_answers;
mod issued_keys;
mod layouts;
mod limits;
mod model_limits;
mod overload;
mod overruns;
mod regions;
mod routing;
mod steering;
