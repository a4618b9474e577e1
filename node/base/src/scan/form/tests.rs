//! Where fields are found, and that no bytes cause a panic.

use super::*;
use proptest::prelude::*;

#[test]
fn fields_are_found_and_contents_of_files_are_not_searched() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\
                name=\"model\"\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n\
                whisper-1\r\n--b\r\nContent-Disposition: form-data; name=other\r\n\r\n\r\n--b--\r\n";
    let [model, other, none] =
        fields(body.as_bytes(), "b", ["model", "other", "none"]).expect("a plain form");
    assert_eq!(model.map(|range| &body[range]), Some("whisper-1"));
    assert_eq!(other.map(|range| &body[range]), Some(""));
    assert_eq!(none, None);
    assert!(fields(body.as_bytes(), "other", ["model"]).is_err());
}

#[test]
fn refusal_names_the_position() {
    let body = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\nmore";
    let error = fields(body, "b", ["model"]).expect_err("an epilogue");
    assert!(error.to_string().ends_with("at byte 50"), "{error}");
}

#[test]
fn line_feed_at_either_end_of_a_value_is_refused() {
    let form = |line: &str| {
        let body =
            format!("--b\r\nContent-Disposition: form-data; name=x\r\n{line}\r\n\r\na\r\n--b--");
        fields(body.as_bytes(), "b", ["model"])
    };
    assert!(form("X: \t1 ").is_ok());
    for line in [
        "X: \nContent-Disposition: form-data; name=model",
        "X:\x0c1",
        "X: 1 \n",
        "X: 1\r",
    ] {
        assert!(form(line).is_err(), "{line:?}");
    }
}

#[test]
fn parameters_that_readers_could_miss_or_see_elsewhere_are_refused() {
    let form = |disposition: &str| {
        let body =
            format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\na\r\n--b--");
        fields(body.as_bytes(), "b", ["model"])
    };
    assert!(form("name=model").is_ok());
    assert!(form("name=x; filename=\"my name.mp3\"").is_ok());
    for disposition in [
        "Name=model",
        "name=x; FILENAME=y",
        "name=\"x; name=model\"",
        "filename=\"; name = model ; \"; name=x",
    ] {
        assert!(form(disposition).is_err(), "{disposition}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(pieces in prop::collection::vec(
        prop_oneof![
            Just("--b".to_owned()),
            Just("--b--".to_owned()),
            Just("\r\n".to_owned()),
            Just("\n".to_owned()),
            Just("Content-Disposition: form-data; name=model".to_owned()),
            Just("; filename=\"".to_owned()),
            any::<String>(),
        ],
        0..20,
    )) {
        // The result does not matter here, only that there is one.
        let _ = fields(pieces.concat().as_bytes(), "b", ["model", "stream"]);
    }
}
