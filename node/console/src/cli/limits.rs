//! Limits of keys as lines of text.

use std::time::Duration;

use grapevine_base::page::{LimitEntry, LimitsEntry};
use grapevine_base::table::printable;
use grapevine_config::text::format_duration;
use serde::Deserialize;

/// One limit of the key that `explain` was asked about, read tolerantly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitPart {
    of: String,
    limit: u64,
    window: String,
    left: Option<LeftPart>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct LeftPart {
    all: u64,
    here: u64,
    whole_again_in_ms: f64,
}

impl LimitPart {
    /// What the key may still do, and how much of that at the node.
    pub(super) fn line(&self) -> String {
        let limit = self;
        let entry = LimitEntry {
            of: limit.of.clone(),
            window: limit.window.clone(),
            limit: limit.limit,
            ..LimitEntry::default()
        };
        let whole = entry.whole();
        let Some(left) = limit.left else {
            return format!("{whole}; not used at this node lately");
        };
        let (all, here) = (entry.amount(left.all), entry.amount(left.here));
        let again = Duration::from_millis(left.whole_again_in_ms.max(0.0) as u64);
        let again = format_duration(Duration::from_secs(again.as_secs_f64().ceil() as u64));
        format!("{whole}: {all} left, {here} of them here; whole again in {again}")
    }
}

/// A line for each kind of fault, and one for each limit at which requests are refused.
pub(super) fn lines(limits: &LimitsEntry) -> Vec<String> {
    let faults = limits.faults.iter().filter(|(_, count)| **count > 0);
    let faults = faults.map(|(kind, count)| {
        let what = match kind.as_str() {
            "store_is_old" => {
                "limits.file is older than what peers know: its share of this day's and month's budgets is forfeited"
            }
            "clock_differs" => "most peers have another time: it spends nothing of budgets",
            "unsaved" => "limits.file cannot be written: it opens nothing more of budgets",
            other => return format!("limits: {} ({count} times)", printable(other)),
        };
        format!("limits: {what} ({count} times since its start)")
    });
    let shown = limits.limited.iter().map(limit_line);
    let hidden = (limits.limited_total).saturating_sub(limits.limited.len() as u64);
    let hidden = (hidden > 0).then(|| format!("{hidden} more limits have refused requests"));
    faults.chain(shown).chain(hidden).collect()
}

fn limit_line(limit: &LimitEntry) -> String {
    let ago = limit.refused_ms_ago.unwrap_or_default();
    let ago = format_duration(Duration::from_secs((ago / 1_000.0).max(0.0) as u64));
    let holder = match limit.account {
        true => "account",
        false => "key",
    };
    let key = printable(&limit.key);
    let model = limit.model.as_deref().map(printable);
    let model = model.map_or_else(String::new, |model| format!(" for {model}"));
    let (whole, left) = (limit.whole(), limit.amount(limit.left));
    let here = limit.amount(limit.left_here);
    format!(
        "{holder} {key} is limited{model} to {whole}: {left} left, {here} here; {} refused, the last {ago} ago",
        limit.refused
    )
}

#[cfg(test)]
mod tests {
    use grapevine_base::page::MeshPage;

    use super::*;

    #[test]
    fn limited_keys_and_faults_of_limits_are_shown() {
        let page = r#"{"self": "a", "limits": {"limited_total": 4, "limited": [
            {"key": "app", "of": "requests", "window": "minute", "limit": 100, "left": 3, "left_here": 0, "refused": 12,
             "refused_ms_ago": 4200.5},
            {"key": "app", "model": "m", "of": "concurrency", "window": "at once", "limit": 5, "left": 1, "left_here": 1,
             "refused": 2, "refused_ms_ago": 4200.5},
            {"key": "gvk_5b", "of": "budget", "window": "month", "limit": 50000000, "left": 1230000, "left_here": 20000,
             "refused": 1, "refused_ms_ago": 65000}],
            "faults": {"unsaved": 2, "clock_differs": 0}}}"#;
        let page: MeshPage = serde_json::from_str(page).unwrap();
        assert_eq!(
            lines(&page.limits),
            [
                "limits: limits.file cannot be written: it opens nothing more of budgets (2 times since its start)",
                "key app is limited to 100 requests a minute: 3 requests left, 0 requests here; 12 refused, the last 4s ago",
                "key app is limited for m to 5 requests at once: 1 requests left, 1 requests here; 2 refused, the last 4s ago",
                "key gvk_5b is limited to $50.00 a month: $1.23 left, $0.02 here; 1 refused, the last 65s ago",
                "1 more limits have refused requests",
            ]
        );
    }
}
