//! Images, documents, films and sounds: a format and a source.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{DIALECT, formats};
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::part::{Attachment, AttachmentKind, AttachmentSource, Part, PartKind};
use crate::loss::LossList;
use crate::rest::Rest;

/// The longest name of a document.
const NAME_CHARS_MAX: usize = 200;

/// The name of a document that has none, which Converse demands.
const NAME_DEFAULT: &str = "document";

/// Takes the blocks under a field.
type ContentReader = fn(&mut Fields, &'static str) -> Vec<Part>;

/// Whether a block has a source that the hub models.
pub(super) fn is_known(value: &Value) -> bool {
    let source = &value["source"];
    source["bytes"].is_string()
        || source["s3Location"]["uri"].is_string()
        || source["text"].is_string()
        || source["content"].is_array()
}

/// Takes an attachment out of its block.
///
/// `read_content` reads the blocks that a document may be made of.
pub(super) fn read(
    fields: &mut Fields,
    kind: AttachmentKind,
    name: &'static str,
    read_content: ContentReader,
) -> PartKind {
    let mut attachment = Attachment {
        kind,
        source: AttachmentSource::Text(String::new()),
        name: None,
        detail: None,
    };
    if let Some(mut inside) = fields.enter(name) {
        let format = inside.peek_text("format");
        let media_type = format.and_then(|format| formats::media_type_of(kind, format));
        let media_type = media_type.map(ToString::to_string);
        if format.is_some() {
            inside.blank("format");
        }
        attachment.name = inside.text("name");
        if let Some(mut source) = inside.enter("source") {
            attachment.source = read_source(&mut source, media_type, read_content);
            inside.leave("source", source);
        }
        fields.leave(name, inside);
    }
    PartKind::Attachment(attachment)
}

/// Takes an image out of a piece of a stream, whose start named the format.
pub(super) fn read_piece(fields: &mut Fields, format: &str) -> PartKind {
    let kind = AttachmentKind::Image;
    let mut attachment = Attachment {
        kind,
        source: AttachmentSource::Text(String::new()),
        name: None,
        detail: None,
    };
    let name = formats::block_of(kind);
    if let Some(mut inside) = fields.enter(name) {
        if let Some(mut source) = inside.enter("source") {
            let media_type = formats::media_type_of(kind, format).map(ToString::to_string);
            attachment.source = read_source(&mut source, media_type, |_, _| Vec::new());
            inside.leave("source", source);
        }
        if inside.peek("format").is_none() {
            inside.keep_blank("format", json!(format));
            fields.set_form("format", "before");
        }
        fields.leave(name, inside);
    }
    PartKind::Attachment(attachment)
}

// A location in S3 is one that nobody else can fetch.
fn read_source(
    source: &mut Fields,
    media_type: Option<String>,
    read_content: ContentReader,
) -> AttachmentSource {
    if let Some(data) = source.text("bytes") {
        return AttachmentSource::Data { media_type, data };
    }
    let has_uri = source
        .peek("s3Location")
        .is_some_and(|location| location["uri"].is_string());
    if has_uri && let Some(mut location) = source.enter("s3Location") {
        let uri = location.text("uri").unwrap_or_default();
        source.leave("s3Location", location);
        return AttachmentSource::File(uri);
    }
    match source.text("text") {
        Some(text) => AttachmentSource::Text(text),
        None => AttachmentSource::Parts(read_content(source, "content")),
    }
}

/// Writes attachments; the documents of one request have different names.
#[derive(Debug, Default)]
pub(super) struct AttachmentWriter {
    names: BTreeSet<String>,
}

impl AttachmentWriter {
    /// Writes the block of an attachment, whose `texts` are what its parts became; nothing if Converse cannot say it.
    pub(super) fn write(
        &mut self,
        attachment: &Attachment,
        texts: Vec<Value>,
        rest: &Rest,
        losses: &mut LossList,
    ) -> Option<Object> {
        if rest.is_from(DIALECT) {
            return Some(write_home(attachment, texts));
        }
        let detail = attachment.detail.as_ref().filter(|word| *word != "auto");
        losses.add_some(
            detail,
            rest.at("detail"),
            "Converse does not say how closely to look at images",
        );
        let media_type = match &attachment.source {
            AttachmentSource::Data { media_type, .. }
            | AttachmentSource::Url { media_type, .. } => media_type.as_deref(),
            _ => None,
        };
        let kind = formats::kind_of(attachment.kind, media_type);
        let (source, format) = match write_foreign_source(attachment, kind, texts) {
            Ok(written) => written,
            Err(reason) => {
                losses.add(rest.path(), reason);
                return None;
            }
        };
        let mut inside = Object::new();
        inside.insert("format".to_string(), json!(format));
        inside.insert("source".to_string(), source);
        if kind == AttachmentKind::Document {
            let name = self.name(attachment.name.as_deref(), format, rest, losses);
            inside.insert("name".to_string(), json!(name));
        }
        let mut block = Object::new();
        block.insert(formats::block_of(kind).to_string(), Value::Object(inside));
        Some(block)
    }

    fn name(
        &mut self,
        wanted: Option<&str>,
        format: &str,
        rest: &Rest,
        losses: &mut LossList,
    ) -> String {
        let wanted = wanted.unwrap_or(NAME_DEFAULT);
        let stem = wanted
            .strip_suffix(format)
            .and_then(|stem| stem.strip_suffix('.'))
            .unwrap_or(wanted);
        let fitting = fitting(stem);
        let mut name = fitting.clone();
        let mut number = 2_usize;
        while !self.names.insert(name.clone()) {
            name = format!("{fitting} {number}");
            number += 1;
        }
        if name != stem && wanted != NAME_DEFAULT {
            let reason =
                "Converse takes letters, digits, single spaces and -()[] in names, each once";
            losses.add(rest.at("name"), reason);
        }
        name
    }
}

fn fitting(name: &str) -> String {
    let words = name.split_whitespace().map(|word| {
        let fits = |char: &char| char.is_ascii_alphanumeric() || "-()[]".contains(*char);
        let chars = word.chars();
        let chars = chars.map(|char| if fits(&char) { char } else { '-' });
        chars.collect::<String>()
    });
    let joined = words.collect::<Vec<_>>().join(" ");
    // Room for a number behind it.
    let short: String = joined.chars().take(NAME_CHARS_MAX - 8).collect();
    match short.trim() {
        "" => NAME_DEFAULT.to_string(),
        short => short.to_string(),
    }
}

fn write_home(attachment: &Attachment, texts: Vec<Value>) -> Object {
    let mut source = Object::new();
    match &attachment.source {
        AttachmentSource::Data { data, .. } => put(&mut source, "bytes", Some(data.clone())),
        AttachmentSource::File(uri) | AttachmentSource::Url { url: uri, .. } => {
            source.insert("s3Location".to_string(), json!({"uri": uri}));
        }
        AttachmentSource::Text(text) => put(&mut source, "text", Some(text.clone())),
        AttachmentSource::Parts(_) if texts.is_empty() => {}
        AttachmentSource::Parts(_) => put(&mut source, "content", Some(texts)),
    }
    let mut inside = Object::new();
    put(&mut inside, "name", attachment.name.clone());
    inside.insert("source".to_string(), Value::Object(source));
    let mut block = Object::new();
    let name = formats::block_of(attachment.kind);
    block.insert(name.to_string(), Value::Object(inside));
    block
}

/// The source and the format, or why Converse has none.
fn write_foreign_source(
    attachment: &Attachment,
    kind: AttachmentKind,
    texts: Vec<Value>,
) -> Result<(Value, &'static str), &'static str> {
    let format = |media_type: Option<&str>, name: Option<&str>| match media_type {
        Some(media_type) => {
            formats::format_of(kind, media_type).ok_or("Converse takes no such media type")
        }
        None => {
            let named = name.and_then(|name| formats::format_of_name(kind, name));
            Ok(named.unwrap_or(formats::default_of(kind)))
        }
    };
    let name = attachment.name.as_deref();
    match &attachment.source {
        AttachmentSource::Data { media_type, data } => {
            let format = format(media_type.as_deref(), name)?;
            Ok((json!({"bytes": data}), format))
        }
        AttachmentSource::Url { url, media_type } if url.starts_with("s3://") => {
            let format = format(media_type.as_deref(), Some(url))?;
            Ok((json!({"s3Location": {"uri": url}}), format))
        }
        AttachmentSource::Url { .. } => Err("Converse fetches nothing but from S3"),
        AttachmentSource::File(_) => Err("the file is in another provider's store"),
        AttachmentSource::Text(text) => Ok((json!({"text": text}), "txt")),
        AttachmentSource::Parts(_) if texts.is_empty() => Err("Converse takes no empty document"),
        AttachmentSource::Parts(_) => Ok((json!({"content": texts}), "txt")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_the_characters_that_converse_takes() {
        assert_eq!(fitting("a_b  c (1)"), "a-b c (1)");
        assert_eq!(fitting("  "), "document");
        assert!(fitting(&"x".repeat(300)).len() <= NAME_CHARS_MAX);
    }

    #[test]
    fn two_documents_of_one_name_are_told_apart() {
        let mut writer = AttachmentWriter::default();
        let (rest, mut losses) = (Rest::new(crate::Dialect::Chat, ""), LossList::default());
        let mut name = || writer.name(Some("a.pdf"), "pdf", &rest, &mut losses);
        assert_eq!((name(), name()), ("a".to_string(), "a 2".to_string()));
    }
}
