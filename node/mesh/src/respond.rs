//! What the server's end of a call sends, beside answers: refusals and failures, each within a time limit.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::coarse::timeout_at;
use grapevine_base::exchange::CallFailure;
use grapevine_core::admission::ForwardRefused;
use grapevine_core::fact::Phase;
use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_proto::frame::{NoAnswer, ResponseStart, WireLoad, reset};
use quinn::{SendStream, VarInt};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::hub::Hub;
use super::link::PeerLink;
use super::loads::own_load;
use super::streams::CallStream;

/// How long sending a failure may take.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller may read nothing of an answer.
const STALL_MAX: Duration = Duration::from_secs(60);

/// How long a draining node waits for a peer to acknowledge the end of an answer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends why there is no answer.
pub(super) async fn refuse<L>(
    hub: &Hub<L>,
    link: &PeerLink,
    stream: &mut CallStream,
    upstream: Option<&UpstreamName>,
    refused: ForwardRefused,
) {
    if refused.refusal == Refusal::Residency {
        hub.rules.refused(link, &refused.detail);
    }
    debug!(peer.name = %link.peer, refusal = ?refused.refusal, detail = refused.detail, "refused");
    let failure = CallFailure::new(Outcome::Refused(refused.refusal), refused.detail);
    // Boxed: it is rare, and every caller would hold room for it.
    Box::pin(send_failure(hub, stream, upstream, &failure)).await;
}

/// Sends the frame of a failure with the upstream's load, and ends the stream.
pub(super) async fn send_failure<L>(
    hub: &Hub<L>,
    stream: &mut CallStream,
    upstream: Option<&UpstreamName>,
    failure: &CallFailure,
) {
    let none = NoAnswer {
        outcome: failure.outcome,
        load: upstream.and_then(|upstream| wire_load(hub, upstream)),
        detail: &failure.detail,
    };
    // The rest of the request, if any, is no longer wanted.
    let _ = stream.recv.stop(VarInt::from_u32(reset::REFUSED));
    let Ok(frame) = ResponseStart::None(none).encode() else {
        return;
    };
    let sent = timeout(FAILURE_TIMEOUT, stream.send.write_chunk(frame.into())).await;
    if matches!(sent, Ok(Ok(()))) && stream.send.finish().is_ok() {
        stream.complete();
    }
}

pub(super) fn wire_load<L>(hub: &Hub<L>, upstream: &UpstreamName) -> Option<WireLoad> {
    let load = own_load(&hub.driver.view(), upstream)?;
    Some(WireLoad {
        in_flight: load.in_flight,
        ttft: load.ttft,
    })
}

/// On a node that is about to close its connections, waits until the peer has the whole answer: what
/// is only queued is lost with the connection. The link counts the call until then.
pub(super) async fn delivered<L>(hub: &Hub<L>, stream: &CallStream) {
    if stream.is_complete() && hub.driver.view().phase == Phase::Draining {
        // A peer that does not acknowledge in time is gone, or too slow to wait for.
        let _ = timeout(DELIVERY_TIMEOUT, stream.send.stopped()).await;
    }
}

/// Sends `parts`. A caller that reads nothing for too long is gone, and must not hold the upstream's slot.
pub(super) async fn write(send: &mut SendStream, parts: &mut [Bytes]) -> Result<(), Outcome> {
    let stalled_at = Instant::now() + STALL_MAX;
    let written = pin!(send.write_all_chunks(parts));
    match timeout_at(stalled_at, written).await {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => Err(Outcome::Cancelled),
    }
}
