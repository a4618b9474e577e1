//! Both forms of the same headers are one thing.

use super::*;

/// The headers of these lines, as a head and as a map.
fn both(lines: &[(&str, &str)]) -> [AnswerHeaders; 2] {
    let mut text = String::from("HTTP/1.1 200 OK\r\n");
    let mut map = HeaderMap::new();
    let mut places = Vec::new();
    for (name, value) in lines {
        let start = text.len();
        text.push_str(&format!("{name}:  {value} \r\n"));
        let value_at = start + name.len() + 3;
        places.push((start..start + name.len(), value_at..value_at + value.len()));
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        map.append(name, value.parse().expect("a value"));
    }
    let mut head = text.into_bytes();
    let fields = places.into_iter().map(|(name, value)| {
        let name = std::str::from_utf8(&head[name]).expect("ASCII");
        HeadField::within(&head, name, &head[value]).expect("within")
    });
    let fields: Vec<HeadField> = fields.collect();
    for field in &fields {
        field.name_mut(&mut head).make_ascii_lowercase();
    }
    [HeadFields::new(head.into(), fields).into(), map.into()]
}

/// What is left, in an order that does not depend on the form.
fn left(headers: &AnswerHeaders) -> Vec<(String, Vec<u8>)> {
    let pairs = headers.pairs().into_iter();
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect();
    pairs.sort();
    pairs
}

/// Names and values.
type Pairs = Vec<(String, Vec<u8>)>;

/// The same is done to both forms, and leaves the same.
fn alike<T: PartialEq + fmt::Debug>(
    lines: &[(&str, &str)],
    work: impl Fn(&mut AnswerHeaders) -> T,
) -> (T, Pairs) {
    let [mut fields, mut map] = both(lines);
    let done = [work(&mut fields), work(&mut map)];
    assert_eq!(left(&fields), left(&map));
    let [of_fields, of_map] = done;
    assert_eq!(of_fields, of_map);
    (of_fields, left(&fields))
}

fn names(left: &[(String, Vec<u8>)]) -> Vec<&str> {
    left.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn values_are_found_whatever_the_case_of_their_names() {
    let lines = [("Content-Type", "text/html"), ("X-A", "1"), ("x-a", "2")];
    let name = HeaderName::from_static("x-a");
    let (found, _) = alike(&lines, |headers| {
        let value = |name: &HeaderName| headers.value_of(name).map(<[u8]>::to_vec);
        (
            value(&name),
            value(&header::CONTENT_TYPE),
            value(&header::AGE),
        )
    });
    assert_eq!(
        found,
        (Some(b"1".to_vec()), Some(b"text/html".to_vec()), None)
    );
}

#[test]
fn what_is_about_the_connection_goes_with_what_connection_names() {
    let lines = [
        ("Connection", "close, X-Of-It"),
        ("connection", "keep-alive"),
        ("x-of-it", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("x-own", "1"),
        ("x-stays", "1"),
    ];
    let (_, left) = alike(&lines, |headers| headers.strip(|name| name == b"x-own"));
    assert_eq!(names(&left), ["x-stays"]);
}

#[test]
fn head_whose_end_is_doubtful_is_refused_and_a_repeated_length_is_left_once() {
    let settle = |lines: &[(&str, &str)]| alike(lines, |it| it.settle(StatusCode::OK));
    let length = "content-length";
    for (lines, expected) in [
        (
            &[(length, "5"), ("transfer-encoding", "chunked")][..],
            AnswerFault::TwoFramings,
        ),
        (
            &[("transfer-encoding", "gzip, chunked")],
            AnswerFault::Coding,
        ),
        (
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            AnswerFault::Coding,
        ),
        (&[(length, "5"), (length, "6")], AnswerFault::Length),
        (&[(length, "+5")], AnswerFault::Length),
        (&[(length, "")], AnswerFault::Length),
    ] {
        let [mut fields, mut map] = both(lines);
        assert_eq!(fields.settle(StatusCode::OK), Err(expected), "{lines:?}");
        assert_eq!(map.settle(StatusCode::OK), Err(expected), "{lines:?}");
    }
    let (settled, left) = settle(&[(length, "5"), ("x-a", "1"), (length, "5"), (length, "5")]);
    assert_eq!((settled, names(&left)), (Ok(()), vec![length, "x-a"]));
    let long = "a".repeat(headers::ANSWER_HEADER_BYTES_MAX - 2);
    for (name, expected) in [("x-a", Err(AnswerFault::TooLarge)), ("xa", Ok(()))] {
        for mut headers in both(&[(name, &long)]) {
            assert_eq!(headers.settle(StatusCode::OK), expected, "{name}");
        }
    }
    let [mut fields, _] = both(&[]);
    let settled = fields.settle(StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(settled, Err(AnswerFault::NotFinal));
}

#[test]
fn taken_header_is_gone_with_all_its_values() {
    let lines = [("X-Request-Id", "a"), ("x-b", "1"), ("x-request-id", "c")];
    let (taken, left) = alike(&lines, |headers| headers.take(&headers::REQUEST_ID));
    assert_eq!(taken.as_deref(), Some(&b"a"[..]));
    assert_eq!(names(&left), ["x-b"]);
    let (taken, _) = alike(&lines, |headers| headers.take(&header::AGE));
    assert_eq!(taken, None);
}

#[test]
fn changed_map_is_what_counts_from_then_on() {
    let lines = [("x-a", "1"), ("x-b", "2")];
    let (_, left) = alike(&lines, |headers| {
        // Looked at before it is changed.
        assert_eq!(headers.len(), 2);
        headers.remove("x-a");
        headers.insert("x-c", HeaderValue::from_static("3"));
    });
    assert_eq!(names(&left), ["x-b", "x-c"]);
    let (_, left) = alike(&lines, |headers| {
        assert!(headers.contains_key("x-a"));
        headers.take(&HeaderName::from_static("x-a"));
        assert!(!headers.contains_key("x-a"));
    });
    assert_eq!(names(&left), ["x-b"]);
}

#[test]
fn head_is_written_line_by_line_and_a_map_is_handed_on() {
    let [fields, map] = both(&[("Date", "now"), ("X-A", "1"), ("x-a", "2")]);
    let mut lines = HeadLines::begun();
    assert!(fields.into_head(&mut lines).is_empty());
    assert_eq!(lines.as_bytes(), b"date: now\r\nx-a: 1\r\nx-a: 2\r\n");
    assert!(lines.has_date());
    let mut none = HeadLines::begun();
    assert_eq!(map.into_head(&mut none).len(), 3);
    assert_eq!(none.as_bytes(), b"");
    let mut moved = HeaderMap::new();
    lines.set_length(3);
    lines.move_into(&mut moved);
    assert_eq!(moved.get_all("x-a").iter().count(), 2);
    assert_eq!(moved[header::CONTENT_LENGTH], "3");
}

#[test]
fn field_of_another_text_is_none() {
    let head = b"a: b".to_vec();
    assert!(HeadField::within(&head, "elsewhere", &head[3..]).is_none());
}
