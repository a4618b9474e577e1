//! Which nodes a client should come to: those that serve requests and are ready, the nearest first.
//!
//! A route goes from a node to an upstream; steering comes before it and goes from a client to its entry
//! node. So it knows no models and no load, which change faster than a client asks again: the regions of
//! the operator's map come first, then the distance from the client, in the same steps as in the `geo`
//! strategy. The round trip from this node decides between equals, and alone where the client has no
//! place. What residency does not permit is left out: an entry node reads the request.
//!
//! Bound: one pass over the view's nodes that keeps the best [`NODES_MAX`].

use std::time::Duration;

use crate::fact::{NodeFact, Phase, Public};
use crate::geo_point::{GeoPoint, RTT_UNKNOWN};
use crate::ids::RegionName;
use crate::route::geo::distance_steps;
use crate::route::near::keep_least;
use crate::view::{NodeView, View};

/// Nodes in one answer at most.
pub const NODES_MAX: usize = 16;

/// Who is to be steered.
#[derive(Clone, Copy, Debug)]
pub struct SteeredClient<'a> {
    /// Where it is thought to be; `None` when its address cannot be placed.
    pub place: Option<GeoPoint>,
    /// The regions that the operator's map gives to it, in order of preference.
    pub homes: &'a [RegionName],
    /// The only regions that may serve it; `None` permits all, and an empty list none.
    pub regions: Option<&'a [RegionName]>,
}

/// The nodes for a client.
#[derive(Clone, Debug, Default)]
pub struct Steering<'a> {
    /// The nearest first, at most as many as were asked for.
    pub nodes: Vec<Near<'a>>,
    /// Ready nodes outside the client's regions.
    pub barred: usize,
    /// Ready nodes within them that publish no way for clients to reach them.
    pub unpublished: usize,
}

/// One node for a client.
#[derive(Clone, Copy, Debug)]
pub struct Near<'a> {
    /// Which.
    pub node: &'a NodeView,
    /// Its published fact.
    pub fact: &'a NodeFact,
    /// Great-circle kilometres from the client, where both places are known.
    pub distance_km: Option<f64>,
    /// Why it stands where it does.
    pub reason: SteerReason,
}

/// What put a node where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteerReason {
    /// A map gives its region to the client.
    Mapped,
    /// Its distance from the client.
    Distance,
    /// The round trip to it from this node: one of the two places is not known.
    RoundTrip,
}

/// How near a node is, the nearest the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Nearness {
    /// The position of its region in the client's map; after its end where it is in none.
    home: usize,
    /// Steps of distance; equal for all where the client has no place.
    far: u64,
    /// From this node, measured or guessed.
    rtt: Duration,
}

/// The nearest `max` ready nodes for `client`, at most [`NODES_MAX`], for which `is_published` holds: clients can
/// reach them. Where all is equal, this node is first and then the order of names.
pub fn nearest<'a>(
    view: &'a View,
    client: SteeredClient<'_>,
    max: usize,
    is_published: impl Fn(&Public) -> bool,
) -> Steering<'a> {
    let mut steering = Steering::default();
    let mut best = Vec::new();
    for node in &view.nodes {
        let Some(fact) = ready(node) else { continue };
        let is_barred = |regions: &[RegionName]| !regions.contains(&fact.region);
        if client.regions.is_some_and(is_barred) {
            steering.barred += 1;
        } else if !is_published(&fact.public) {
            steering.unpublished += 1;
        } else {
            let nearness = nearness(view, node, fact, client);
            keep_least(&mut best, max.min(NODES_MAX), nearness, (node, fact));
        }
    }
    let nodes = best.into_iter().map(|(nearness, (node, fact))| Near {
        node,
        fact,
        distance_km: distance_km(client, fact),
        reason: reason(client, fact, nearness),
    });
    steering.nodes = nodes.collect();
    steering
}

impl Steering<'_> {
    /// Whether any node is ready, wherever it is.
    pub fn is_any_ready(&self) -> bool {
        !self.nodes.is_empty() || self.barred + self.unpublished > 0
    }
}

impl SteerReason {
    /// One word for the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Distance => "distance",
            Self::RoundTrip => "round-trip",
        }
    }
}

/// The fact of `node`, when clients can be sent to it now.
fn ready(node: &NodeView) -> Option<&NodeFact> {
    let fact = node.fact.as_ref()?;
    let is_ready = node.live && node.phase == Phase::Ready && fact.serves_requests;
    is_ready.then_some(fact)
}

