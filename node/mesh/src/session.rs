//! The lifetime of one connection: from the handshake to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::CallLocal;
use grapevine_core::engine::Event;
use grapevine_core::link::{self, LinkState, LinkWatch};
use grapevine_proto::frame::{Datagram, Ping, Pong, close};
use quinn::{Connection, ConnectionError, VarInt};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::endpoint::HANDSHAKE_TIMEOUT;
use super::gone;
use super::hello::{self, GreetError};
use super::hub::Hub;
use super::link::{LinkParts, PeerLink};
use super::links::{AdmitError, LinkChange};
use super::loads::own_loads;
use super::messages::{self, Intake};
use super::outbox;
use super::serve;

/// How long a superfluous connection stays: long enough for the peer to choose the other one.
const RETIRE_AFTER: Duration = Duration::from_secs(1);

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstablishError {
    /// The handshake did not end in time.
    #[error("no answer within {HANDSHAKE_TIMEOUT:?}")]
    TimedOut,
    /// The handshake failed or the connection ended.
    #[error(transparent)]
    Lost(#[from] ConnectionError),
    /// The greeting failed.
    #[error(transparent)]
    Greet(GreetError),
    /// It is not wanted.
    #[error(transparent)]
    Admit(#[from] AdmitError),
}

/// Greets on a new connection and makes it a link, which it returns.
///
/// # Errors
/// See [`EstablishError`]; the connection is then closed.
pub(super) async fn establish<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    connection: Connection,
    dialled_address: Option<SocketAddr>,
) -> Result<Arc<PeerLink>, EstablishError> {
    let greeted = hello::greet(&connection, &hub.greeting, &hub.me, &hub.verifier).await;
    let greeting = greeted.map_err(|error| {
        connection.close(
            VarInt::from_u32(close::REFUSED),
            error.to_string().as_bytes(),
        );
        EstablishError::Greet(error)
    })?;
    let (outbox, outgoing) = outbox::outbox();
    let link = Arc::new(PeerLink::new(LinkParts {
        peer: greeting.node,
        generation: greeting.generation,
        address: greeting.address,
        host: greeting.host,
        dialled_address,
        serial: hub.serials.fetch_add(1, Ordering::Relaxed),
        connection,
        outbox,
    }));
    match hub.links.admit(Arc::clone(&link)) {
        Ok(change) => carry_out(hub, change),
        Err(error) => {
            let code = match error {
                AdmitError::Stale => close::STALE,
                AdmitError::TooMany => close::REFUSED,
            };
            link.connection
                .close(VarInt::from_u32(code), error.to_string().as_bytes());
            return Err(error.into());
        }
    }
    let addresses = [Some(link.address), dialled_address];
    for address in addresses.into_iter().flatten() {
        if let Some(message) = hub.pending.take(address) {
            link.note_exchange();
            link.outbox.gossip(&link.connection, message);
        }
    }
    tokio::spawn(run(Arc::clone(hub), Arc::clone(&link), outgoing));
    Ok(link)
}

/// Serves a link until its connection ends.
async fn run<L: CallLocal>(
    hub: Arc<Hub<L>>,
    link: Arc<PeerLink>,
    outgoing: outbox::OutboxReceiver,
) {
    let intake = Arc::new(Intake::new(hub.driver.now()));
    let reason = tokio::select! {
        reason = link.connection.closed() => reason,
        reason = take_calls(&hub, &link) => reason,
        reason = messages::take(&hub, &link, &intake) => reason,
        reason = listen(&hub, &link, &intake) => reason,
        reason = async {
            outgoing.run(&link.connection).await;
            link.connection.closed().await
        } => reason,
    };
    debug!(peer.name = %link.peer, %reason, "connection ended");
    complain_of_double(&hub, &link, &reason);
    let change = hub.links.remove(&link);
    carry_out(&hub, change);
}

/// Closes the connections that a change of links left over.
pub(super) fn carry_out<L: CallLocal>(hub: &Arc<Hub<L>>, change: LinkChange) {
    for link in change.dead {
        let code = VarInt::from_u32(close::STALE);
        link.connection.close(code, b"a later life is connected");
    }
    for link in change.superfluous {
        if link.start_retiring() {
            tokio::spawn(retire(Arc::clone(hub), link));
        }
    }
}

/// Closes a superfluous link once nothing runs on it, unless it is used after all.
async fn retire<L: CallLocal>(hub: Arc<Hub<L>>, link: Arc<PeerLink>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RETIRE_AFTER) => {}
            _ = link.connection.closed() => return,
        }
        if hub.links.is_used(&link) {
            link.stop_retiring();
            return;
        }
        if link.is_idle() {
            let code = VarInt::from_u32(close::SUPERFLUOUS);
            link.connection.close(code, b"another connection is used");
            return;
        }
    }
}

/// Spawns a task for each forwarded request; the connection's stream limit bounds them.
async fn take_calls<L: CallLocal>(hub: &Arc<Hub<L>>, link: &Arc<PeerLink>) -> ConnectionError {
    loop {
        match link.connection.accept_bi().await {
            Ok((send, recv)) => {
                let (hub, link) = (Arc::clone(hub), Arc::clone(link));
                tokio::spawn(async move { serve::serve(&hub, &link, send, recv).await });
            }
            Err(error) => return error,
        }
    }
}

