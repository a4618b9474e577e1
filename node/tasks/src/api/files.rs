//! `/v1/files`: OpenAI's Files API. A file is complete before its id can be used.

use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use grapevine_base::exchange::TaskCaller;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::extract::{Query, Who};
use super::form::Form;
use super::{quota, show};
use crate::hub::Hub;
use crate::id::{Id, Kind};
use crate::store::{FILE_BYTES_MAX, FileRecord, PAGE_MAX, PIECE_BYTES, StoreError, is_permitted};
use crate::task::{CheckedText, Submitter, Timestamp};
use crate::upload::{Upload, UploadError};

/// What a file may be for, in OpenAI's words; this API itself uses `batch` alone.
const PURPOSES: [&str; 6] = [
    "assistants",
    "batch",
    "evals",
    "fine-tune",
    "user_data",
    "vision",
];

/// The longest name that an upload may give.
const FILENAME_BYTES_MAX: usize = 255;

/// The longest field beside the file.
const FIELD_BYTES_MAX: usize = 1_024;

/// Room for what stands around the parts of an upload.
const FORM_BYTES: usize = 64 * 1_024;

/// The shortest and longest lifetime that an upload may request (OpenAI's limits).
const LIFETIME_SECONDS: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

pub(super) fn router() -> Router<Hub> {
    let limit = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
    Router::new()
        .route("/v1/files", post(upload).get(list))
        .route("/v1/files/{id}", get(look).delete(delete))
        .route("/v1/files/{id}/content", get(content))
        .layer(DefaultBodyLimit::max(limit.saturating_add(FORM_BYTES)))
}

/// A file as clients see it.
fn shown(record: &FileRecord) -> Value {
    json!({
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_at.seconds(),
        "expires_at": record.expires_at.map(Timestamp::seconds),
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": null,
    })
}

/// The fields of an upload beside the file.
#[derive(Default)]
struct Fields {
    purpose: Option<String>,
    expires_after: Option<u64>,
    /// The file's name and length, once it is in.
    file: Option<(String, u64)>,
}

async fn upload(
    State(hub): State<Hub>,
    Extension(caller): Who,
    form: Result<Form, MultipartRejection>,
) -> Result<Json<Value>, ApiError> {
    let Form(mut parts) = form.map_err(|error| ApiError::invalid("file", error.body_text()))?;
    let id = hub.new_id(Kind::File);
    let account = Submitter::of(&caller).account();
    let refused = |error| quota::refused_upload(&hub, &caller, error);
    let mut upload = Upload::begin(&hub, id.clone(), account.clone())
        .await
        .map_err(refused)?;
    let mut fields = Fields::default();
    while let Some(field) = parts.next_field().await.map_err(broken)? {
        match field.name().unwrap_or_default() {
            "file" if fields.file.is_some() => {
                return Err(ApiError::invalid("file", "there is more than one file"));
            }
            "file" => {
                let name = filename(&field)?;
                keep(field, &mut upload, refused).await?;
                fields.file = Some((name, upload.bytes()));
            }
            "purpose" => fields.purpose = Some(text(field, "purpose").await?),
            "expires_after[seconds]" => {
                let text = text(field, "expires_after").await?;
                fields.expires_after = Some(lifetime(&text)?);
            }
            "expires_after[anchor]" => {
                let anchor = text(field, "expires_after").await?;
                if anchor != "created_at" {
                    let message = format!("anchor '{anchor}' must be created_at");
                    return Err(ApiError::invalid("expires_after", message));
                }
            }
            // Fields of later versions.
            _ => {}
        }
    }
    let record = record((id, account), fields, &caller)?;
    upload.complete(record.clone()).await.map_err(refused)?;
    Ok(Json(shown(&record)))
}

fn record(
    (id, account): (Id, String),
    fields: Fields,
    caller: &TaskCaller,
) -> Result<FileRecord, ApiError> {
    let missing = |param| ApiError::invalid(param, "is missing");
    let (filename, bytes) = fields.file.ok_or_else(|| missing("file"))?;
    let purpose = fields.purpose.ok_or_else(|| missing("purpose"))?;
    if !PURPOSES.contains(&purpose.as_str()) {
        let message = format!("'{purpose}' must be one of {}", PURPOSES.join(", "));
        return Err(ApiError::invalid("purpose", message));
    }
    if bytes == 0 {
        return Err(ApiError::invalid("file", "the file is empty"));
    }
    let created_at = Timestamp::now();
    let lifetime = fields.expires_after.map(Duration::from_secs);
    Ok(FileRecord {
        id,
        filename,
        purpose,
        key: caller.key.as_deref().map(str::to_owned),
        account,
        regions: caller.regions.iter().cloned().map(CheckedText).collect(),
        bytes,
        created_at,
        expires_at: lifetime.map(|lifetime| created_at.after(lifetime)),
    })
}

