//! The most that a request can use: of its prompt no more tokens than it has bytes, of its answer no more than it
//! allows. What is not text (images, files by their ids) may be more, and is settled by what the upstream reports.

use grapevine_base::limits::LimitKind;
use grapevine_base::scan;
use grapevine_config::prices::PriceTable;
use grapevine_core::escrow::estimate::RequestBound;
use grapevine_core::ids::ModelName;

use super::super::problem::Problem;

/// The members that bound an answer's tokens, at the top of the body: OpenAI's three spellings, of which the last is
/// Anthropic's and Responses' kin, and the number of answers.
const KEYS: [&str; 6] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "generationConfig",
    "inferenceConfig",
];

/// Within Gemini's `generationConfig` and Bedrock's `inferenceConfig`.
const INNER_KEYS: [&str; 3] = ["maxOutputTokens", "candidateCount", "maxTokens"];

/// What to take of each limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserve {
    tokens: u64,
    money: u64,
}

impl Reserve {
    /// A request that uses no model.
    pub(crate) const REQUEST: Self = Self {
        tokens: 0,
        money: 0,
    };

    pub(crate) const fn units(self, kind: LimitKind) -> u64 {
        match kind {
            LimitKind::Concurrency | LimitKind::Requests => 1,
            LimitKind::Tokens => self.tokens,
            LimitKind::Money => self.money,
        }
    }
}

/// What a request with `body` may use that asks one of `models`; with prices where its key has a budget.
///
/// # Errors
/// Where it has a budget, and a model has no price.
pub(crate) fn reserve<'a>(
    body: &[u8],
    output_cap: u64,
    models: impl Iterator<Item = &'a ModelName>,
    prices: Option<&PriceTable>,
) -> Result<Reserve, Problem> {
    let (allowed, answers) = allowed(body);
    let mut bound = RequestBound::of(body.len() as u64, allowed, output_cap);
    bound.output = bound.output.saturating_mul(answers);
    let mut money = 0;
    if let Some(prices) = prices {
        let mut has_model = false;
        for model in models {
            let price = prices.of(model);
            let price = price.ok_or_else(|| Problem::no_price(Some(model)))?;
            money = money.max(bound.cost(&price).micros());
            has_model = true;
        }
        if !has_model {
            return Err(Problem::no_price(None));
        }
    }
    Ok(Reserve {
        tokens: bound.tokens(),
        money,
    })
}

/// How many tokens each answer may have, where the body says that, and how many answers.
fn allowed(body: &[u8]) -> (Option<u64>, u64) {
    // What cannot be read so, such as a form, says nothing: the cap holds.
    let Ok(found) = scan::top_level(body, KEYS) else {
        return (None, 1);
    };
    let number = |body: &[u8], range: &Option<std::ops::Range<usize>>| {
        let text = std::str::from_utf8(&body[range.clone()?]).ok()?;
        text.parse::<u64>().ok()
    };
    let [max, completion, output, answers, gemini, bedrock] = found;
    let mut tokens = [&max, &completion, &output]
        .map(|range| number(body, range))
        .into_iter()
        .flatten()
        .max();
    let mut answers = number(body, &answers);
    for inner in [gemini, bedrock].into_iter().flatten() {
        let inner = &body[inner];
        if let Ok([gemini, candidates, bedrock]) = scan::top_level(inner, INNER_KEYS) {
            let of = [number(inner, &gemini), number(inner, &bedrock)];
            tokens = of.into_iter().flatten().max().or(tokens);
            answers = number(inner, &candidates).or(answers);
        }
    }
    (tokens, answers.unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use grapevine_core::price::{ModelPrice, NanoUsd};

    use super::*;

    fn tokens(body: &str) -> u64 {
        let reserved = reserve(body.as_bytes(), 4_096, std::iter::empty(), None);
        reserved.expect("no prices are needed").tokens - body.len() as u64
    }

    #[test]
    fn answer_is_bounded_by_what_the_request_allows_in_each_dialect() {
        for (body, bound) in [
            (r#"{"model":"m"}"#, 4_096),
            (r#"{"model":"m","max_tokens":5}"#, 5),
            (r#"{"max_completion_tokens":7,"n":3}"#, 21),
            (r#"{"max_output_tokens":9}"#, 9),
            (r#"{"max_tokens":null}"#, 4_096),
            (
                r#"{"generationConfig":{"maxOutputTokens":11,"candidateCount":2}}"#,
                22,
            ),
            (r#"{"inferenceConfig":{"maxTokens":13}}"#, 13),
            ("--form", 4_096),
        ] {
            assert_eq!(tokens(body), bound, "{body}");
        }
    }

    #[test]
    fn dearest_model_bounds_the_cost_and_one_without_a_price_is_refused() {
        let name = |name| ModelName::new(name).expect("a name");
        let (cheap, dear) = (name("cheap"), name("dear"));
        let mut prices = PriceTable::default();
        for (model, usd) in [(&cheap, "1"), (&dear, "2.50")] {
            let usd = NanoUsd::from_dollars(usd).expect("dollars");
            let price = ModelPrice {
                input: usd,
                output: usd,
                ..ModelPrice::default()
            };
            prices.set(model.clone(), price);
        }
        let body = br#"{"max_tokens":980}"#;
        let money = |models: &[&ModelName]| {
            let models = models.iter().copied();
            reserve(body, 0, models, Some(&prices)).map(|reserve| reserve.money)
        };
        // 998 tokens; 20 of the body at most.
        assert_eq!(money(&[&cheap]), Ok(998));
        assert_eq!(money(&[&cheap, &dear]), Ok(2_495));
        let unknown = name("unknown");
        assert_eq!(
            money(&[&cheap, &unknown]),
            Err(Problem::no_price(Some(&unknown)))
        );
        assert_eq!(money(&[]), Err(Problem::no_price(None)));
    }
}
