//! The screen at 80 and at 200 columns, as text beside this file, and what keys do.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::draw::draw;
use super::feed::{FeedUpdate, Page, TopCounts, counts};
use super::state::{Press, Top, TopView};
use crate::cli::records::RequestsPage;

/// Three nodes, of which one is dead and one has an ejected upstream, with eight requests.
fn page(requests_total: u64) -> Page {
    let mesh = json!({"self": "usa-1", "nodes": [
        {"name": "eur-1", "region": "eur", "state": "ready", "live": true, "phase": "ready", "reach": "open", "rtt_ms": 83.2,
         "serves_requests": true, "services": ["workflow:process"], "upstreams": [
            {"name": "primary", "state": "healthy", "usable": true, "models": ["gpt-4o", "gpt-4o-mini"], "ttft_ms": 310.2,
             "p99_ms": 913.0, "answer_ms": 4210.0, "error_rate": 0.0, "in_flight": 7, "in_flight_max": 1024}]},
        {"name": "sgp-1", "region": "sgp", "state": "unreachable", "live": false, "phase": "ready", "reach": "down", "rtt_ms": 163.0,
         "serves_requests": true, "services": [], "upstreams": [
            {"name": "primary", "state": "unreachable", "reported_state": "healthy", "models": ["gpt-4o"], "in_flight": 0, "in_flight_max": 64}]},
        {"name": "usa-1", "region": "usa", "state": "ready", "live": true, "phase": "ready", "rtt_ms": null,
         "serves_requests": true, "services": ["workflow:process", "async-task:process"], "upstreams": [
            {"name": "primary", "state": "ejected", "reason": "connect", "models": ["gpt-4o"], "ttft_ms": 61.4,
             "error_rate": 0.5, "in_flight": 3, "in_flight_max": 1024},
            {"name": "standby", "state": "probing", "reason": "server-error", "models": ["*"], "ttft_ms": 9.25,
             "p99_ms": 20.0, "error_rate": 0.0, "in_flight": 0, "in_flight_max": 8}]}],
        "summary": {"nodes": {"all": 3, "ready": 2, "unreachable": 1}, "upstreams": {"all": 4, "usable": 1}}});
    let requests: Vec<_> = (0..8_u64).map(request).collect();
    let page: RequestsPage = serde_json::from_value(json!({ "requests": requests })).unwrap();
    let attempts = [(
        ("eur-1".to_owned(), "primary".to_owned()),
        requests_total / 2,
    )];
    Page {
        mesh: serde_json::from_value(mesh).unwrap(),
        requests: page.requests,
        counts: TopCounts {
            requests: requests_total,
            failed: requests_total / 10,
            attempts: attempts.into(),
        },
    }
}

fn request(number: u64) -> serde_json::Value {
    let failed = json!({"node": "usa-1", "upstream": "primary", "outcome": "connect_failed", "reason": "least-cost"});
    let answered = json!({"node": "eur-1", "upstream": "primary", "outcome": "answered", "reason": "fallback"});
    let entry = json!({
        "id": format!("req-{number:04}"), "time": 1_764_036_305.0 - number as f64, "path": "/v1/chat/completions",
        "model": "gpt-4o", "status": 200, "node": "eur-1", "upstream": "primary", "attempts": [failed, answered],
        "first_byte_ms": 311.0, "total_ms": 1_204.5, "tokens_in": 12, "tokens_out": 240, "key": "app",
    });
    match number {
        3 => {
            json!({"id": "req-0003", "time": 1_764_036_302.0, "path": "/v1/models", "status": 401, "error": "missing_api_key"})
        }
        5 => {
            json!({"id": "req-0005", "time": 1_764_036_300.0, "model": "a-model-with-quite-a-long-name-2026-11-22",
            "status": 503, "error": "no_upstream_reachable", "attempts": [failed], "total_ms": 2.0})
        }
        _ => entry,
    }
}

/// A screen that has seen two pages, two seconds apart, and the time of the second.
fn top() -> (Top, Instant) {
    let mut top = Top::new("http://127.0.0.1:9090", true);
    let start = Instant::now();
    top.take(FeedUpdate::Page(Box::new(page(100))), start);
    let now = start + Duration::from_secs(2);
    top.take(FeedUpdate::Page(Box::new(page(200))), now);
    (top, now)
}

/// The screen as text, without blanks at the ends of lines.
fn screen(top: &Top, now: Instant, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, top, now)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(|y| line(y) + "\n").collect()
}

fn assert_looks_like(expected: &str, actual: &str) {
    assert_eq!(actual, expected, "drawn:\n{actual}");
}

#[test]
fn all_of_it_fits_80_columns() {
    let (top, now) = top();
    assert_looks_like(include_str!("all-80.txt"), &screen(&top, now, (80, 24)));
}

#[test]
fn all_of_it_uses_200_columns() {
    let (top, now) = top();
    assert_looks_like(include_str!("all-200.txt"), &screen(&top, now, (200, 30)));
}

#[test]
fn requests_fill_80_columns() {
    let (mut top, now) = top();
    top.press(Press::Letter('4'));
    assert_looks_like(include_str!("requests-80.txt"), &screen(&top, now, (80, 8)));
}

