//! The formats of attachments, which Converse names by file extension and the hub by media type.

use crate::hub::part::AttachmentKind;

use AttachmentKind::{Audio, Document, Image, Video};

/// By kind, the format and the media type; of several media types the first is the one that is written.
const FORMATS: [(AttachmentKind, &str, &str); 30] = [
    (Image, "png", "image/png"),
    (Image, "jpeg", "image/jpeg"),
    (Image, "jpeg", "image/jpg"),
    (Image, "gif", "image/gif"),
    (Image, "webp", "image/webp"),
    (Document, "pdf", "application/pdf"),
    (Document, "csv", "text/csv"),
    (Document, "doc", "application/msword"),
    (
        Document,
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (Document, "xls", "application/vnd.ms-excel"),
    (
        Document,
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    (Document, "html", "text/html"),
    (Document, "txt", "text/plain"),
    (Document, "md", "text/markdown"),
    (Video, "mp4", "video/mp4"),
    (Video, "mov", "video/quicktime"),
    (Video, "mkv", "video/x-matroska"),
    (Video, "webm", "video/webm"),
    (Video, "flv", "video/x-flv"),
    (Video, "mpeg", "video/mpeg"),
    (Video, "wmv", "video/x-ms-wmv"),
    (Video, "three_gp", "video/3gpp"),
    (Audio, "mp3", "audio/mp3"),
    (Audio, "mp3", "audio/mpeg"),
    (Audio, "wav", "audio/wav"),
    (Audio, "aac", "audio/aac"),
    (Audio, "flac", "audio/flac"),
    (Audio, "ogg", "audio/ogg"),
    (Audio, "opus", "audio/opus"),
    (Audio, "mp4", "audio/mp4"),
];

/// The media type of a format.
pub(super) fn media_type_of(kind: AttachmentKind, format: &str) -> Option<&'static str> {
    FORMATS
        .iter()
        .find(|(of, name, _)| *of == kind && *name == format)
        .map(|(_, _, media_type)| *media_type)
}

/// The format of a media type, whose parameters are left out.
pub(super) fn format_of(kind: AttachmentKind, media_type: &str) -> Option<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    FORMATS
        .iter()
        .find(|(of, _, name)| *of == kind && *name == essence)
        .map(|(_, format, _)| *format)
}

/// The format that the end of a file's name stands for.
pub(super) fn format_of_name(kind: AttachmentKind, name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let extension = match extension {
        "jpg" => "jpeg",
        "3gp" => "three_gp",
        "mpg" => "mpeg",
        other => other,
    };
    FORMATS
        .iter()
        .find(|(of, format, _)| *of == kind && *format == extension)
        .map(|(_, format, _)| *format)
}

/// The format of an attachment that does not say what it holds.
pub(super) const fn default_of(kind: AttachmentKind) -> &'static str {
    match kind {
        Image => "png",
        Document => "pdf",
        Audio => "wav",
        Video => "mp4",
    }
}

/// The kind of what a media type says; a dialect may call everything a file.
pub(super) fn kind_of(kind: AttachmentKind, media_type: Option<&str>) -> AttachmentKind {
    let prefix = media_type.and_then(|media_type| media_type.split_once('/'));
    match (kind, prefix) {
        (Document, Some(("image", _))) => Image,
        (Document, Some(("video", _))) => Video,
        (Document, Some(("audio", _))) => Audio,
        _ => kind,
    }
}

/// The block of a kind.
pub(super) const fn block_of(kind: AttachmentKind) -> &'static str {
    match kind {
        Image => "image",
        Document => "document",
        Audio => "audio",
        Video => "video",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_comes_back_from_its_media_type() {
        for (kind, format, _) in FORMATS {
            let media_type = media_type_of(kind, format).unwrap();
            assert_eq!(format_of(kind, media_type), Some(format));
        }
    }

    #[test]
    fn parameters_and_other_spellings_are_understood() {
        assert_eq!(
            format_of(Document, "text/plain; charset=utf-8"),
            Some("txt")
        );
        assert_eq!(format_of(Image, "image/jpg"), Some("jpeg"));
        assert_eq!(format_of_name(Image, "a.b.jpg"), Some("jpeg"));
        assert_eq!(format_of(Image, "image/tiff"), None);
    }
}
