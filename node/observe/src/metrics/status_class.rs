//! Statuses by class: the labels of `grapevine_requests_total`.

/// All of them.
pub(super) const STATUS_CLASSES: [&str; 6] = ["2xx", "3xx", "4xx", "429", "499", "5xx"];

/// The class of `status`.
pub(super) const fn status_class(status: u16) -> &'static str {
    match status {
        499 => "499",
        429 => "429",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=498 => "4xx",
        _ => "5xx",
    }
}
