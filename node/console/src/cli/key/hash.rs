//! `grapevine key hash`.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use grapevine_config::hash::KeyHash;

/// What `key hash` takes.
#[derive(Debug, Args)]
pub(super) struct HashArgs {
    /// Make a new random key, and print it with its hash
    #[arg(long)]
    generate: bool,
    /// Print one JSON object: hash, and the key where it is new
    #[arg(long)]
    json: bool,
}

/// The prefix of generated keys, so that scanners for leaked keys can find them.
const PREFIX: &str = "gv-";

/// Random bytes of a new key.
const KEY_BYTES: usize = 32;

/// The longest key that is read, in bytes; a header has room for no more.
const KEY_MAX: u64 = 4_096;

/// Makes and hashes clients' keys.
pub(super) fn run(
    args: &HashArgs,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let (is_new, json) = (args.generate, args.json);
    let key = if is_new { generate()? } else { read(input)? };
    let hash = KeyHash::of(&key);
    match (json, is_new) {
        (true, true) => writeln!(out, "{}", json!({"key": key, "hash": hash.to_string()}))?,
        (true, false) => writeln!(out, "{}", json!({"hash": hash.to_string()}))?,
        (false, true) => writeln!(out, "key:  {key}\nhash: {hash}")?,
        (false, false) => writeln!(out, "{hash}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A new key.
///
/// # Errors
/// When the system gives no random bytes.
pub(in crate::cli) fn generate() -> io::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gave no random bytes"))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn read(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.take(KEY_MAX + 1).read_to_string(&mut text)?;
    let key = text.trim();
    let wrong = if key.is_empty() {
        "no key on standard input; pipe one in, or use --generate"
    } else if text.len() as u64 > KEY_MAX {
        "the key is longer than 4096 bytes"
    } else if key.contains(char::is_whitespace) {
        "the key must be one line without blanks"
    } else {
        return Ok(key.to_owned());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(input: &str) -> io::Result<String> {
        let args = HashArgs {
            generate: false,
            json: false,
        };
        let mut out = Vec::new();
        run(&args, &mut input.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).expect("the output is text"))
    }

    #[test]
    fn key_is_hashed_without_its_line_break() {
        let expected = format!("{}\n", KeyHash::of("gv-1"));
        assert_eq!(hash("gv-1").expect("a good key"), expected);
        assert_eq!(hash("gv-1\r\n").expect("a good key"), expected);
    }

    #[test]
    fn json_has_the_key_only_where_it_is_new() {
        let printed = |generate: bool| {
            let args = HashArgs {
                generate,
                json: true,
            };
            let mut out = Vec::new();
            run(&args, &mut "gv-1".as_bytes(), &mut out).expect("a hash");
            serde_json::from_slice::<serde_json::Value>(&out).expect("JSON")
        };
        let (given, new) = (printed(false), printed(true));
        assert_eq!(given, json!({"hash": KeyHash::of("gv-1").to_string()}));
        let key = new["key"].as_str().expect("a key");
        assert_eq!(new["hash"], KeyHash::of(key).to_string());
    }

    #[test]
    fn input_that_is_no_key_is_refused() {
        for input in [
            String::new(),
            "\n".to_owned(),
            "two words".to_owned(),
            "k".repeat(4_097),
        ] {
            assert!(hash(&input).is_err(), "{} bytes", input.len());
        }
        assert!(hash(&"k".repeat(4_096)).is_ok());
    }

    #[test]
    fn generated_key_matches_the_hash_beside_it() {
        let args = HashArgs {
            generate: true,
            json: false,
        };
        let mut out = Vec::new();
        run(&args, &mut io::empty(), &mut out).expect("a key");
        let text = String::from_utf8(out).expect("the output is text");
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let (key, hash) = (line("key:").expect("a key"), line("hash:").expect("a hash"));
        assert!(key.starts_with("gv-") && key.len() == 46, "{key}");
        assert_eq!(hash.parse(), Ok(KeyHash::of(key)));
    }
}
