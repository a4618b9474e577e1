//! The values of one deployment.

use super::super::section::{At, Section};

/// The values of a deployment, with those of the credentials that it names behind them.
pub(super) struct Params<'a> {
    pub(super) own: Section<'a>,
    pub(super) named: Option<Section<'a>>,
}

impl<'a> Params<'a> {
    /// The value of `key`, which stays.
    pub(super) fn peek(&self, key: &str) -> Option<At<'a>> {
        let named = self.named.as_ref().and_then(|named| named.peek(key));
        self.own.peek(key).or(named)
    }

    /// Takes the value of `key`: the deployment's own, else the credentials'.
    pub(super) fn take(&mut self, key: &str) -> Option<At<'a>> {
        let named = self.named.as_mut().and_then(|named| named.take(key));
        self.own.take(key).or(named)
    }
}
