//! What a request costs, in whole billionths of a US dollar.
//!
//! Prices are per million tokens, as upstreams publish them. A cost is computed once, from whole numbers, and rounded
//! once: sums over any number of requests do not drift.

use std::fmt;
use std::iter::Sum;

/// Billionths of a US dollar: the price of one token is mostly a whole number of them. Saturates at 18 billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

/// Billionths in a dollar.
const NANO: u64 = 1_000_000_000;

/// The most decimals of a price: a billionth of a dollar.
const DECIMALS: usize = 9;

impl NanoUsd {
    /// Millionths of a dollar, rounded up: the unit of budgets, which are never overspent by roundings.
    pub const fn micros(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// Decimal dollars such as `2.50`, with at most nine decimals; `None` for every other text.
    pub fn from_dollars(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || part.len() > DECIMALS || !is_number(whole) || !is_number(part) {
            return None;
        }
        let part: u64 = format!("{part:0<width$}", width = DECIMALS).parse().ok()?;
        let whole: u64 = whole.parse().ok()?;
        let nano = whole.checked_mul(NANO)?.checked_add(part)?;
        Some(Self(nano))
    }

    /// The sum; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Dollars, for metrics and readers of JSON; exact below nine million dollars.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / NANO as f64
    }
}

/// Decimal dollars, all of them.
impl fmt::Display for NanoUsd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = DollarText::of(*self);
        let text = std::str::from_utf8(text.as_bytes());
        formatter.write_str(text.expect("digits and a point"))
    }
}

/// Decimal dollars as they are written, such as `0.000315`. An answer's head says what it cost: so it takes a fifth of what
/// it takes by `format!`.
#[derive(Clone, Copy, Debug)]
pub struct DollarText {
    /// 20 digits and a point.
    text: [u8; 21],
    start: usize,
    end: usize,
}

impl DollarText {
    /// All decimals of `cost`, and none that are zero at the end.
    pub const fn of(cost: NanoUsd) -> Self {
        let mut text = [0; 21];
        let (mut start, mut end) = (text.len(), text.len());
        let (mut whole, mut part) = (cost.0 / NANO, cost.0 % NANO);
        let mut decimal = 0;
        while decimal < DECIMALS {
            start -= 1;
            text[start] = b'0' + (part % 10) as u8;
            // Nothing but zeros so far.
            if part.is_multiple_of(10) && end == start + 1 {
                end = start;
            }
            part /= 10;
            decimal += 1;
        }
        if end > start {
            start -= 1;
            text[start] = b'.';
        }
        loop {
            start -= 1;
            text[start] = b'0' + (whole % 10) as u8;
            whole /= 10;
            if whole == 0 {
                break;
            }
        }
        Self { text, start, end }
    }

    /// The text, which is ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..self.end]
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Self::plus)
    }
}

/// What a model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelPrice {
    /// A million tokens of the prompt.
    pub input: NanoUsd,
    /// A million tokens of it that came from the upstream's cache.
    pub cached_input: NanoUsd,
    /// A million tokens of it that were written to the cache.
    pub cache_write: NanoUsd,
    /// A million tokens of the answer.
    pub output: NanoUsd,
    /// Each request that was answered, whatever its tokens.
    pub request: NanoUsd,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BilledTokens {
    /// Of the whole prompt, with those below.
    pub input: u64,
    /// Of the prompt, those read from the upstream's cache.
    pub cached: u64,
    /// Of the prompt, those written to it.
    pub cache_written: u64,
    /// Of the answer, with those of its reasoning.
    pub output: u64,
}

/// Tokens that a price is for.
pub(crate) const PER_TOKENS: u128 = 1_000_000;

impl ModelPrice {
    /// The cost of one answered request, rounded to the nearest billionth.
    pub fn cost(&self, tokens: BilledTokens) -> NanoUsd {
        let plain = tokens.input.saturating_sub(tokens.cached);
        let plain = plain.saturating_sub(tokens.cache_written);
        let parts = [
            (plain, self.input),
            (tokens.cached, self.cached_input),
            (tokens.cache_written, self.cache_write),
            (tokens.output, self.output),
        ];
        let parts = parts.map(|(count, price)| u128::from(count) * u128::from(price.0));
        let sum = parts.into_iter().fold(0, u128::saturating_add);
        let cost = sum.saturating_add(PER_TOKENS / 2) / PER_TOKENS;
        NanoUsd(u64::try_from(cost).unwrap_or(u64::MAX)).plus(self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> NanoUsd {
        NanoUsd::from_dollars(text).expect("dollars")
    }

    #[test]
    fn dollars_are_read_and_written_without_loss() {
        for text in [
            "0",
            "1",
            "2.5",
            "0.000000001",
            "0.15",
            "18446744073.709551615",
        ] {
            assert_eq!(usd(text).to_string(), text);
        }
        for text in ["", ".5", "-1", "1e3", "1,5", "0.0000000001", "18446744074"] {
            assert_eq!(NanoUsd::from_dollars(text), None, "{text}");
        }
    }

    #[test]
    fn millionths_are_rounded_up() {
        for (nano, micros) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(NanoUsd(nano).micros(), micros, "{nano}");
        }
    }

    #[test]
    fn each_kind_of_token_has_its_price_and_is_billed_once() {
        let price = ModelPrice {
            input: usd("2.50"),
            cached_input: usd("1.25"),
            cache_write: usd("3.125"),
            output: usd("10"),
            request: usd("0.001"),
        };
        let tokens = BilledTokens {
            input: 1_000,
            cached: 400,
            cache_written: 100,
            output: 50,
        };
        // 500 x 2500 + 400 x 1250 + 100 x 3125 + 50 x 10000 billionths, and 1000000 for the request.
        assert_eq!(price.cost(tokens), NanoUsd(3_562_500));
        assert_eq!(price.cost(BilledTokens::default()), usd("0.001"));
    }

    #[test]
    fn cost_is_rounded_once_and_counts_that_disagree_do_not_underflow() {
        let price = ModelPrice {
            input: usd("0.0375"),
            ..ModelPrice::default()
        };
        let of = |input, cached| {
            price.cost(BilledTokens {
                input,
                cached,
                ..BilledTokens::default()
            })
        };
        assert_eq!(
            (of(1, 0), of(2, 0), of(3, 0)),
            (NanoUsd(38), NanoUsd(75), NanoUsd(113))
        );
        assert_eq!(of(1, 5), NanoUsd(0));
        assert_eq!(of(u64::MAX, 0), NanoUsd(u64::MAX));
    }
}
