//! What is shown, and how keys change it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::feed::{FeedUpdate, Page, TopCounts};

/// The longest filter, in characters.
const FILTER_MAX: usize = 64;

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopView {
    /// Nodes, upstreams and requests, as many lines as there is room for.
    All,
    Nodes,
    Upstreams,
    Requests,
}

impl TopView {
    const ORDER: [Self; 4] = [Self::All, Self::Nodes, Self::Upstreams, Self::Requests];

    fn step(self, by: usize) -> Self {
        let at = Self::ORDER
            .iter()
            .position(|view| *view == self)
            .unwrap_or(0);
        Self::ORDER[(at + by) % Self::ORDER.len()]
    }
}

/// What somebody pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Letter(char),
    Enter,
    Escape,
    Erase,
    Next,
    Before,
    Down(usize),
    Up(usize),
    Quit,
}

/// Per second, over the time between the last two pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) failed: f64,
    /// Attempts that this node sent, by owner and upstream.
    pub(super) attempts: BTreeMap<(String, String), f64>,
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// The URL of the node that is asked.
    pub(super) url: String,
    pub(super) in_colour: bool,
    pub(super) page: Page,
    /// `None` until there are two pages to compare.
    pub(super) rates: Option<Rates>,
    /// When the page arrived.
    taken_at: Option<Instant>,
    /// Why there is no newer page; `None` when there is.
    pub(super) silence: Option<String>,
    pub(super) view: TopView,
    /// Lines that hold this, in whatever case, are shown.
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// Whether updates are ignored.
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Lines of the view that are above the screen.
    pub(super) scroll: usize,
}

impl Top {
    /// Nothing yet.
    pub(super) fn new(url: &str, in_colour: bool) -> Self {
        Self {
            url: url.to_owned(),
            in_colour,
            page: Page::default(),
            rates: None,
            taken_at: None,
            silence: None,
            view: TopView::All,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            shows_help: false,
            scroll: 0,
        }
    }

    /// Applies an update that arrived at `now`.
    pub(super) fn take(&mut self, update: FeedUpdate, now: Instant) {
        match update {
            FeedUpdate::Page(page) if !self.is_paused => {
                let since = self
                    .taken_at
                    .map(|taken_at| now.saturating_duration_since(taken_at));
                self.rates = since.and_then(|since| rates(&self.page.counts, &page.counts, since));
                self.page = *page;
                self.taken_at = Some(now);
                self.silence = None;
            }
            FeedUpdate::Page(_) | FeedUpdate::End => {}
            FeedUpdate::Silence(cause) => self.silence = Some(cause),
        }
    }

    /// How old the page is.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let taken_at = self.taken_at.unwrap_or(now);
        now.saturating_duration_since(taken_at)
    }

    /// Handles a key press; returns whether it ends the program.
    pub(super) fn press(&mut self, press: Press) -> bool {
        if press == Press::Quit {
            return true;
        }
        if self.is_typing {
            self.type_filter(press);
            return false;
        }
        if self.shows_help {
            self.shows_help = false;
            return false;
        }
        match press {
            Press::Letter('q') => return true,
            Press::Escape if self.filter.is_empty() => return true,
            Press::Escape => self.filter.clear(),
            Press::Letter('/') => self.is_typing = true,
            Press::Letter('p') => self.is_paused = !self.is_paused,
            Press::Letter('?' | 'h') => self.shows_help = true,
            Press::Letter('1') => self.show(TopView::All),
            Press::Letter('2') => self.show(TopView::Nodes),
            Press::Letter('3') => self.show(TopView::Upstreams),
            Press::Letter('4') => self.show(TopView::Requests),
            Press::Next => self.show(self.view.step(1)),
            Press::Before => self.show(self.view.step(TopView::ORDER.len() - 1)),
            Press::Letter('j') => self.scroll = self.scroll.saturating_add(1),
            Press::Letter('k') => self.scroll = self.scroll.saturating_sub(1),
            Press::Down(by) => self.scroll = self.scroll.saturating_add(by),
            Press::Up(by) => self.scroll = self.scroll.saturating_sub(by),
            Press::Letter(_) | Press::Enter | Press::Erase | Press::Quit => {}
        }
        false
    }

    fn show(&mut self, view: TopView) {
        self.view = view;
        self.scroll = 0;
    }

    fn type_filter(&mut self, press: Press) {
        match press {
            Press::Letter(letter) if self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(letter)
            }
            Press::Erase => {
                self.filter.pop();
            }
            Press::Enter => self.is_typing = false,
            Press::Escape => {
                self.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
        self.scroll = 0;
    }

    /// Whether a line with these cells is shown.
    pub(super) fn shows(&self, cells: &[String]) -> bool {
        let filter = self.filter.to_lowercase();
        filter.is_empty()
            || cells
                .iter()
                .any(|cell| cell.to_lowercase().contains(&filter))
    }
}

/// `None` where counts went back: the node restarted.
fn rates(before: &TopCounts, after: &TopCounts, since: Duration) -> Option<Rates> {
    let seconds = since.as_secs_f64();
    if seconds <= 0.0 || after.requests < before.requests {
        return None;
    }
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let attempts = after.attempts.iter().map(|(way, count)| {
        let before = before.attempts.get(way).copied().unwrap_or(0);
        (way.clone(), rate(before, *count))
    });
    Some(Rates {
        requests: rate(before.requests, after.requests),
        failed: rate(before.failed, after.failed),
        attempts: attempts.collect(),
    })
}
