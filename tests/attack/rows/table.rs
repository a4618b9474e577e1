//! All attacks, and how each must be refused.

use super::{Row, admin, bodies, forms, gossip, peers};
use super::{requests, sockets, tasks, templates, upstreams};

/// `row!(name, attack, [how what is refused ends], [how else it may end])`.
macro_rules! row {
    ($name:literal, $attack:path, $refusals:expr, $passes:expr) => {
        Row {
            name: $name,
            refusals: &$refusals,
            passes: &$passes,
            attack: |world| Box::pin(async move { $attack(&world).await }),
        }
    };
}

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row!(
        "template: huge widths in a workflow",
        templates::huge,
        ["400 invalid_workflow"],
        []
    ),
    row!(
        "template: growth by concatenation and loops",
        templates::growing,
        ["400 invalid_workflow", "run failed"],
        []
    ),
    row!(
        "webhook: to 25 inner addresses",
        admin::inner_webhooks,
        ["400 invalid_request"],
        []
    ),
    row!(
        "tasks: 3,000 of made-up services",
        tasks::made_up_services,
        ["400 unknown_service"],
        []
    ),
    row!(
        "tasks: raw payload of a batch",
        tasks::raw_batches,
        ["400 invalid_request"],
        []
    ),
    row!(
        "tasks: flood of one key, and one task of another",
        tasks::flood,
        ["429 waiting_tasks_quota"],
        ["202"]
    ),
    row!(
        "tasks: 300 polls of an idle worker",
        tasks::idle_polls,
        ["429 polls_full"],
        ["held"]
    ),
    row!(
        "paths: management of the provider",
        requests::management_paths,
        [
            "404 unknown_path",
            "400 invalid_request",
            "405 method_not_allowed"
        ],
        []
    ),
    row!(
        "paths: 60 kB long",
        requests::long_paths,
        ["400 invalid_request"],
        ["200"]
    ),
    row!(
        "readers: objects with two models",
        forms::objects,
        ["400 invalid_request"],
        []
    ),
    row!(
        "readers: forms with two models",
        forms::forms,
        ["400 invalid_request"],
        []
    ),
    row!(
        "keys: 2,000 guesses of a client's key",
        admin::guessed_keys,
        ["401 invalid_api_key"],
        []
    ),
    row!(
        "keys: 2,000 guesses of the operator's token",
        admin::guessed_tokens,
        ["401", "429"],
        []
    ),
    row!(
        "bodies: 40 of 32 MiB, unfinished",
        bodies::unfinished,
        ["408", "429"],
        []
    ),
    row!("bodies: 40 of a byte more", bodies::too_long, ["413"], []),
    row!(
        "bodies: 3 rejected uploads of 30 MB",
        bodies::rejected_uploads,
        ["400 invalid_request"],
        []
    ),
    row!("bodies: 198 that trickle", bodies::trickling, ["408"], []),
    row!(
        "sockets: one byte on 2,000",
        sockets::one_byte,
        ["closed"],
        []
    ),
    row!(
        "sockets: unfinished HTTP/1 and HTTP/2 on 700",
        sockets::unfinished_http,
        ["closed"],
        []
    ),
    row!(
        "sockets: unfinished TLS on 400",
        sockets::unfinished_tls,
        ["closed"],
        []
    ),
    row!(
        "sockets: unfinished PROXY headers on 800",
        sockets::unfinished_proxy_headers,
        ["closed"],
        []
    ),
    row!(
        "sockets: half heads on 1,132 of the admin port",
        sockets::half_heads_at_admin,
        ["closed"],
        []
    ),
    row!(
        "upstream: odd answers",
        upstreams::odd_answers,
        ["502 upstream_error"],
        []
    ),
    row!(
        "peer: forwarded paths that no client may ask for",
        peers::forbidden_paths,
        ["refused_protocol", "refused_hop_limit"],
        []
    ),
    row!(
        "peer: 8 heads that announce 32 MiB",
        peers::announced_bodies,
        ["refused_protocol"],
        []
    ),
    row!(
        "peer: junk for gossip, rumors and calls",
        peers::junk,
        ["lost gossip_message", "refused_protocol"],
        ["reset"]
    ),
    row!(
        "peer: 250 calls and messages left open",
        peers::open_streams,
        ["refused_protocol"],
        ["no more streams"]
    ),
    row!(
        "peer: rules that permit no region",
        peers::closing_rules,
        ["451 residency"],
        []
    ),
    row!(
        "gossip: compressed blocks of a gigabyte",
        gossip::swelling,
        ["lost gossip_message"],
        ["lost gossip_quarantined"]
    ),
    row!(
        "gossip: versions that its library asserts on",
        gossip::deadly,
        ["lost gossip_message"],
        ["lost gossip_quarantined"]
    ),
    row!(
        "gossip: 13,200 claimed members",
        gossip::claimed_members,
        ["not a member"],
        []
    ),
];
