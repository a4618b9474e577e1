//! `data:` URLs, in which some dialects put what others keep as media type and bytes.

use crate::hub::part::AttachmentSource;

/// What a URL stands for: bytes in the URL itself, or an address.
pub(crate) fn source(url: String) -> AttachmentSource {
    let parts = url
        .strip_prefix("data:")
        .and_then(|inside| inside.split_once(";base64,"));
    match parts {
        Some((media_type, data)) => AttachmentSource::Data {
            media_type: Some(media_type.to_string()).filter(|media_type| !media_type.is_empty()),
            data: data.to_string(),
        },
        None => AttachmentSource::Url {
            url,
            media_type: None,
        },
    }
}

/// The `data:` URL of bytes in base64.
pub(crate) fn url(media_type: Option<&str>, data: &str) -> String {
    format!("data:{};base64,{data}", media_type.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_url_comes_back_as_it_was() {
        for written in [
            "data:image/png;base64,AA==",
            "data:;base64,AA==",
            "data:text/plain;charset=x;base64,",
        ] {
            let AttachmentSource::Data { media_type, data } = source(written.to_string()) else {
                panic!("{written} is data");
            };
            assert_eq!(url(media_type.as_deref(), &data), written);
        }
    }

    #[test]
    fn other_url_is_an_address() {
        for written in ["https://a.example/b.png", "data:text/plain,hello"] {
            assert!(matches!(
                source(written.to_string()),
                AttachmentSource::Url { .. }
            ));
        }
    }
}
