//! Embeddings: unit vectors that are a function of the input alone, as numbers or as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::ApiError;
use super::ask::{Wire, input_text};

/// Length of a vector when the client names none.
const DIMENSIONS_DEFAULT: usize = 16;

/// The longest vector.
const DIMENSIONS_MAX: usize = 4_096;

/// The most inputs of one request, as OpenAI has it.
const INPUTS_MAX: usize = 2_048;

/// The answer of `/v1/embeddings`.
pub(super) fn embeddings(model: &str, wire: &Wire) -> Result<String, ApiError> {
    let dimensions = wire.dimensions.unwrap_or(DIMENSIONS_DEFAULT);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(ApiError::invalid(
            format!("dimensions: must be from 1 to {DIMENSIONS_MAX}"),
            Some("dimensions"),
        ));
    }
    let as_base64 = match wire.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(ApiError::invalid(
                "encoding_format: must be float or base64",
                Some("encoding_format"),
            ));
        }
    };
    let inputs = inputs(wire.input.clone())?;
    let tokens: usize = inputs.iter().map(|input| input.len() / 4 + 1).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = if as_base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
    .to_string())
}

/// The inputs as texts: one text, several, one list of token ids, or several.
fn inputs(input: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = |message: String| ApiError::invalid(message, Some("input"));
    match input {
        None => Err(ApiError::missing("input")),
        Some(Value::Array(items)) if items.is_empty() || items.len() > INPUTS_MAX => Err(wrong(
            format!("input: must have from 1 to {INPUTS_MAX} items"),
        )),
        Some(Value::Array(items)) if items.iter().all(Value::is_number) => {
            Ok(vec![Value::Array(items).to_string()])
        }
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                Value::Array(tokens) => Ok(Value::Array(tokens).to_string()),
                _ => Err(wrong(
                    "input: items must be strings or token ids".to_owned(),
                )),
            })
            .collect(),
        Some(text) => input_text(text, "input").map(|text| vec![text]),
    }
}

/// A unit vector: the bytes of SHA-256 over the input and a counter, centred and scaled.
fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    let seed = digest(&SHA256, input.as_bytes());
    let mut raw = Vec::with_capacity(dimensions);
    for block in 0_u32.. {
        let mut keyed = seed.as_ref().to_vec();
        keyed.extend(block.to_le_bytes());
        let bytes = digest(&SHA256, &keyed);
        // Half a step off centre, so that no vector is zero.
        raw.extend(bytes.as_ref().iter().map(|byte| f32::from(*byte) - 127.5));
        if raw.len() >= dimensions {
            break;
        }
    }
    raw.truncate(dimensions);
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter().map(|x| x / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Result<Value, ApiError> {
        let wire = Wire::read(body.as_bytes())?;
        embeddings("m", &wire).map(|text| serde_json::from_str(&text).expect("valid JSON"))
    }

    #[test]
    fn base64_holds_the_same_numbers_as_float() {
        let floats = answer(r#"{"input": ["a", "b"]}"#).expect("valid");
        let base64 =
            answer(r#"{"input": ["a", "b"], "encoding_format": "base64"}"#).expect("valid");
        for i in 0..2 {
            let numbers: Vec<f32> = floats["data"][i]["embedding"]
                .as_array()
                .expect("numbers")
                .iter()
                .map(|x| x.as_f64().expect("a number") as f32)
                .collect();
            let text = base64["data"][i]["embedding"].as_str().expect("a text");
            let bytes = STANDARD.decode(text).expect("base64");
            let decoded: Vec<f32> = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|four| f32::from_le_bytes(*four))
                .collect();
            assert_eq!(numbers, decoded);
        }
        assert_ne!(
            floats["data"][0]["embedding"],
            floats["data"][1]["embedding"]
        );
    }

    #[test]
    fn vectors_have_length_one_and_the_dimensions_asked_for() {
        for dimensions in [1, 16, 33, 4_096] {
            let vector = vector("x", dimensions);
            assert_eq!(vector.len(), dimensions);
            let norm: f32 = vector.iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-3, "{norm}");
        }
    }

    #[test]
    fn token_ids_are_one_input_and_lists_of_them_several() {
        let count = |body| {
            answer(body).expect("valid")["data"]
                .as_array()
                .map(Vec::len)
        };
        assert_eq!(count(r#"{"input": [1, 2, 3]}"#), Some(1));
        assert_eq!(count(r#"{"input": [[1, 2], [3]]}"#), Some(2));
    }

    #[test]
    fn wrong_inputs_and_options_are_a_400() {
        for body in [
            "{}",
            r#"{"input": []}"#,
            r#"{"input": {}}"#,
            r#"{"input": [true]}"#,
            r#"{"input": "x", "encoding_format": "hex"}"#,
            r#"{"input": "x", "dimensions": 0}"#,
            r#"{"input": "x", "dimensions": 4097}"#,
        ] {
            assert_eq!(answer(body).expect_err(body).status, 400, "{body}");
        }
    }
}
