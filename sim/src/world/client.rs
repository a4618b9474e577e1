//! Clients: where they are, when they send requests, to which node they connect.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::residency::ClientOrigin;

use super::request::ClientRequest;
use super::{REQUESTS_MAX, World, WorldEvent};
use crate::atlas::RegionIndex;
use crate::chance;
use crate::check::Seen;
use crate::endpoint::Prompt;
use crate::membership::NodeIndex;
use crate::scenario::Scenario;

/// Addresses that a client received from its name server, the nearest first. It tries each until one connects, as
/// HTTP clients do (RFC 8305).
const ADDRESSES: usize = 16;

/// Conversations, where requests have any.
const SESSIONS: usize = 100;

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    regions: Vec<Clientele>,
    next: u64,
}

/// The clients of one region.
#[derive(Debug)]
struct Clientele {
    region: RegionIndex,
    share: f64,
    /// Nodes that its clients connect to, the nearest first.
    entries: Vec<NodeIndex>,
    /// How many of the entries are equally near.
    nearest: usize,
}

impl Clients {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let clientele = |(region, share): &(RegionIndex, f64)| {
            let far = |node: &usize| scenario.atlas.round_trip(*region, scenario.nodes[*node]);
            let mut nodes: Vec<usize> = (0..scenario.nodes.len()).collect();
            nodes.sort_by_key(|node| (far(node), *node));
            let least = nodes.first().map(far).unwrap_or_default();
            let nearest = nodes.iter().take_while(|node| far(node) == least).count();
            nodes.truncate(ADDRESSES.max(nearest));
            Clientele {
                region: *region,
                share: *share,
                entries: nodes.iter().map(|node| NodeIndex(*node as u32)).collect(),
                nearest,
            }
        };
        Self {
            regions: scenario.workload.clients.iter().map(clientele).collect(),
            next: 0,
        }
    }
}

impl Clients {
    pub(super) fn region(&self, clientele: usize) -> RegionIndex {
        self.regions[clientele].region
    }
}

impl World {
    /// One client asks; the next is planned.
    pub(super) fn client_asks(&mut self) {
        let now = self.now;
        let elapsed = now.since_start();
        if elapsed + self.scenario.settle >= self.scenario.duration {
            return;
        }
        let rates: Vec<f64> = (self.clients.regions.iter())
            .map(|clients| self.share_of(clients, elapsed))
            .collect();
        let usual: f64 = self.clients.regions.iter().map(|it| it.share).sum();
        let total: f64 = rates.iter().sum();
        let per_second = self.scenario.workload.per_second * total / usual;
        let gap = chance::exponential(&mut self.chance.workload, 1.0 / per_second.max(0.001));
        // A burst that begins meanwhile is not missed.
        let gap = Duration::from_secs_f64(gap.min(1.0));
        self.plan(now + gap, WorldEvent::Asks);
        if gap == Duration::from_secs(1) || self.requests.len() >= REQUESTS_MAX {
            return;
        }
        let mut drawn = chance::unit(&mut self.chance.workload) * total;
        let mut chosen = 0;
        for (index, rate) in rates.iter().enumerate() {
            chosen = index;
            drawn -= rate;
            if drawn < 0.0 {
                break;
            }
        }
        self.ask(chosen);
    }

    /// A region's rate of requests now, relative to the others.
    fn share_of(&self, clients: &Clientele, elapsed: Duration) -> f64 {
        let workload = &self.scenario.workload;
        let mut share = clients.share;
        if let Some((day, swing)) = workload.daily {
            let place = self.scenario.atlas.region(clients.region).place;
            let turn = elapsed.as_secs_f64() / day.as_secs_f64() + place.longitude() / 360.0;
            share *= 1.0 + swing * (std::f64::consts::TAU * turn).cos();
        }
        for burst in &workload.bursts {
            let is_on = elapsed >= burst.at && elapsed < burst.at + burst.lasts;
            if is_on && burst.region.is_none_or(|region| region == clients.region) {
                share *= burst.factor;
            }
        }
        share
    }

    fn ask(&mut self, clientele: usize) {
        self.clients.next += 1;
        let id = self.clients.next;
        let clients = &self.clients.regions[clientele];
        let region = clients.region;
        let rng = &mut self.chance.workload;
        let first_entry = chance::below(rng, clients.nearest);
        let workload = &self.scenario.workload;
        let draw = chance::unit(rng);
        let body = match workload.long {
            Some((share, body)) if draw < share => body,
            _ => workload.body.mul_f64(0.5 + chance::unit(rng)),
        };
        let in_session = chance::unit(rng) < workload.sessions;
        let mut session = chance::below(rng, SESSIONS) as u64;
        if self
            .scenario
            .upstreams
            .iter()
            .any(|one| one.engine.is_some())
        {
            // A conversation is that of one client, who stays where they are.
            session += (clientele * SESSIONS) as u64;
        }
        let models = self.scenario.upstreams.iter().flat_map(|one| &one.models);
        let mut models: Vec<_> = models.cloned().collect();
        models.sort();
        models.dedup();
        let model = models[chance::below(rng, models.len())].clone();
        let mut request = ClientRequest::new(id, self.now, model);
        request.origin = ClientOrigin::Country(self.scenario.atlas.region(region).country);
        request.clientele = clientele;
        request.first_entry = first_entry;
        request.asks = self.asks(id, region, body);
        request.session = in_session.then(|| chance::mix(session));
        let tokens = self.request_tokens();
        request.asks.prompt = request.session.map(|session| Prompt { session, tokens });
        self.requests.insert(id, request);
        let deadline = self.now + self.scenario.routing.deadline;
        self.checks.see(
            self.now,
            &Seen::Asked {
                request: id,
                deadline,
            },
        );
        self.connect(id);
    }

    /// One of the clients that arrive at once asks; the next is planned.
    pub(super) fn client_arrives(&mut self, arrival: usize, before: u32) {
        let Some(arrival_of) = self.scenario.workload.arrivals.get(arrival).copied() else {
            return;
        };
        let before = before + 1;
        if before < arrival_of.clients {
            let gap = arrival_of.within / arrival_of.clients;
            self.plan(self.now + gap, WorldEvent::Arrives { arrival, before });
        }
        self.ask(arrival_of.clientele);
    }

    /// The client connects to its next entry.
    pub(super) fn connect(&mut self, id: u64) {
        self.connect_at(self.now, id);
    }

    fn connect_at(&mut self, at: Instant, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let clients = &self.clients.regions[request.clientele];
        // One of the equally near first, then all others by distance.
        let count = clients.entries.len();
        if request.tries as usize >= count {
            self.client_gives_up(id);
            return;
        }
        let tries = request.tries as usize;
        let index = match tries < clients.nearest {
            true => (request.first_entry + tries) % clients.nearest,
            false => tries,
        };
        request.tries += 1;
        let entry = clients.entries[index];
        let way = self
            .scenario
            .atlas
            .one_way(clients.region, self.nodes[entry.at()].region);
        self.plan(at + way, WorldEvent::Enters { request: id, entry });
    }

    /// No process listens at that entry, or none any more: the client learns it after the way back, and connects
    /// elsewhere.
    pub(super) fn connection_refused(&mut self, id: u64, entry: NodeIndex) {
        self.record.connections_refused += 1;
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.first_attempt_at.get_or_insert(self.now);
        let client = self.clients.regions[request.clientele].region;
        let region = self.nodes[entry.at()].region;
        let back = self.scenario.atlas.one_way(region, client);
        self.connect_at(self.now + back, id);
    }
}