/// Reads datagrams, sends pings, and watches for silence.
async fn listen<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    link: &Arc<PeerLink>,
    intake: &Intake,
) -> ConnectionError {
    let mut watch = LinkWatch::new(hub.driver.now());
    let mut poll = tokio::time::interval(link::POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            datagram = link.connection.read_datagram() => match datagram {
                Ok(datagram) => take_datagram(hub, link, intake, &mut watch, datagram),
                Err(error) => return error,
            },
            _ = poll.tick() => {
                look(hub, link, &mut watch);
                if hub.links.table().by_name.len() > link::POLL_LINKS_MAX {
                    poll.reset_after(link::POLL_MANY);
                }
            }
        }
    }
}

fn look<L: CallLocal>(hub: &Arc<Hub<L>>, link: &Arc<PeerLink>, watch: &mut LinkWatch) {
    let now = hub.driver.now();
    let received = link.connection.stats().udp_rx.datagrams;
    if let Some(state) = watch.polled(now, received) {
        let spoke_at = hub.driver.clock().timer(watch.last_seen_at(now));
        let change = hub.links.set_state(link, state, spoke_at);
        carry_out(hub, change);
        if state == LinkState::Lost {
            let code = VarInt::from_u32(close::LOST);
            link.connection.close(code, b"silent for too long");
        }
    }
    if watch.look_due(now) {
        gone::look(link);
    }
    if let Some(sequence) = watch.ping_due(now) {
        let ping = Ping { sequence }.encode();
        // A connection that has just ended is noticed elsewhere.
        let _ = link.connection.send_datagram(ping.into());
    }
}

fn take_datagram<L: CallLocal>(
    hub: &Hub<L>,
    link: &PeerLink,
    intake: &Intake,
    watch: &mut LinkWatch,
    datagram: Bytes,
) {
    match Datagram::decode(&datagram) {
        Ok(Datagram::Gossip(_)) => {
            messages::take_gossip(hub, link, intake, datagram.slice(1..));
        }
        Ok(Datagram::Rights(_)) => {
            messages::take_rights(hub, link, intake, datagram.slice(1..));
        }
        Ok(Datagram::Ping(Ping { sequence })) => {
            let Some(room) = link.connection.max_datagram_size() else {
                return;
            };
            if !intake.takes_ping(hub.driver.now()) {
                return;
            }
            let loads = own_loads(&hub.driver.view());
            let pong = Pong { sequence, loads }.encode(room);
            // A connection that has just ended is noticed elsewhere.
            let _ = link.connection.send_datagram(pong.into());
        }
        Ok(Datagram::Pong(pong)) => {
            let peer = || link.peer.clone();
            // One echo counts for each ping, so that a peer cannot flood the engine with them.
            let Some(rtt) = watch.echoed(hub.driver.now(), pong.sequence) else {
                return;
            };
            // A second connection has measurements of its own, and mixing both would make the distance waver. A
            // full inbox drops measurements: the next comes in half a second.
            if hub.links.is_used(link) {
                let _ = hub
                    .driver
                    .try_send(Event::RttMeasured { peer: peer(), rtt });
            }
            if !pong.loads.is_empty() {
                let loads = pong.loads;
                let _ = hub.driver.try_send(Event::LoadReceived {
                    peer: peer(),
                    loads,
                });
            }
        }
        Err(error) => debug!(peer.name = %link.peer, %error, "datagram cannot be read"),
    }
}

/// Warns the operator of a peer that was refused or refuses this node, at most once a minute per address.
pub(super) fn complain<L>(hub: &Hub<L>, address: SocketAddr, error: &EstablishError) {
    let Some(advice) = advice(error) else {
        debug!(peer.address = %address, %error, "connection did not become a link");
        return;
    };
    if hub.complaints.may(address.ip(), Instant::now()) {
        warn!(
            peer.address = %address,
            mesh.name = %hub.mesh,
            mesh.ca = %hub.verifier.fingerprints(),
            %error,
            advice,
            "peer and this node do not accept each other"
        );
    }
}

/// Warns the operator when a peer knows a later incarnation of this very node: there are two of it.
fn complain_of_double<L>(hub: &Hub<L>, link: &PeerLink, reason: &ConnectionError) {
    let ConnectionError::ApplicationClosed(closed) = reason else {
        return;
    };
    let address = link.connection.remote_address();
    let is_stale = closed.error_code == VarInt::from_u32(close::STALE);
    if is_stale && hub.complaints.may(address.ip(), Instant::now()) {
        warn!(
            peer.name = %link.peer,
            node.name = %hub.me,
            "peer is linked to a node of this name that started later; names must be unique"
        );
    }
}

/// What the operator should check; `None` for errors that need no action.
fn advice(error: &EstablishError) -> Option<&'static str> {
    const CHECK_CA: &str = "check that both nodes' mesh.tls.ca hold the same CA (compare the \
        fingerprints that both log), and that both certificates were issued by it and have not expired";
    match error {
        EstablishError::Lost(error) => is_tls_refusal(error).then_some(CHECK_CA),
        EstablishError::Greet(GreetError::Lost(error)) => is_tls_refusal(error).then_some(CHECK_CA),
        EstablishError::Greet(GreetError::Identity(_)) => {
            Some("issue the peer's certificate for this mesh with `grapevine ca issue`")
        }
        EstablishError::Greet(GreetError::OtherName { .. }) => {
            Some("give the peer the node.name that its certificate names, or issue another")
        }
        EstablishError::Greet(GreetError::Unreadable(_)) => {
            Some("check that both nodes run versions that speak a common protocol")
        }
        _ => None,
    }
}

/// Whether TLS itself refused: alerts of either side are QUIC errors 0x100 to 0x1ff (RFC 9001, 4.8).
fn is_tls_refusal(error: &ConnectionError) -> bool {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(closed) => closed.error_code,
        _ => return false,
    };
    (0x100..0x200).contains(&u64::from(code))
}
