//! Bodies that readers could interpret in two ways: all readers agree with this node, or it refuses.

use super::*;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";
const SPEECH: &str = "/v1/audio/transcriptions";

fn asked(path: &str, content_type: &str, body: &[u8]) -> Result<Asked, AskedError> {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(
            "content-type",
            content_type.parse().expect("a header value"),
        );
    }
    let body = Bytes::copy_from_slice(body);
    read(PathScope::Inference, &Method::POST, path, &headers, &body)
}

fn chat(body: &str) -> Result<Asked, AskedError> {
    asked(CHAT, "application/json", body.as_bytes())
}

fn model(asked: &Asked) -> Option<&str> {
    asked.model.as_ref().map(ModelName::as_str)
}

#[test]
fn model_stream_and_conversation_are_found() {
    let asked = chat(r#"{"model":"gpt\u002d4o","stream":true,"user":"u"}"#).expect("valid");
    assert_eq!(model(&asked), Some("gpt-4o"));
    assert!(asked.stream);
    assert_ne!(asked.conversation, ConversationHints::default());
}

#[test]
fn model_may_have_any_name_in_json_and_in_a_form() {
    for (body, name) in [
        (r#"{"model":"two words"}"#, "two words"),
        (r#"{"model":"mod\u00e8le"}"#, "modèle"),
        (r#"{"model":"通义千问"}"#, "通义千问"),
        (r#"{"model":"\ud83e\udd99 \"q\""}"#, "🦙 \"q\""),
    ] {
        let asked = chat(body).expect(body);
        assert_eq!(model(&asked), Some(name));
        let form = format!("{}--b--\r\n", part("name=\"model\"", name));
        let asked = speech(&form).expect(name);
        assert_eq!(model(&asked), Some(name));
    }
}

#[test]
fn chat_without_a_usable_model_is_refused() {
    for body in [
        "",
        "{}",
        "[]",
        "nope",
        r#"{"model":null}"#,
        r#"{"model":7}"#,
        r#"{"model":""}"#,
        r#"{"model":" a"}"#,
        r#"{"model":"a\u0020"}"#,
        r#"{"model":"a\nb"}"#,
        r#"{"model":"\ud800"}"#,
        r#"{"model":"m""#,
        r#"{"model":["m"]}"#,
        r#"{"model":{"name":"m"}}"#,
    ] {
        assert!(chat(body).is_err(), "{body}");
    }
}

#[test]
fn stream_and_background_are_true_false_or_null() {
    for word in ["1", "0", "\"true\"", "\"false\"", "[]", "1.0", "{}"] {
        for key in ["stream", "background"] {
            let body = format!(r#"{{"model":"m","{key}":{word}}}"#);
            assert!(chat(&body).is_err(), "{body}");
        }
    }
    let asked = chat(r#"{"model":"m","stream":null,"background":false}"#).expect("valid");
    assert!(!asked.stream && !asked.background);
}

#[test]
fn body_of_another_kind_is_not_guessed_at() {
    let body = br#"{"model":"m","x":"&model=other&"}"#;
    for kind in [
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "multipart/mixed; boundary=b",
        "text/html",
    ] {
        assert_eq!(
            asked(CHAT, kind, body),
            Err(AskedError::Unsupported),
            "{kind}"
        );
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().expect("a header value"));
        let body = Bytes::from_static(body);
        let added = read(PathScope::Extra, &Method::POST, "/v1/x", &headers, &body);
        assert_eq!(added, Ok(Asked::default()), "{kind}");
        assert_eq!(model_at(&headers, &body), None);
    }
    for kind in ["", "application/json", "text/plain; charset=utf-8"] {
        assert_eq!(
            asked(CHAT, kind, body).as_ref().map(model),
            Ok(Some("m")),
            "{kind}"
        );
    }
    assert!(asked(CHAT, "application/json; charset=utf-16", body).is_err());
    let none = read(
        PathScope::Inference,
        &Method::GET,
        "/v1/responses/r",
        &HeaderMap::new(),
        &Bytes::new(),
    );
    assert_eq!(none, Ok(Asked::default()));
}

/// How a JSON parser may take the `model` of an object.
#[derive(Clone, Copy, Debug)]
struct JsonReader {
    is_last: bool,
    is_any_case: bool,
    allows_comments: bool,
    stops_at_zero: bool,
}

impl JsonReader {
    /// What it takes for the model; `None` where it refuses the body or finds none.
    fn model(self, body: &str) -> Option<String> {
        let body = if self.allows_comments {
            without_comments(body)
        } else {
            body.to_owned()
        };
        let body = body.trim_start_matches('\u{feff}');
        let mut stream = serde_json::Deserializer::from_str(body);
        let pairs = Pairs.deserialize(&mut stream).ok()?;
        let mut models = pairs.into_iter().filter(|(key, _)| self.is_model(key));
        let found = if self.is_last {
            models.next_back()
        } else {
            models.next()
        };
        found.and_then(|(_, value)| value.as_str().map(str::to_owned))
    }

    fn is_model(self, key: &str) -> bool {
        let key = if self.stops_at_zero {
            key.split('\0').next().unwrap_or_default()
        } else {
            key
        };
        if self.is_any_case {
            key.to_lowercase() == "model"
        } else {
            key == "model"
        }
    }
}

/// All pairs of an object in their order, nothing after it looked at.
struct Pairs;

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

fn without_comments(body: &str) -> String {
    let (mut out, mut rest, mut in_string) = (String::new(), body, false);
    while let Some(letter) = rest.chars().next() {
        if !in_string && rest.starts_with("/*") {
            rest = rest.split_once("*/").map_or("", |(_, after)| after);
            continue;
        }
        if !in_string && rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        let length = if in_string && letter == '\\' {
            2
        } else {
            letter.len_utf8()
        };
        in_string ^= letter == '"';
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push_str(piece);
        rest = after;
    }
    out
}

fn json_readers() -> impl Iterator<Item = JsonReader> {
    (0..16_u8).map(|bits| JsonReader {
        is_last: bits & 1 != 0,
        is_any_case: bits & 2 != 0,
        allows_comments: bits & 4 != 0,
        stops_at_zero: bits & 8 != 0,
    })
}

/// Bodies that are served, with their model.
const JSON_TAKEN: &[(&str, &str)] = &[
    (r#"{"model":"a"}"#, "a"),
    (" \r\n\t{ \"model\" :\t\"a\" } \n", "a"),
    (r#"{"mod\u0065l":"a"}"#, "a"),
    (r#"{"model":"a\u002fb"}"#, "a/b"),
    (
        r#"{"messages":[{"model":"b","content":"}]\"model\":\"c\""}],"model":"a"}"#,
        "a",
    ),
    (r#"{"metadata":{"model":"b","Model":"c"},"model":"a"}"#, "a"),
    (r#"{"model":"a","models":["b"],"model_name":"c"}"#, "a"),
    (r#"{"model":"a","x":"/* \" */ // "}"#, "a"),
    (
        r#"{"model":"a","x":[-1.5e+3,true,false,null,{"é":"ü\ud83d\ude00"}]}"#,
        "a",
    ),
];

/// Bodies in which two parsers could find two models, or one and none.
const JSON_REFUSED: &[&str] = &[
    r#"{"model":"a","model":"b"}"#,
    r#"{"model":"a","model":"a"}"#,
    r#"{"model":"a","mod\u0065l":"b"}"#,
    r#"{"model":"a","Model":"b"}"#,
    r#"{"MODEL":"b","model":"a"}"#,
    r#"{"Model":"a"}"#,
    r#"{"model":"a","\u004dodel":"b"}"#,
    r#"{"model":"a","model\u0000":"b"}"#,
    r#"{"model":"a","model\u0000x":"b"}"#,
    r#"{"model":"a","stream":false,"Stream":true}"#,
    "{\"model\":\"a\",\"\u{17f}tream\":true}",
    "{\"model\":\"a\",\"bac\u{212a}ground\":true}",
    r#"{"model":"a","background":false,"background":true}"#,
    r#"{"model":"a"}{"model":"b"}"#,
    r#"{"model":"a"} x"#,
    r#"{"model":"a",}"#,
    r#"{"model":"a",/*"model":"b",*/"x":1}"#,
    "{\"model\":\"a\",//\"model\":\"b\",\n\"x\":1}",
    r#"{"x":{/*"*/},"model":"a","y":{"z":"*/"}}"#,
    r#"{"x":{"a":1//"
}},"model":"a"}"#,
    r#"{"x":[1 /* ] */],"model":"a"}"#,
    r#"{'model':'b',"model":"a"}"#,
    r#"{"x":['"'],"model":"a"}"#,
    r#"{model:"b","model":"a"}"#,
    r#"{"model":"a","x":NaN}"#,
    r#"{"model":"a","x":Infinity}"#,
    r#"{"model":"a","x":undefined}"#,
    r#"{"x":"\q","model":"a"}"#,
    r#"{"x":"\u12","model":"a"}"#,
    r#"{"x":"\u","model":"a","y":"zz"}"#,
    r#"{"\ud800":1,"model":"a"}"#,
    r#"{"x":[},"model":"a"]}"#,
    "\u{feff}{\"model\":\"a\"}",
    "\u{b}{\"model\":\"a\"}",
];

/// Models that are no names, wherever they are.
const JSON_BAD_NAMES: &[&str] = &[
    r#"{"model":"\ud800"}"#,
    "{\"model\":\"a\n\"}",
    "{\"model\":\"a\0\"}",
    "{\"model\":\"a \"}",
    r#"{"model":"a\u0000b"}"#,
];

#[test]
fn all_json_parsers_find_the_model_that_is_found_here() {
    for (body, expected) in JSON_TAKEN {
        let found = chat(body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(model(&found), Some(*expected), "{body}");
        for reader in json_readers() {
            assert_eq!(
                reader.model(body).as_deref(),
                Some(*expected),
                "{body} {reader:?}"
            );
        }
    }
    for body in JSON_REFUSED.iter().chain(JSON_BAD_NAMES) {
        assert!(chat(body).is_err(), "{body}");
    }
}

#[test]
fn readers_of_this_test_do_differ() {
    let differ = |body: &str| {
        let mut found: Vec<_> = json_readers().map(|reader| reader.model(body)).collect();
        found.sort();
        found.dedup();
        found.len() > 1
    };
    assert!(differ(r#"{"model":"a","model":"b"}"#));
    assert!(differ(r#"{"model":"a","Model":"b"}"#));
    assert!(differ(r#"{"model":"a","model\u0000":"b"}"#));
    assert!(differ(r#"{"model":"a",/*"model":"b",*/"x":1}"#));
}

#[test]
fn other_encodings_than_utf8_are_refused() {
    let text = r#"{"model":"a"}"#;
    let wide = |swap: bool| -> Vec<u8> {
        let pair = |unit: u16| {
            if swap {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(pair).collect()
    };
    let widest: Vec<u8> = text
        .chars()
        .flat_map(|it| u32::from(it).to_le_bytes())
        .collect();
    let marked = [&[0xff, 0xfe][..], &wide(false)].concat();
    for body in [wide(false), wide(true), widest, marked] {
        assert!(asked(CHAT, "application/json", &body).is_err(), "{body:?}");
    }
    for body in [
        &b"{\"model\":\"a\xff\"}"[..],
        b"{\"mod\xc1\xa5l\":\"b\",\"model\":\"a\"}",
    ] {
        assert!(asked(CHAT, "application/json", body).is_err(), "{body:?}");
    }
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"x":{open}{close},"model":"a"}}"#)
    };
    assert!(chat(&nested(120)).is_ok());
    assert!(chat(&nested(200)).is_err());
    assert!(chat(&nested(1_000_000)).is_err());
}

const FORM: &str = "multipart/form-data; boundary=b";

fn speech(body: &str) -> Result<Asked, AskedError> {
    asked(SPEECH, FORM, body.as_bytes())
}

/// How a form parser may read.
#[derive(Clone, Copy, Debug)]
struct FormReader {
    is_last: bool,
    is_any_case: bool,
    takes_bare_lines: bool,
    splits_at_semicolons: bool,
    reads_past_the_end: bool,
    takes_longer_boundaries: bool,
    takes_preamble: bool,
}

impl FormReader {
    fn model(self, body: &str) -> Option<String> {
        let body = if self.takes_bare_lines {
            body.replace("\r\n", "\n").replace('\n', "\r\n")
        } else {
            body.to_owned()
        };
        if !self.takes_preamble && !body.starts_with("--b") {
            return None;
        }
        let (mut values, mut part): (Vec<String>, Option<Vec<&str>>) = (Vec::new(), None);
        for line in body.split("\r\n") {
            let is_end = line.starts_with("--b--");
            let is_mark = line.trim_end() == "--b"
                || is_end
                || (self.takes_longer_boundaries && line.starts_with("--b"));
            if !is_mark {
                if let Some(lines) = &mut part {
                    lines.push(line)
                }
                continue;
            }
            values.extend(part.take().and_then(|lines| self.value(&lines)));
            if is_end && !self.reads_past_the_end {
                break;
            }
            part = Some(Vec::new());
        }
        if self.is_last {
            values.pop()
        } else {
            values.into_iter().next()
        }
    }

    fn value(self, lines: &[&str]) -> Option<String> {
        let blank = lines.iter().position(|line| line.is_empty())?;
        let head = lines[..blank]
            .join("\r\n")
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        let line = head.lines().find(|line| {
            line.get(..20)
                .is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"))
        })?;
        let name = self.name(&line[20..])?;
        let name = name.trim().split('[').next().unwrap_or_default();
        let is_model = if self.is_any_case {
            name.eq_ignore_ascii_case("model")
        } else {
            name == "model"
        };
        is_model.then(|| lines[blank + 1..].join("\r\n"))
    }

    fn name(self, line: &str) -> Option<String> {
        let mut pieces = vec![String::new()];
        let mut in_quotes = false;
        for letter in line.chars() {
            in_quotes ^= letter == '"';
            if letter == ';' && (self.splits_at_semicolons || !in_quotes) {
                pieces.push(String::new());
            } else {
                pieces.last_mut()?.push(letter);
            }
        }
        let names = pieces.iter().filter_map(|piece| {
            let (key, value) = piece.split_once('=')?;
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => Some(value.to_owned()),
                "name*" => value.rsplit('\'').next().map(str::to_owned),
                _ => None,
            }
        });
        let names: Vec<_> = names.collect();
        if self.is_last {
            names.last().cloned()
        } else {
            names.first().cloned()
        }
    }
}

fn form_readers() -> impl Iterator<Item = FormReader> {
    (0..128_u8).map(|bits| FormReader {
        is_last: bits & 1 != 0,
        is_any_case: bits & 2 != 0,
        takes_bare_lines: bits & 4 != 0,
        splits_at_semicolons: bits & 8 != 0,
        reads_past_the_end: bits & 16 != 0,
        takes_longer_boundaries: bits & 32 != 0,
        takes_preamble: bits & 64 != 0,
    })
}

fn part(disposition: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

/// Forms that are served as asking for `a`.
fn forms_taken() -> Vec<String> {
    let model = part("name=\"model\"", "a");
    let file = part(
        "name=\"file\"; filename=\"a b;c=d.mp3\"",
        "data \r\n\r\n name=\"model\"",
    );
    vec![
        format!("{model}--b--\r\n"),
        format!("{model}--b--"),
        format!("{}--b--\r\n", part("name=model", "a")),
        format!("{file}{model}--b--\r\n"),
        format!("{model}{file}--b--\r\n"),
        format!(
            "{model}{}--b--\r\n",
            part("name=file; filename=x.mp3; filename*=utf-8''x.mp3", "model")
        ),
        model.replace("form-data;", "Form-Data  ;  ") + "--b--\r\n",
        model.replace(
            "\r\n\r\na",
            "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n\r\na",
        ) + "--b--\r\n",
    ]
}

/// Forms in which two parsers could find two models, or one and none.
fn forms_refused() -> Vec<String> {
    let model = part("name=\"model\"", "a");
    let end = "--b--\r\n";
    let other = |disposition: &str| format!("{model}{}{end}", part(disposition, "other"));
    let mut forms = vec![
        // Two, in whatever quoting, case and order.
        other("name=model"),
        other("name=\"model\""),
        other("name=\"Model\""),
        other("name=MODEL"),
        other("name=\"model[]\""),
        other("name=\" model\""),
        other("name=\"model \""),
        // Parameters that readers interpret in different ways.
        other("name*=utf-8''model"),
        other("name=\"x\"; name*=utf-8''model"),
        other("name=\"x\"; name=\"model\""),
        other("name=\"x\"; NAME=\"model\""),
        other("name=\"x\"; other=\"model\""),
        format!("{}{end}", part("NAME=\"model\"", "a")),
        other("name=\"x; name=model\""),
        other("filename=\"; name = model ; \"; name=x"),
        other("name = \"model\""),
        other("name=\"mod\\el\""),
        other("name=\"%6dodel\""),
        other("name=\"x\"; filename=\"y\\\"; name=\"model\""),
        other("name=\"x\"; filename=\"; name=model; \""),
        other("name=\"x\"; filename=y name=model"),
        other("name=\"x\";"),
        other("name=\"x"),
        other("name="),
        other("filename=\"model\""),
        other("name='model'; x"),
        // A file where a field is meant, or a field in another charset or encoding.
        format!("{}{end}", part("name=\"model\"; filename=\"m\"", "a")),
        format!("{}{end}", part("name=\"model\"; filename*=utf-8''m", "a")),
        model.replace(
            "\r\n\r\na",
            "\r\nContent-Type: text/plain; charset=utf-16\r\n\r\na",
        ) + end,
        model.replace(
            "\r\n\r\na",
            "\r\nContent-Transfer-Encoding: base64\r\n\r\na",
        ) + end,
        model.replace("\r\n\r\na", "\r\nContent-Encoding: gzip\r\n\r\na") + end,
        model.replace("\r\n\r\na", "\r\nContent-Length: 9\r\n\r\na") + end,
        // Heads.
        model.replace("; name", ";\r\n name") + end,
        model.replace("Content-Disposition", "Content-Disposition ") + end,
        part(
            "name=\"x\"\r\nX: \nContent-Disposition: form-data; name=\"model\"",
            "a",
        ) + end,
        model.replace(
            "Content-Disposition: form-data",
            "Content-Disposition: attachment",
        ) + end,
        model.replace(
            "\r\n\r\na",
            "\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\na",
        ) + end,
        format!("--b\r\n\r\nx\r\n{model}{end}"),
        format!("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n{model}{end}"),
        // Delimiters.
        format!("preamble\r\n{model}{end}"),
        format!("\r\n{model}{end}"),
        format!("{model}{end}epilogue"),
        format!("{model}{end}{}{end}", part("name=\"model\"", "other")),
        format!("{model}--b--{}{end}", part("name=\"model\"", "other")),
        model.clone(),
        format!("{model}--b"),
        format!("{model}--b-- \r\n"),
        format!("{model}{}{end}", part("name=\"x\"", "--b")),
        format!(
            "{model}{}{end}",
            part("name=\"model\"", "other").replace("--b\r\n", "--bb\r\n")
        ),
        format!(
            "{model}{}{end}",
            part("name=\"model\"", "other").replace("--b\r\n", "--b \r\n")
        ),
        format!(
            "{}{end}",
            part("name=\"x\"", &format!("y\n{}", part("name=model", "other")))
        ),
        format!("{model}{end}").replace("\r\n", "\n"),
        format!("{model}{end}").replace("\r\n", "\r"),
        format!(
            "{}{end}",
            part("name=\"model\"", "a").replace("\"\r\n\r\n", "\"\n\n")
        ),
        // Values.
        format!("{}{end}", part("name=\"model\"", "a\r\n")),
        format!("{}{end}", part("name=\"model\"", " a")),
        format!("{}{end}", part("name=\"model\"", "")),
        format!("{model}{}{end}", part("name=\"stream\"", "perhaps")),
        end.to_owned(),
        String::new(),
    ];
    // More parts than are looked at are refused, not passed over.
    forms.push(part("name=\"x\"", "y").repeat(257) + &model + end);
    let long = format!("name=\"x\"; filename=\"{}\"", "y".repeat(5_000));
    forms.push(format!("{model}{}{end}", part(&long, "z")));
    forms
}

#[test]
fn all_form_parsers_find_the_model_that_is_found_here() {
    for body in forms_taken() {
        let found = speech(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(model(&found), Some("a"), "{body}");
        for reader in form_readers() {
            assert_eq!(
                reader.model(&body).as_deref(),
                Some("a"),
                "{body} {reader:?}"
            );
        }
    }
    for body in forms_refused() {
        assert!(speech(&body).is_err(), "{body}");
    }
}

#[test]
fn form_readers_of_this_test_do_differ() {
    let differing = forms_refused().into_iter().filter(|body| {
        let mut found: Vec<_> = form_readers().map(|reader| reader.model(body)).collect();
        found.sort();
        found.dedup();
        found.len() > 1
    });
    assert!(differing.count() >= 15);
}

#[test]
fn boundary_may_be_quoted_and_hold_what_a_quoted_one_may() {
    let form = |boundary: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n--{boundary}--\r\n"
        )
    };
    for (kind, boundary) in [
        ("multipart/form-data; boundary=\"b\"", "b"),
        (
            "multipart/form-data; charset=utf-8; boundary=\"=_a/b:c\"",
            "=_a/b:c",
        ),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk",
            "----WebKitFormBoundary7MA4YWxk",
        ),
    ] {
        let found = asked(SPEECH, kind, form(boundary).as_bytes());
        assert_eq!(found.as_ref().map(model), Ok(Some("a")), "{kind}");
    }
}

#[test]
fn position_of_the_model_is_returned_for_renaming() {
    let at = |kind: &str, body: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().expect("a header value"));
        model_at(&headers, body.as_bytes())
            .map(|(range, is_json)| (body[range].to_owned(), is_json))
    };
    let json = at("application/json", r#"{"x":1,"model":"a"}"#);
    assert_eq!(json, Some(("\"a\"".to_owned(), true)));
    for body in forms_taken() {
        assert_eq!(at(FORM, &body), Some(("a".to_owned(), false)), "{body}");
    }
    for body in JSON_REFUSED {
        assert_eq!(at("application/json", body), None, "{body}");
    }
}
