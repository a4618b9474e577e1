//! Filters that make texts.

use super::super::meter::Meter;
use super::super::output::{Output, made, text_of};
use super::super::value::Value;
use super::Arguments;

/// Characters grow to at most this many bytes for each of theirs when their case changes.
const CASE_GROWTH: usize = 3;

pub(super) fn apply<'s>(
    name: &str,
    input: &Value<'s>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    if name == "tojson" {
        return to_json(input, arguments, meter);
    }
    let input = text_of(input, meter)?;
    let text = input.as_text().unwrap_or_default();
    meter.read(text.len())?;
    match name {
        "lower" => {
            meter.make(text.len().saturating_mul(CASE_GROWTH))?;
            Value::text(&text.to_lowercase(), meter)
        }
        "upper" => {
            meter.make(text.len().saturating_mul(CASE_GROWTH))?;
            Value::text(&text.to_uppercase(), meter)
        }
        "title" => cased(text, char::is_whitespace, meter),
        "capitalize" => cased(text, |_| false, meter),
        "trim" => {
            let of = arguments.get(0, "chars");
            let trimmed = match of.as_ref().and_then(Value::as_text) {
                Some(characters) => {
                    meter.read(text.len().saturating_mul(characters.len()))?;
                    text.trim_matches(|character| characters.contains(character))
                }
                None => text.trim(),
            };
            Value::text(trimmed, meter)
        }
        "replace" => replaced(text, arguments, meter),
        "split" => split(text, arguments, meter),
        "lines" => {
            let lines = text.lines();
            list(lines, meter)
        }
        "indent" => indented(text, arguments, meter),
        "truncate" => truncated(text, arguments, meter),
        _ => Err(super::unknown(name)),
    }
}

/// The first character, and each behind a separator, large; the others small.
fn cased<'s>(
    text: &str,
    is_separator: fn(char) -> bool,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    meter.make(text.len().saturating_mul(CASE_GROWTH))?;
    let mut cased = String::new();
    let mut is_first = true;
    for character in text.chars() {
        match is_first {
            true => cased.extend(character.to_uppercase()),
            false => cased.extend(character.to_lowercase()),
        }
        is_first = is_separator(character);
    }
    Value::text(&cased, meter)
}

fn replaced<'s>(
    text: &str,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let from = text_of(&arguments.needed("replace", 0)?, meter)?;
    let to = text_of(&arguments.needed("replace", 1)?, meter)?;
    let (from, to) = (
        from.as_text().unwrap_or_default(),
        to.as_text().unwrap_or_default(),
    );
    let mut output = Output::new(meter);
    if from.is_empty() {
        output.push(to)?;
        for character in text.chars() {
            output.push(character.encode_utf8(&mut [0; 4]))?;
            output.push(to)?;
        }
        return made(output, meter);
    }
    for (index, part) in text.split(from).enumerate() {
        if index > 0 {
            output.push(to)?;
        }
        output.push(part)?;
    }
    made(output, meter)
}

fn split<'s>(
    text: &str,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let by = arguments.get(0, "sep");
    let most = match arguments.get(1, "maxsplits") {
        Some(Value::Int(most)) if most >= 0 => usize::try_from(most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    match by.as_ref().and_then(Value::as_text) {
        None => list(text.split_whitespace(), meter),
        Some("") => Err("split needs a text to split by that is not empty".to_owned()),
        Some(by) => list(text.splitn(most.saturating_add(1), by), meter),
    }
}

fn list<'s, 't>(parts: impl Iterator<Item = &'t str>, meter: &Meter) -> Result<Value<'s>, String> {
    let mut items = Vec::new();
    for part in parts {
        // With what a small allocation takes beside its bytes.
        meter.make(size_of::<Value<'_>>() + 32)?;
        items.push(Value::text(part, meter)?);
    }
    Value::list(items, meter)
}

fn indented<'s>(
    text: &str,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let space = " ".repeat(arguments.size("indent", 4)?);
    let (first, blank) = (arguments.flag(1, "first")?, arguments.flag(2, "blank")?);
    let mut output = Output::new(meter);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            output.push("\n")?;
        }
        let is_indented = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if is_indented {
            output.push(&space)?;
        }
        output.push(line)?;
    }
    made(output, meter)
}

fn truncated<'s>(
    text: &str,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let length = arguments.size("truncate", 255)?;
    match text.char_indices().nth(length) {
        None => Value::text(text, meter),
        Some((end, _)) => {
            let mut output = Output::new(meter);
            output.push(&text[..end])?;
            output.push("...")?;
            made(output, meter)
        }
    }
}

fn to_json<'s>(
    input: &Value<'s>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let json = input.json(meter)?;
    let is_wide = arguments.flag(0, "indent")?;
    let mut writer = Counted(Output::new(meter));
    let written = match is_wide {
        true => serde_json::to_writer_pretty(&mut writer, &json),
        false => serde_json::to_writer(&mut writer, &json),
    };
    written.map_err(|_| "makes a JSON text that is longer than a value may be".to_owned())?;
    made(writer.0, meter)
}

/// Takes JSON as it is written.
struct Counted<'m>(Output<'m>);

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // JSON is written in whole characters.
        let text = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.0.push(text).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
