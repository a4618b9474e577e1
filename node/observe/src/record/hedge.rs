//! What became of a second attempt beside one that was late.

use grapevine_core::price::NanoUsd;
use grapevine_core::request::HedgeResult;

use super::Served;

/// A second attempt that was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgeRecord {
    /// What became of it.
    pub result: HedgeResult,
    /// The attempt of the two that was cancelled, since the other one answered; `None` where none was.
    pub loser: Option<HedgeLoser>,
}

/// An attempt that was cancelled since another one answered first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgeLoser {
    /// The upstream that it was at.
    pub served: Served,
    /// Tokens of the prompt, as the other upstream counted them; what it made of an answer is not known.
    pub input: Option<u64>,
    /// What reading the prompt costs; `None` where the model has no price, or nothing was reported.
    pub cost: Option<NanoUsd>,
}
