//! The halves of a call's stream, each with a code that it ends with when it is dropped before its end.
//!
//! quinn alone would *finish* a dropped sending half, so that half a body looks whole.

use std::ops::{Deref, DerefMut};

use quinn::{RecvStream, SendStream, VarInt};

/// The sending half: reset with its code when dropped, unless it is complete.
#[derive(Debug)]
pub struct SendHalf {
    pub(super) stream: SendStream,
    pub(super) code: Option<u32>,
}

/// The receiving half: stopped with its code when dropped, unless it is complete.
#[derive(Debug)]
pub struct RecvHalf {
    pub(super) stream: RecvStream,
    pub(super) code: Option<u32>,
}

impl SendHalf {
    /// It came to its end: what was sent is delivered, whenever this is dropped.
    pub const fn complete(&mut self) {
        self.code = None;
    }
}

impl RecvHalf {
    /// It came to its end.
    pub const fn complete(&mut self) {
        self.code = None;
    }
}

impl Deref for SendHalf {
    type Target = SendStream;

    fn deref(&self) -> &SendStream {
        &self.stream
    }
}

impl DerefMut for SendHalf {
    fn deref_mut(&mut self) -> &mut SendStream {
        &mut self.stream
    }
}

impl Deref for RecvHalf {
    type Target = RecvStream;

    fn deref(&self) -> &RecvStream {
        &self.stream
    }
}

impl DerefMut for RecvHalf {
    fn deref_mut(&mut self) -> &mut RecvStream {
        &mut self.stream
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if let Some(code) = self.code {
            // It fails where that half has ended already, which is fine.
            let _ = self.stream.reset(VarInt::from_u32(code));
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        if let Some(code) = self.code {
            // It fails where that half has ended already, which is fine.
            let _ = self.stream.stop(VarInt::from_u32(code));
        }
    }
}
