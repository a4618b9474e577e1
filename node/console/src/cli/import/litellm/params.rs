//! The values of one deployment.

use super::super::section::{At, Section};

/// The values of a deployment, with those of the credentials that it names behind them.
pub(super) struct Params<'a> {
    pub(super) own: Section<'a>,
    pub(super) named: Option<Section<'a>>,
}

impl<'a> Params<'a> {
    /// Takes the value of `key`: the deployment's own, else the credentials'.
    pub(super) fn take(&mut self, key: &str) -> Option<At<'a>> {
        let named = self.named.as_mut().and_then(|named| named.take(key));
        self.own.take(key).or(named)
    }
}
