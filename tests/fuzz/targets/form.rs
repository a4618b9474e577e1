//! The scan of a form, beside a reader of forms that web servers use.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use grapevine_node::scan::form::fields;
use http_body_util::{BodyDataStream, Full};
use multer::Multipart;

const KEYS: [&str; 2] = ["model", "stream"];

/// In a form that is taken, the other reader finds each field once and with the same content.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(found) = fields(bytes, "b", KEYS) else {
        return;
    };
    let others = read(Bytes::copy_from_slice(bytes));
    for (key, range) in KEYS.into_iter().zip(found) {
        let content = range.map(|range| bytes.get(range).expect("a range within the body"));
        if let Some(content) = content {
            assert!(!content.windows(3).any(|three| three == b"--b"));
        }
        let Ok(others) = &others else { continue };
        let named = others.iter().filter(|(name, _)| name == key);
        let theirs: Vec<&[u8]> = named.map(|(_, content)| &content[..]).collect();
        assert_eq!(theirs, Vec::from_iter(content), "{key}");
    }
}

/// All fields, in their order.
fn read(body: Bytes) -> multer::Result<Vec<(String, Bytes)>> {
    let mut form = Multipart::new(BodyDataStream::new(Full::new(body)), "b");
    ready(async {
        let mut found = Vec::new();
        while let Some(field) = form.next_field().await? {
            let name = field.name().unwrap_or_default().to_owned();
            found.push((name, field.bytes().await?));
        }
        Ok(found)
    })
}

/// What a future gives that waits for nothing but memory.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("a form in memory is waited for");
}