fn nearness(view: &View, node: &NodeView, fact: &NodeFact, client: SteeredClient<'_>) -> Nearness {
    let home = client.homes.iter().position(|home| *home == fact.region);
    let guess = view.place.zip(fact.place);
    let guess = guess.map(|(here, there)| here.rtt_prior(there));
    Nearness {
        home: home.unwrap_or(client.homes.len()),
        far: client
            .place
            .map_or(0, |place| distance_steps(place, fact.place)),
        rtt: node.rtt.or(guess).unwrap_or(RTT_UNKNOWN),
    }
}

fn distance_km(client: SteeredClient<'_>, fact: &NodeFact) -> Option<f64> {
    let places = client.place.zip(fact.place);
    places.map(|(client, node)| client.distance_km(node))
}

fn reason(client: SteeredClient<'_>, fact: &NodeFact, nearness: Nearness) -> SteerReason {
    match client.place.zip(fact.place) {
        _ if nearness.home < client.homes.len() => SteerReason::Mapped,
        Some(_) => SteerReason::Distance,
        None => SteerReason::RoundTrip,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Instant;
    use crate::ids::{Generation, NodeName};
    use crate::view::{Reach, Routes};

    const SINGAPORE: (f64, f64) = (1.35, 103.82);
    const VIRGINIA: (f64, f64) = (38.9, -77.4);
    const FRANKFURT: (f64, f64) = (50.1, 8.7);

    fn place((latitude, longitude): (f64, f64)) -> Option<GeoPoint> {
        GeoPoint::new(latitude, longitude)
    }

    fn region(name: &str) -> RegionName {
        RegionName::new(name).expect("a valid name")
    }

    /// A ready node `name` in the region of its first three letters.
    fn node(name: &str, at: Option<(f64, f64)>, rtt_ms: u64) -> NodeView {
        let public = Public {
            url: Some(format!("https://{name}.example").into()),
            ..Public::default()
        };
        NodeView {
            name: NodeName::new(name).expect("a valid name"),
            fact: Some(NodeFact {
                region: region(&name[..3]),
                place: at.and_then(place),
                protocol: 1,
                build: String::new(),
                serves_requests: true,
                public,
            }),
            generation: Generation(1),
            phase: Phase::Ready,
            live: true,
            reach: Reach::Open,
            rtt: Some(Duration::from_millis(rtt_ms)),
            upstreams: Vec::new(),
            services: None,
            rules_differ_since: None,
        }
    }

    /// As the node in Frankfurt sees it.
    fn three() -> Vec<NodeView> {
        vec![
            node("eur-1", Some(FRANKFURT), 0),
            node("sgp-1", Some(SINGAPORE), 160),
            node("usa-1", Some(VIRGINIA), 90),
        ]
    }

    fn view(nodes: Vec<NodeView>) -> View {
        View {
            made_at: Instant::from_start(Duration::ZERO),
            node: nodes[0].name.clone(),
            region: region("eur"),
            place: place(FRANKFURT),
            phase: Phase::Ready,
            settled: true,
            models: BTreeMap::new(),
            any_model: Routes::default(),
            no_model: Routes::default(),
            own: BTreeMap::new(),
            mesh_rules: std::sync::Arc::default(),
            nodes,
        }
    }

    fn client(at: Option<(f64, f64)>) -> SteeredClient<'static> {
        SteeredClient {
            place: at.and_then(place),
            homes: &[],
            regions: None,
        }
    }

    fn names(steering: &Steering<'_>) -> Vec<String> {
        let nodes = steering.nodes.iter();
        nodes.map(|near| near.node.name.to_string()).collect()
    }

    fn steer(nodes: &[NodeView], client: SteeredClient<'_>) -> Vec<String> {
        names(&nearest(
            &view(nodes.to_vec()),
            client,
            NODES_MAX,
            Public::is_published,
        ))
    }

    #[test]
    fn nearest_node_to_the_client_is_first_wherever_the_asked_node_is() {
        let kuala_lumpur = client(Some((3.1, 101.7)));
        assert_eq!(steer(&three(), kuala_lumpur), ["sgp-1", "eur-1", "usa-1"]);
        let toronto = client(Some((43.7, -79.4)));
        assert_eq!(steer(&three(), toronto), ["usa-1", "eur-1", "sgp-1"]);
    }

    #[test]
    fn mapped_regions_come_before_nearer_ones() {
        let homes = [region("usa"), region("eur")];
        let singapore = SteeredClient {
            homes: &homes,
            ..client(Some(SINGAPORE))
        };
        assert_eq!(steer(&three(), singapore), ["usa-1", "eur-1", "sgp-1"]);
        let view = view(three());
        let steering = nearest(&view, singapore, NODES_MAX, Public::is_published);
        let reasons: Vec<_> = steering.nodes.iter().map(|near| near.reason).collect();
        assert_eq!(
            reasons,
            [
                SteerReason::Mapped,
                SteerReason::Mapped,
                SteerReason::Distance
            ]
        );
    }

    #[test]
    fn round_trip_decides_for_a_client_without_a_place() {
        assert_eq!(steer(&three(), client(None)), ["eur-1", "usa-1", "sgp-1"]);
        let view = view(three());
        let steering = nearest(&view, client(None), 1, Public::is_published);
        let near = &steering.nodes[0];
        assert_eq!(
            (near.distance_km, near.reason),
            (None, SteerReason::RoundTrip)
        );
    }

    #[test]
    fn round_trip_decides_between_nodes_of_one_city() {
        let mut nodes = three();
        nodes.push(node("sgp-2", Some((1.30, 103.90)), 150));
        let steered = steer(&nodes, client(Some((1.301, 103.901))));
        assert_eq!(steered[..2], ["sgp-2", "sgp-1"]);
    }

    #[test]
    fn node_without_a_place_is_last() {
        let mut nodes = three();
        nodes.push(node("lab-1", None, 1));
        let steered = steer(&nodes, client(Some(SINGAPORE)));
        assert_eq!(steered.last().map(String::as_str), Some("lab-1"));
    }

    #[test]
    fn node_that_takes_no_requests_is_left_out() {
        let spoils: [fn(&mut NodeView); 5] = [
            |node| node.live = false,
            |node| node.phase = Phase::Draining,
            |node| node.phase = Phase::Joining,
            |node| node.fact = None,
            |node| {
                if let Some(fact) = &mut node.fact {
                    fact.serves_requests = false;
                }
            },
        ];
        for spoil in spoils {
            // A peer, and the own node: both are held to the same.
            for index in [0, 1] {
                let mut nodes = three();
                spoil(&mut nodes[index]);
                let left = nodes[index].name.to_string();
                let steered = steer(&nodes, client(Some(SINGAPORE)));
                assert!(
                    steered.len() == 2 && !steered.contains(&left),
                    "{steered:?}"
                );
            }
        }
    }

    #[test]
    fn node_outside_the_fence_is_left_out_and_counted() {
        let fence = [region("eur"), region("nowhere")];
        let fenced = SteeredClient {
            regions: Some(&fence),
            ..client(Some(SINGAPORE))
        };
        let view = view(three());
        let steering = nearest(&view, fenced, NODES_MAX, Public::is_published);
        assert_eq!(
            (names(&steering), steering.barred),
            (vec!["eur-1".into()], 2)
        );
        let none = SteeredClient {
            regions: Some(&[]),
            ..fenced
        };
        let steering = nearest(&view, none, NODES_MAX, Public::is_published);
        assert!(steering.nodes.is_empty() && steering.is_any_ready());
        assert_eq!(steering.barred, 3);
    }

    #[test]
    fn node_that_publishes_no_address_is_left_out_and_counted() {
        let mut nodes = three();
        if let Some(fact) = &mut nodes[1].fact {
            fact.public = Public::default();
        }
        let view = view(nodes);
        let steering = nearest(
            &view,
            client(Some(SINGAPORE)),
            NODES_MAX,
            Public::is_published,
        );
        assert_eq!(names(&steering), ["eur-1", "usa-1"]);
        assert_eq!((steering.unpublished, steering.barred), (1, 0));
    }

    #[test]
    fn the_nearest_are_kept_whatever_the_order_of_the_view_is() {
        let mut nodes = vec![node("usa-0", Some(VIRGINIA), 90)];
        nodes.extend((0..100).map(|number| {
            let at = (50.0, f64::from(number));
            node(&format!("far-{number}"), Some(at), 10)
        }));
        nodes.push(node("sgp-1", Some(SINGAPORE), 300));
        let view = view(nodes);
        let steering = nearest(&view, client(Some(SINGAPORE)), 999, Public::is_published);
        assert_eq!(steering.nodes.len(), NODES_MAX);
        assert_eq!(names(&steering)[0], "sgp-1");
        let none = nearest(&view, client(None), 0, Public::is_published);
        assert!(none.nodes.is_empty());
    }

    #[test]
    fn mesh_without_a_ready_node_is_reported() {
        let mut nodes = three();
        nodes.iter_mut().for_each(|node| node.live = false);
        let view = view(nodes);
        let steering = nearest(&view, client(None), NODES_MAX, Public::is_published);
        assert!(!steering.is_any_ready());
    }
}
