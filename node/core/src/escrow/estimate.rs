//! How much of a limit to reserve before the cost of a request is known: an upper bound, so that settling never owes.

use crate::price::{ModelPrice, NanoUsd, PER_TOKENS};

/// The most that a request can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestBound {
    /// Tokens of the prompt: a token is one byte at least.
    pub input: u64,
    /// Tokens of the answer: what the client allows, or the configured cap.
    pub output: u64,
}

impl RequestBound {
    /// A request of `body_bytes` that allows an answer of `max_tokens`, and where it says nothing is capped.
    pub fn of(body_bytes: u64, max_tokens: Option<u64>, output_cap: u64) -> Self {
        Self {
            input: body_bytes,
            output: max_tokens.unwrap_or(output_cap),
        }
    }

    /// Tokens to reserve.
    pub const fn tokens(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// What it costs at most, rounded up: each token of the prompt may be of the dearest kind.
    pub fn cost(self, price: &ModelPrice) -> NanoUsd {
        let of = |tokens: u64, million: NanoUsd| u128::from(tokens) * u128::from(million.0);
        let prompt = price.input.max(price.cached_input).max(price.cache_write);
        let sum = of(self.input, prompt).saturating_add(of(self.output, price.output));
        let cost = u64::try_from(sum.div_ceil(PER_TOKENS)).unwrap_or(u64::MAX);
        NanoUsd(cost).plus(price.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::BilledTokens;

    #[test]
    fn bound_is_the_body_and_what_the_client_allows() {
        assert_eq!(RequestBound::of(1_000, Some(50), 4_096).tokens(), 1_050);
        assert_eq!(RequestBound::of(1_000, None, 4_096).tokens(), 5_096);
        assert_eq!(RequestBound::of(u64::MAX, Some(1), 0).tokens(), u64::MAX);
    }

    #[test]
    fn cost_is_of_the_dearest_tokens_rounded_up_and_does_not_overflow() {
        let usd = |text| NanoUsd::from_dollars(text).expect("dollars");
        let price = ModelPrice {
            input: usd("2.50"),
            cached_input: usd("1.25"),
            cache_write: usd("3.1250001"),
            output: usd("10"),
            request: NanoUsd(1),
        };
        let cost = RequestBound::of(1, Some(1), 0).cost(&price);
        // 3125.0001 and 10000 billionths, and one of the request.
        assert_eq!(cost, NanoUsd(13_126 + 1));
        let most = RequestBound::of(u64::MAX, Some(u64::MAX), 0).cost(&price);
        assert_eq!(most, NanoUsd(u64::MAX));
    }

    #[test]
    fn no_bill_is_above_the_bound() {
        let price = ModelPrice {
            input: NanoUsd(37),
            cached_input: NanoUsd(5),
            cache_write: NanoUsd(91),
            output: NanoUsd(13),
            request: NanoUsd(7),
        };
        for (cached, cache_written, output) in [(0, 0, 3), (900, 0, 3), (0, 900, 3), (450, 449, 0)]
        {
            let billed = price.cost(BilledTokens {
                input: 900,
                cached,
                cache_written,
                output,
            });
            assert!(billed <= RequestBound::of(900, Some(3), 0).cost(&price));
        }
    }
}
