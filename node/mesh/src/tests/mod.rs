//! Whole links between real endpoints on loopback, in real time.

mod calls;
mod cancels;
mod certificates;
mod hostile;
mod inside;
mod linking;
mod opening;
mod silence;
mod support;

use crate::hub::Hub;
use crate::link::PeerLink;
use crate::serve;

/// tokio moves the future of a task several times, from where it is spawned to its end.
const TASK_BYTES_MAX: usize = 1_024;

fn bytes_of<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn task_of_a_forwarded_request_is_small() {
    let bytes = bytes_of(
        |hub: &'static Hub<support::Fake>, link: &'static PeerLink, send, recv| {
            serve::serve(hub, link, send, recv)
        },
    );
    assert!((256..=TASK_BYTES_MAX).contains(&bytes), "{bytes} bytes");
}
