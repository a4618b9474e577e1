//! What models cost: a table of well-known ones, and what the file says in its place.

use std::collections::BTreeMap;

use grapevine_core::ids::ModelName;
use grapevine_core::price::{ModelPrice, NanoUsd};

/// The table; its first lines say where it comes from and when it was read.
const BUILT_IN: &str = include_str!("prices.csv");

/// Prices by model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable(BTreeMap<ModelName, ModelPrice>);

/// The well-known models.
impl Default for PriceTable {
    fn default() -> Self {
        let lines = BUILT_IN.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(read).collect())
    }
}

impl PriceTable {
    /// Sets a price.
    pub fn set(&mut self, model: ModelName, price: ModelPrice) {
        self.0.insert(model, price);
    }

    /// The price of `model`; `None` where it is not known. A dated version (`gpt-4o-2024-08-06`,
    /// `claude-sonnet-4-5-20250929`) costs what its name without the date does.
    pub fn of(&self, model: &ModelName) -> Option<ModelPrice> {
        let price = self.0.get(model).or_else(|| {
            let undated = ModelName::new(undated(model.as_str())?).ok()?;
            self.0.get(&undated)
        });
        price.copied()
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&ModelName, &ModelPrice)> {
        self.0.iter()
    }
}

/// `name` without the date at its end, where it has one.
fn undated(name: &str) -> Option<&str> {
    const FORMS: [&str; 2] = ["-0000-00-00", "-00000000"];
    FORMS.into_iter().find_map(|form| {
        let (rest, end) = name.split_at_checked(name.len().checked_sub(form.len())?)?;
        let mut pairs = end.bytes().zip(form.bytes());
        let fits = pairs.all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
        (fits && !rest.is_empty()).then_some(rest)
    })
}

/// A line of the table.
fn read(line: &str) -> Option<(ModelName, ModelPrice)> {
    let mut cells = line.split(',');
    let model = ModelName::new(cells.next()?).ok()?;
    let mut price = || match cells.next()? {
        "" => Some(None),
        text => NanoUsd::from_dollars(text).map(Some),
    };
    let input = price()??;
    let (cached_input, cache_write) = (price()?.unwrap_or(input), price()?.unwrap_or(input));
    let output = price()??;
    let price = ModelPrice {
        input,
        cached_input,
        cache_write,
        output,
        request: NanoUsd::default(),
    };
    Some((model, price))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_none_is_there_twice() {
        let lines = BUILT_IN.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<_> = lines.map(|line| read(line).expect(line).0).collect();
        assert!(names.is_sorted() && names.len() > 20);
        assert_eq!(PriceTable::default().iter().count(), names.len());
    }

    #[test]
    fn dated_version_costs_what_its_model_does_and_others_are_unknown() {
        let table = PriceTable::default();
        let of = |name: &str| table.of(&ModelName::new(name).expect("a name"));
        let gpt = of("gpt-4o").expect("a price");
        assert_eq!(gpt.input, NanoUsd(2_500_000_000));
        assert_eq!(of("gpt-4o-2024-08-06"), Some(gpt));
        assert!(of("claude-sonnet-4-5-20250929").is_some());
        for name in [
            "gpt-4o-2024-08",
            "gpt-4o-latest",
            "-20250929",
            "my-model",
            "ünï-2024-08-06",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
