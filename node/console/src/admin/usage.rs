//! What was used, summed over the mesh or at this node.

use async_trait::async_trait;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use grapevine_base::clock;
use grapevine_config::text::parse_duration;
use grapevine_core::date::CalendarDay;
use grapevine_observe::usage_book::UsageGroup;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;

/// How far back sums go where the caller says nothing: this day and the 29 before it.
const DAYS_DEFAULT: u32 = 29;

/// Sums what was used.
#[async_trait]
pub trait ShowUsage: Send + Sync + 'static {
    /// Sums since the beginning of a day, of the whole mesh as far as it can be reached, or of this node alone.
    async fn sum(&self, since: CalendarDay, by: Vec<UsageGroup>, is_mesh: bool) -> Value;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageQuery {
    by: Option<String>,
    since: Option<String>,
    scope: Option<String>,
}

pub(super) async fn show(State(admin): State<Admin>, Query(query): Query<UsageQuery>) -> Response {
    match read(&query) {
        Ok((since, by, is_mesh)) => Json(admin.usage.sum(since, by, is_mesh).await).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

fn read(query: &UsageQuery) -> Result<(CalendarDay, Vec<UsageGroup>, bool), String> {
    let since = match query.since.as_deref() {
        None => days_ago(std::time::Duration::from_secs(86_400) * DAYS_DEFAULT),
        Some(text) => text
            .parse()
            .or_else(|_| parse_duration(text).map(days_ago))
            .map_err(|_| {
                format!("since: {text:?} is neither a day (2027-01-31) nor a duration (7d)")
            })?,
    };
    let by = query.by.as_deref().unwrap_or("key");
    let groups = by.split(',').map(str::trim).filter(|name| !name.is_empty());
    let groups = groups.map(|name| {
        let found = UsageGroup::ALL
            .into_iter()
            .find(|group| group.as_str() == name);
        found.ok_or_else(|| {
            format!("by: {name:?} is none of key, model, upstream, account, region, day")
        })
    });
    let mut groups: Vec<UsageGroup> = groups.collect::<Result<_, _>>()?;
    let mut seen = Vec::new();
    groups.retain(|group| {
        let is_new = !seen.contains(group);
        seen.push(*group);
        is_new
    });
    let is_mesh = match query.scope.as_deref() {
        None | Some("mesh") => true,
        Some("node") => false,
        Some(other) => return Err(format!("scope: {other:?} is neither mesh nor node")),
    };
    Ok((since, groups, is_mesh))
}

fn days_ago(span: std::time::Duration) -> CalendarDay {
    CalendarDay::of(clock::wall().saturating_sub(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(by: &str, since: Option<&str>, scope: Option<&str>) -> UsageQuery {
        UsageQuery {
            by: Some(by.to_owned()),
            since: since.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn question_is_read_and_what_is_wrong_with_it_is_named() {
        let (since, by, is_mesh) =
            read(&query("day, key,day", Some("2026-11-01"), None)).expect("a question");
        assert_eq!(since.to_string(), "2026-11-01");
        assert_eq!(
            (by, is_mesh),
            (vec![UsageGroup::Day, UsageGroup::Key], true)
        );
        assert!(read(&query("", Some("7d"), Some("node"))).is_ok_and(|read| read.1.is_empty()));
        for (query, key) in [
            (query("prompt", None, None), "by:"),
            (query("key", Some("yesterday"), None), "since:"),
            (query("key", None, Some("world")), "scope:"),
        ] {
            assert!(read(&query).is_err_and(|error| error.starts_with(key)));
        }
    }
}
