//! Receives the body of a peer's request. Takes memory for what comes, not for what is announced.

use bytes::Bytes;
use grapevine_base::bodies::BodySender;
use grapevine_core::admission::ForwardRefused;
use grapevine_core::outcome::Refusal;
use grapevine_core::share::ShareExceeded;
use tokio::time::Instant;

use super::hub::Hub;
use super::link::PeerLink;
use super::streams::{self, CallStream, ReceiveError};

/// Reads the whole body: nothing is called before it is complete.
///
/// # Errors
/// The refusal, or nothing where the caller gave up.
pub(super) async fn receive_body<L>(
    hub: &Hub<L>,
    link: &PeerLink,
    stream: &mut CallStream,
    length: usize,
    deadline: Instant,
) -> Result<Bytes, Option<ForwardRefused>> {
    let charge = hub.bodies.account(BodySender::Peer(&link.peer));
    let received = streams::read_body(stream, length, charge, deadline).await;
    received.map_err(|error| match error {
        ReceiveError::WrongLength => {
            let detail = "request body is not as long as announced";
            Some(ForwardRefused::new(Refusal::Protocol, detail))
        }
        ReceiveError::TooSlow => {
            let detail = "request body came too slowly";
            Some(ForwardRefused::new(Refusal::Protocol, detail))
        }
        ReceiveError::NoRoom(over) => Some(no_room(over)),
        ReceiveError::Reset(_) | ReceiveError::Lost(_) | ReceiveError::Decode(_) => None,
    })
}

/// The refusal of a body for which there is no memory.
pub(super) fn no_room(over: ShareExceeded) -> ForwardRefused {
    let cause = match over {
        ShareExceeded::Whole => "request bodies hold the memory that is for them",
        ShareExceeded::Share => "requests of this peer hold its share of the memory for bodies",
    };
    ForwardRefused::new(Refusal::Full, format!("{cause} (limits.body_memory)"))
}
