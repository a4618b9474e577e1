//! How much of a limit to reserve before the cost of a request is known: an upper bound, so that settling never owes.

/// Money in millionths of the currency's unit: exact sums, up to 18 million million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroMoney(pub u64);

/// What a model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrice {
    /// Of a million tokens of the prompt.
    pub input_million: MicroMoney,
    /// Of a million tokens of the answer.
    pub output_million: MicroMoney,
    /// Of each request.
    pub request: MicroMoney,
}

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

    /// Money to reserve, rounded up.
    pub fn cost(self, price: TokenPrice) -> MicroMoney {
        let of = |tokens: u64, million: MicroMoney| {
            (u128::from(tokens) * u128::from(million.0)).div_ceil(1_000_000)
        };
        let sum = of(self.input, price.input_million)
            + of(self.output, price.output_million)
            + u128::from(price.request.0);
        MicroMoney(u64::try_from(sum).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_is_the_body_and_what_the_client_allows() {
        assert_eq!(RequestBound::of(1_000, Some(50), 4_096).tokens(), 1_050);
        assert_eq!(RequestBound::of(1_000, None, 4_096).tokens(), 5_096);
        assert_eq!(RequestBound::of(u64::MAX, Some(1), 0).tokens(), u64::MAX);
    }

    #[test]
    fn cost_is_rounded_up_and_does_not_overflow() {
        let price = TokenPrice {
            input_million: MicroMoney(2_500_000),
            output_million: MicroMoney(10_000_000),
            request: MicroMoney(1),
        };
        let cost = RequestBound::of(1, Some(1), 0).cost(price);
        // 2.5 millionths, 10 millionths, 1 millionth.
        assert_eq!(cost, MicroMoney(3 + 10 + 1));
        let most = RequestBound::of(u64::MAX, Some(u64::MAX), 0).cost(price);
        assert_eq!(most, MicroMoney(u64::MAX));
    }
}
