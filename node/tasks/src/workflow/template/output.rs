//! Text as it is made, and how values are written into it: as MiniJinja writes them, which is Python's way.

use std::fmt::Write;

use super::BODY_BYTES_MAX;
use super::meter::Meter;
use super::value::{Text, Value};

/// A text that grows up to [`BODY_BYTES_MAX`].
pub(super) struct Output<'m> {
    text: String,
    meter: &'m Meter,
}

impl<'m> Output<'m> {
    pub(super) fn new(meter: &'m Meter) -> Self {
        Self {
            text: String::new(),
            meter,
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Appends `text`.
    ///
    /// # Errors
    /// When the whole is longer than it may be.
    pub(super) fn push(&mut self, text: &str) -> Result<(), String> {
        if self.text.len() + text.len() > BODY_BYTES_MAX {
            return Err(super::too_long());
        }
        self.meter.make(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    /// Appends `value` as text.
    pub(super) fn write(&mut self, value: &Value<'_>) -> Result<(), String> {
        match value {
            Value::Text(text) => self.push(text.as_str()),
            other => self.literal(other),
        }
    }

    /// Appends `value` as it is written within a list.
    fn literal(&mut self, value: &Value<'_>) -> Result<(), String> {
        self.meter.step()?;
        match value {
            Value::Undefined => Err(super::NOT_THERE.to_owned()),
            Value::Null => self.push("None"),
            Value::Bool(true) => self.push("True"),
            Value::Bool(false) => self.push("False"),
            Value::Int(number) => self.push(&number.to_string()),
            Value::Float(number) => self.push(&float(*number)),
            Value::Text(text) => self.quoted(text),
            Value::List(list) => {
                self.push("[")?;
                for index in 0..list.len() {
                    self.comma(index)?;
                    self.literal(&list.get(index))?;
                }
                self.push("]")
            }
            Value::Fields(fields) => {
                self.push("{")?;
                for (index, (name, value)) in fields.entries(self.meter)?.iter().enumerate() {
                    self.comma(index)?;
                    self.quoted(name)?;
                    self.push(": ")?;
                    self.literal(value)?;
                }
                self.push("}")
            }
            Value::Turn(_) => Err("writes the loop itself, which is no value".to_owned()),
        }
    }

    fn comma(&mut self, index: usize) -> Result<(), String> {
        match index {
            0 => Ok(()),
            _ => self.push(", "),
        }
    }

    fn quoted(&mut self, text: &Text<'_>) -> Result<(), String> {
        let text = text.as_str();
        let quote = match text.contains('\'') && !text.contains('"') {
            true => "\"",
            false => "'",
        };
        self.meter.read(text.len())?;
        self.push(quote)?;
        let mut rest = text;
        while let Some(index) = rest.find(|c: char| c.is_control() || "\\'".contains(c)) {
            self.push(&rest[..index])?;
            let special = rest[index..].chars().next().unwrap_or_default();
            match special {
                '\'' if quote == "\"" => self.push("'")?,
                '\'' | '\\' => self.push(&format!("\\{special}"))?,
                control => self.push(&control.escape_default().to_string())?,
            }
            rest = &rest[index + special.len_utf8()..];
        }
        self.push(rest)?;
        self.push(quote)
    }
}

/// A float as text: `NaN`, `inf`, or with a point.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}");
    if number.is_finite() && !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// `value` as text.
pub(super) fn text_of<'s>(value: &Value<'s>, meter: &Meter) -> Result<Value<'s>, String> {
    if let Value::Text(_) = value {
        return Ok(value.clone());
    }
    let mut output = Output::new(meter);
    output.write(value)?;
    made(output, meter)
}

/// What was written, as a value.
pub(super) fn made<'s>(output: Output<'_>, meter: &Meter) -> Result<Value<'s>, String> {
    Value::text(&output.into_text(), meter)
}
