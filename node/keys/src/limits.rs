//! How much a key may use, and its weight beside others.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use grapevine_core::ids::ModelName;
use serde::{Deserialize, Serialize};

/// The period of a budget, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetPeriod {
    /// A calendar day.
    Day,
    /// A calendar month.
    Month,
}

/// The most that a key may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyBudget {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// In each of these.
    pub per: BudgetPeriod,
}

/// The most dollars of a budget.
const BUDGET_USD_MAX: u64 = 1_000_000_000;

/// Not a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a budget; write an amount and a period: 50usd/month, 2.50usd/day")]
pub struct KeyBudgetError;

impl FromStr for KeyBudget {
    type Err = KeyBudgetError;

    fn from_str(text: &str) -> Result<Self, KeyBudgetError> {
        let (amount, period) = text.split_once('/').ok_or(KeyBudgetError)?;
        let amount = amount.trim().strip_suffix("usd").ok_or(KeyBudgetError)?;
        let per = match period.trim() {
            "day" => BudgetPeriod::Day,
            "month" => BudgetPeriod::Month,
            _ => return Err(KeyBudgetError),
        };
        let micro_usd = micro_usd(amount.trim()).ok_or(KeyBudgetError)?;
        Ok(Self { micro_usd, per })
    }
}

impl fmt::Display for KeyBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            BudgetPeriod::Day => "day",
            BudgetPeriod::Month => "month",
        };
        let (whole, part) = (self.micro_usd / 1_000_000, self.micro_usd % 1_000_000);
        match part {
            0 => write!(formatter, "{whole}usd/{per}"),
            part => {
                let part = format!("{part:06}");
                write!(formatter, "{whole}.{}usd/{per}", part.trim_end_matches('0'))
            }
        }
    }
}

/// Decimal dollars as millionths; no more than six decimals, and not nothing.
fn micro_usd(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let whole = whole.parse().ok().filter(|it| *it <= BUDGET_USD_MAX)?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    let micro = u64::checked_mul(whole, 1_000_000)?.checked_add(part)?;
    (micro > 0).then_some(micro)
}

/// The limits of a key, over the whole mesh. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<KeyBudget>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
}

/// How many turns a key has where requests wait, 1 to [`KeyWeight::MAX`], beside one of a key of weight 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct KeyWeight(u16);

impl KeyWeight {
    /// The greatest.
    pub const MAX: u16 = 1_000;

    /// Turns.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Not a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a weight; write a whole number from 1 to 1000")]
pub struct KeyWeightError;

impl TryFrom<u64> for KeyWeight {
    type Error = KeyWeightError;

    fn try_from(turns: u64) -> Result<Self, KeyWeightError> {
        let turns = u16::try_from(turns).ok();
        let turns = turns.filter(|turns| (1..=Self::MAX).contains(turns));
        turns.map(Self).ok_or(KeyWeightError)
    }
}

impl From<KeyWeight> for u64 {
    fn from(weight: KeyWeight) -> Self {
        weight.0.into()
    }
}

impl FromStr for KeyWeight {
    type Err = KeyWeightError;

    fn from_str(text: &str) -> Result<Self, KeyWeightError> {
        text.parse::<u64>().map_err(|_| KeyWeightError)?.try_into()
    }
}

/// The limits of a key by the model that its holder asks for, beside those of the key.
pub type ModelLimits = BTreeMap<ModelName, KeyLimits>;

/// The most models that a key has limits for.
pub const MODEL_LIMITS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_written_in_dollars() {
        for (text, micro_usd, per, written) in [
            (
                "50usd/month",
                50_000_000,
                BudgetPeriod::Month,
                "50usd/month",
            ),
            ("2.50usd/day", 2_500_000, BudgetPeriod::Day, "2.5usd/day"),
            ("0.000001usd/day", 1, BudgetPeriod::Day, "0.000001usd/day"),
        ] {
            let budget = KeyBudget { micro_usd, per };
            assert_eq!(text.parse(), Ok(budget));
            assert_eq!(budget.to_string(), written);
        }
        for text in [
            "",
            "50",
            "50usd",
            "50eur/month",
            "50usd/year",
            "-1usd/day",
            "0usd/day",
            "0.0000001usd/day",
            "1e3usd/day",
            ".5usd/day",
            "2000000000usd/day",
        ] {
            assert_eq!(text.parse::<KeyBudget>(), Err(KeyBudgetError), "{text}");
        }
    }
}
