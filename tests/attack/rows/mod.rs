//! The attacks, each bounded in count and time.

mod bodies;
mod requests;
mod sockets;

pub(crate) mod peers;

use std::pin::Pin;

use crate::world::World;

/// What an attack did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Requests, messages or connections.
    pub(crate) sent: usize,
    /// Those of them that were answered with an error or closed.
    pub(crate) refused: usize,
}

type Attack = for<'w> fn(&'w World) -> Pin<Box<dyn Future<Output = Tally> + 'w>>;

/// An attack by name.
pub(crate) struct Row {
    /// What is put in.
    pub(crate) name: &'static str,
    /// Puts it in, and waits for what becomes of it.
    pub(crate) attack: Attack,
}

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row("template: huge widths in a workflow", |world| {
        Box::pin(requests::huge_templates(world))
    }),
    row("template: growth by concatenation and loops", |world| {
        Box::pin(requests::growing_templates(world))
    }),
    row("tasks: 3,000 of made-up services", |world| {
        Box::pin(requests::made_up_services(world))
    }),
    row("tasks: raw payload of a batch", |world| {
        Box::pin(requests::raw_batches(world))
    }),
    row("paths: management of the provider", |world| {
        Box::pin(requests::management_paths(world))
    }),
    row("paths: 60 kB long", |world| {
        Box::pin(requests::long_paths(world))
    }),
    row("readers: two models in one form", |world| {
        Box::pin(requests::two_models(world))
    }),
    row("keys: 2,000 guesses", |world| {
        Box::pin(requests::guesses(world))
    }),
    row("bodies: 40 of 33 MB, unfinished", |world| {
        Box::pin(bodies::unfinished(world))
    }),
    row("bodies: 3 rejected uploads of 30 MB", |world| {
        Box::pin(bodies::rejected_uploads(world))
    }),
    row("bodies: 200 that trickle", |world| {
        Box::pin(bodies::trickling(world))
    }),
    row("sockets: PRI and silence on 500", |world| {
        Box::pin(sockets::preface_and_silence(world))
    }),
    row("sockets: one byte on 2,000", |world| {
        Box::pin(sockets::one_byte(world))
    }),
    row("sockets: half heads on 1,132 of the admin port", |world| {
        Box::pin(sockets::half_heads_at_admin(world))
    }),
    row("peer: 8 heads that announce 32 MiB", |world| {
        Box::pin(peers::announced_bodies(world))
    }),
    row("peer: junk for gossip, rumors and calls", |world| {
        Box::pin(peers::junk(world))
    }),
    row("peer: 500 streams left open", |world| {
        Box::pin(peers::open_streams(world))
    }),
];

const fn row(name: &'static str, attack: Attack) -> Row {
    Row { name, attack }
}