fn filename(field: &Field<'_>) -> Result<String, ApiError> {
    let name = field.file_name().unwrap_or("upload");
    if name.len() > FILENAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message =
            format!("the file's name must have at most {FILENAME_BYTES_MAX} printable bytes");
        return Err(ApiError::invalid("file", message));
    }
    Ok(name.to_owned())
}

fn lifetime(text: &str) -> Result<u64, ApiError> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| LIFETIME_SECONDS.contains(seconds))
        .ok_or_else(|| {
            let (least, most) = LIFETIME_SECONDS.into_inner();
            let message = format!("seconds '{text}' must be {least} to {most}");
            ApiError::invalid("expires_after", message)
        })
}

async fn text(mut field: Field<'_>, param: &'static str) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        text.extend_from_slice(&chunk);
        if text.len() > FIELD_BYTES_MAX {
            return Err(ApiError::invalid(param, "is too long"));
        }
    }
    String::from_utf8(text).map_err(|_| ApiError::invalid(param, "is no UTF-8 text"))
}

/// Keeps a file's pieces as they come.
async fn keep(
    mut field: Field<'_>,
    upload: &mut Upload,
    refused: impl Fn(UploadError) -> ApiError,
) -> Result<(), ApiError> {
    let mut buffer = BytesMut::new();
    loop {
        let chunk = field.chunk().await.map_err(broken)?;
        let is_last = chunk.is_none();
        buffer.extend_from_slice(&chunk.unwrap_or_default());
        while buffer.len() >= PIECE_BYTES || (is_last && !buffer.is_empty()) {
            let piece = buffer.split_to(buffer.len().min(PIECE_BYTES)).freeze();
            if upload.bytes() + piece.len() as u64 > FILE_BYTES_MAX {
                let what = "the file".to_owned();
                return Err(StoreError::TooLong {
                    what,
                    max: FILE_BYTES_MAX,
                }
                .into());
            }
            upload.put(piece).await.map_err(&refused)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

fn broken(error: MultipartError) -> ApiError {
    if let Some(slow) = ApiError::of_body(&error) {
        return slow;
    }
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StoreError::TooLong {
            what: "the upload".to_owned(),
            max: FILE_BYTES_MAX,
        }
        .into(),
        _ => ApiError::invalid("file", error.body_text()),
    }
}

/// Which files to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    purpose: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    /// `desc` alone: the newest first.
    order: Option<String>,
}

async fn list(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    if query.order.as_deref().is_some_and(|order| order != "desc") {
        return Err(ApiError::invalid(
            "order",
            "must be desc: the newest come first",
        ));
    }
    let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let mut before = query.after.as_deref().map(str::parse::<Id>).transpose();
    let before = before
        .as_mut()
        .map_err(|error| ApiError::invalid("after", error.to_string()))?;
    let is_wanted = |record: &FileRecord| {
        let purpose = query.purpose.as_ref();
        record.id.kind() == Kind::File
            && is_permitted(&record.regions, hub.region())
            && purpose.is_none_or(|purpose| record.purpose == *purpose)
    };
    let mut found = Vec::new();
    // What is not wanted is skipped page by page.
    while found.len() <= limit {
        let page = hub
            .store()
            .files(caller.key.as_deref(), before.as_ref(), PAGE_MAX)
            .await?;
        let Some(last) = page.last() else {
            break;
        };
        *before = Some(last.id.clone());
        let was_full = page.len() == PAGE_MAX;
        found.extend(page.into_iter().filter(is_wanted));
        if !was_full {
            break;
        }
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let id = |record: Option<&FileRecord>| record.map(|record| record.id.clone());
    Ok(Json(json!({
        "object": "list",
        "data": found.iter().map(shown).collect::<Vec<_>>(),
        "first_id": id(found.first()),
        "last_id": id(found.last()),
        "has_more": has_more,
    })))
}

async fn look(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (record, _) = find(&hub, &caller, &id).await?;
    Ok(Json(shown(&record)))
}

async fn delete(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (record, store) = find(&hub, &caller, &id).await?;
    let deleted = store.delete_file(&record.id).await?;
    Ok(Json(
        json!({"id": record.id, "object": "file", "deleted": deleted}),
    ))
}

/// A file that is the caller's to see, and the store that keeps it.
pub(super) async fn find(
    hub: &Hub,
    caller: &TaskCaller,
    name: &str,
) -> Result<(FileRecord, std::sync::Arc<dyn crate::store::Store>), ApiError> {
    show::find_file(hub, caller, Kind::File, "file", name).await
}

async fn content(
    State(hub): State<Hub>,
    Extension(caller): Who,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (record, store) = find(&hub, &caller, &id).await?;
    let length = HeaderValue::from(record.bytes);
    let pieces = stream::try_unfold((store, record.id, 0), |(store, id, number)| async move {
        let piece: Option<Bytes> = store.piece(&id, number).await?;
        Ok::<_, StoreError>(piece.map(|piece| (piece, (store, id, number + 1))))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(response)
}
