//! Takes the body of a peer's request in: as it comes, and not as it is announced.

use bytes::Bytes;
use grapevine_base::bodies::BodySender;
use grapevine_core::admission::Refused;
use grapevine_core::outcome::Refusal;
use grapevine_core::share::Over;
use tokio::time::Instant;

use super::hub::Hub;
use super::link::Link;
use super::streams::{self, CallStream, ReceiveError};

/// Reads the whole body: nothing is called before it is there.
///
/// # Errors
/// The refusal, or nothing where the caller gave up.
pub(super) async fn receive_body<L>(
    hub: &Hub<L>,
    link: &Link,
    stream: &mut CallStream,
    length: usize,
    deadline: Instant,
) -> Result<Bytes, Option<Refused>> {
    let charge = hub.bodies.account(BodySender::Peer(&link.peer));
    let received = streams::read_body(&mut stream.recv, length, charge, deadline).await;
    received.map_err(|error| match error {
        ReceiveError::WrongLength => {
            let detail = "request body is not as long as announced";
            Some(Refused::new(Refusal::Protocol, detail))
        }
        ReceiveError::TooSlow => {
            let detail = "request body came too slowly";
            Some(Refused::new(Refusal::Protocol, detail))
        }
        ReceiveError::NoRoom(over) => Some(no_room(over)),
        ReceiveError::Reset(_) | ReceiveError::Lost(_) | ReceiveError::Decode(_) => None,
    })
}

/// The refusal of what may not be held.
pub(super) fn no_room(over: Over) -> Refused {
    let whose = match over {
        Over::Whole => "request bodies hold the memory that is for them",
        Over::Share => "requests of this peer hold its share of the memory for bodies",
    };
    Refused::new(Refusal::Full, format!("{whose} (limits.body_memory)"))
}