#[test]
fn help_fits_80_columns() {
    let (mut top, now) = top();
    top.press(Press::Letter('?'));
    assert_looks_like(include_str!("help-80.txt"), &screen(&top, now, (80, 24)));
    top.press(Press::Letter('x'));
    assert!(!top.shows_help);
}

#[test]
fn second_line_names_three_keys_that_are_limited_and_counts_the_rest() {
    let (mut top, now) = top();
    let limited: Vec<_> = ["app", "batch", "gvk_5b", "web"]
        .into_iter()
        .map(|key| json!({"key": key, "of": "requests", "window": "minute", "limit": 100, "left_here": 4}))
        .collect();
    let mut page = page(200);
    page.mesh.limits =
        serde_json::from_value(json!({"limited_total": 9, "limited": limited})).unwrap();
    top.take(FeedUpdate::Page(Box::new(page)), now);
    let shown = screen(&top, now, (200, 24));
    let second = shown.lines().nth(1).unwrap();
    let expected = "; limited: app (4 requests here), batch (4 requests here), gvk_5b (4 requests here) and 6 more";
    assert!(second.ends_with(expected), "{second}");
}

#[test]
fn silence_is_shown_with_the_age_of_the_page() {
    let (mut top, now) = top();
    top.take(FeedUpdate::Silence("no node answers".to_owned()), now);
    let drawn = screen(&top, now + Duration::from_secs(7), (80, 24));
    assert!(
        drawn.starts_with("NO ANSWER for 7 s: no node answers"),
        "{drawn}"
    );
    top.take(FeedUpdate::Page(Box::new(page(300))), now);
    assert!(!screen(&top, now, (80, 24)).contains("NO ANSWER"));
}

#[test]
fn views_go_round_and_scroll_from_their_beginning() {
    let (mut top, _) = top();
    top.press(Press::Down(5));
    for view in [
        TopView::Nodes,
        TopView::Upstreams,
        TopView::Requests,
        TopView::All,
    ] {
        top.press(Press::Next);
        assert_eq!((top.view, top.scroll), (view, 0));
    }
    top.press(Press::Before);
    assert_eq!(top.view, TopView::Requests);
    top.press(Press::Up(usize::MAX));
    assert_eq!(top.scroll, 0);
}

#[test]
fn filter_is_typed_kept_and_dropped() {
    let (mut top, now) = top();
    top.press(Press::Letter('/'));
    for letter in "QUITE".chars() {
        assert!(!top.press(Press::Letter(letter)), "q is a letter now");
    }
    top.press(Press::Enter);
    top.press(Press::Letter('4'));
    let drawn = screen(&top, now, (200, 10));
    assert!(
        drawn.contains("quite-a-long-name") && !drawn.contains("req-0001"),
        "{drawn}"
    );
    assert!(!top.press(Press::Escape), "the filter goes first");
    assert!(top.press(Press::Escape));
}

#[test]
fn updates_while_paused_are_ignored() {
    let (mut top, now) = top();
    top.press(Press::Letter('p'));
    top.take(FeedUpdate::Page(Box::default()), now);
    assert_eq!(top.page.mesh.nodes.len(), 3);
    assert!(screen(&top, now, (80, 24)).starts_with("PAUSED"));
}

#[test]
fn rates_are_over_the_time_between_pages_and_none_after_a_restart() {
    let (mut top, now) = top();
    let rates = top.rates.clone().unwrap();
    assert_eq!((rates.requests, rates.failed), (50.0, 5.0));
    top.take(
        FeedUpdate::Page(Box::new(page(5))),
        now + Duration::from_secs(1),
    );
    assert!(top.rates.is_none());
}

#[test]
fn any_size_is_drawn() {
    let (mut top, now) = top();
    for press in ['1', '2', '3', '4', '?'] {
        top.press(Press::Letter(press));
        for (width, height) in [(1, 1), (2, 2), (20, 3), (79, 5), (500, 2)] {
            assert_eq!(
                screen(&top, now, (width, height)).lines().count(),
                usize::from(height)
            );
        }
    }
}

#[test]
fn counts_are_read_from_metrics_and_the_rest_is_ignored() {
    let text = "# TYPE x counter\n\
        grapevine_requests_total{status=\"2xx\"} 9\n\
        grapevine_requests_ended_total{end=\"answered\"} 5\ngrapevine_requests_ended_total{end=\"refused\"} 1\n\
        grapevine_requests_ended_total{end=\"failed\"} 2 123\ngrapevine_requests_ended_total{end=\"broken_off\"} 1\n\
        grapevine_attempts_total{node=\"usa\",upstream=\"a\",outcome=\"answered\"} 5\n\
        grapevine_attempts_total{node=\"usa\",upstream=\"a\",outcome=\"reset\"} 1\n\
        grapevine_attempts_total{broken 3\ngrapevine_requests_ended_total{end=\"answered\"} nan\nother{a=\"b\"} 9\n# EOF\n";
    let counts = counts(text);
    assert_eq!((counts.requests, counts.failed), (9, 3));
    assert_eq!(counts.attempts[&("usa".to_owned(), "a".to_owned())], 6);
}
