//! The load of a self-hosted engine by its own metrics: what it runs, what waits, how full its cache is.
//!
//! A node counts what it sent itself, and an engine may serve others too; and requests in flight say nothing of long
//! prompts, which fill the memory before the slots. So where an engine reports its load, its figures become **one
//! number**, the requests that it holds, in the unit in which load is published and compared anyway:
//!
//! `requests = max(running + waiting, cache usage x slots)`, and their share is `requests / slots`.
//!
//! Below 1 it is the part of the slots, or of the cache, that is in use; what is beyond 1 waits. So the rule by which
//! figures are published again, the mark at which an upstream is hot, and what is added for own requests since then are
//! those of requests in flight, and a node of an earlier version reads it as such.
//!
//! No engine reports its slots (vLLM's `--max-num-seqs`), and long prompts make them fewer than are configured. So they
//! are learned: while requests wait, all slots are taken, and what runs is what fits. That counts at once, and beyond the
//! next reading only where that one shows a queue too, since each request waits for the engine's next step. More that
//! run without a queue are as many slots; and what was learned doubles in ten minutes in which nothing waits. Not sooner:
//! an engine that is nearly full has no queue for most of the time, and each slot too many is a request that waits.
//!
//! The wait behind `q` others is `(q + 1) x slot time / slots`: with all slots taken one becomes free so often. The slot
//! time comes from Little's law (Little, 1961): the mean of `running` over a span, times the span, divided by the
//! requests that ended in it.

use std::time::Duration;

use crate::time::Instant;
use crate::units::Share;

/// Readings with requests that wait, one after the other, that show that all slots are taken.
const FULL_READINGS: u32 = 2;

/// Slots that were learned double in this span without a queue.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Ended requests in which all but 1/e of the slot time is forgotten.
const ENDED: f64 = 32.0;

/// Tokens read that were not cached, in which all but 1/e of their time is forgotten: some ten long prompts.
const READ_TOKENS: f64 = 50_000.0;

/// Figures are dropped after this span without new ones, or after [`STALE_READINGS`] where that is longer.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Readings without an answer after which figures are dropped.
const STALE_READINGS: u32 = 5;

/// The pause between readings that fail doubles up to so many times.
const FAILED_DOUBLINGS_MAX: u32 = 5;

/// An upstream that has no such metrics is asked again after this span.
const ABSENT_PAUSE: Duration = Duration::from_secs(60);

/// Tokens in a KiB of text: four bytes each, as English has it.
pub const TOKENS_PER_KIB: f64 = 256.0;

/// No request holds its slot for longer, and no 1,000 tokens take longer to read.
const SPAN_MAX: Duration = Duration::from_secs(3_600);

/// What one reading of an engine's metrics shows, over all of its models.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineMetrics {
    /// Requests that it runs.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// The share of its cache that running requests use; `None` where it does not say.
    pub cache_usage: Option<Share>,
    /// Requests that ended since it started; `None` where it does not say.
    pub ended: Option<u64>,
    /// What it read into its cache since it started; `None` where it does not say.
    pub prefill: Option<Prefill>,
}

/// What an engine read of prompts beyond what its cache held already.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prefill {
    /// Seconds that it took; at least zero.
    pub seconds: f64,
    /// Tokens that were read.
    pub tokens: u64,
}

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadReading {
    /// With figures.
    Read(EngineMetrics),
    /// The upstream has no such metrics.
    Absent,
    /// Without an answer, or with one that cannot be used.
    Failed,
}

/// What an owner publishes of an engine beside the requests that it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedLoad {
    /// The age of the figures. To the second.
    pub age: Duration,
    /// How long a request holds its slot; `None` where that is not known.
    pub slot_time: Option<Duration>,
    /// What 1,000 tokens of a prompt take that are not in the cache; `None` where that is not known.
    pub prefill: Option<Duration>,
}

impl ReportedLoad {
    /// How long a request would wait behind `in_flight` others at an engine with so many `slots`; `None` where the
    /// slot time is not known.
    pub fn wait(&self, in_flight: u32, slots: u32) -> Option<Duration> {
        let slots = slots.max(1);
        let Some(waiting) = in_flight.checked_sub(slots) else {
            return Some(Duration::ZERO);
        };
        let turns = (f64::from(waiting) + 1.0) / f64::from(slots);
        let wait = self.slot_time?.as_secs_f64() * turns;
        Some(Duration::from_secs_f64(wait.min(SPAN_MAX.as_secs_f64())))
    }
}

/// Reads one upstream's load in time, and keeps what the readings show.
#[derive(Clone, Debug)]
pub struct LoadMeter {
    /// The pause between two readings; `None` where it is not read.
    interval: Option<Duration>,
    due: ReadingDue,
    last: Option<TakenReading>,
    failures: u32,
    full_readings: u32,
    /// What ran when the last reading showed a queue, and the one before none.
    full_at: Option<u32>,
    slots: f64,
    slots_max: u32,
    /// `running` over time since `ended` was last seen to grow, in request seconds.
    held: f64,
    ended: Option<u64>,
    slot_time: Option<f64>,
    prefilled: Option<Prefill>,
    /// Recent seconds and tokens: the parts of a ratio, since an engine counts tokens when it begins a request, and
    /// seconds when it is done.
    prefill: (f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ReadingDue {
    /// Then.
    At(Instant),
    /// One runs since then, with so many requests in flight that this node had sent.
    Running(Instant, u32),
}

#[derive(Clone, Copy, Debug)]
struct TakenReading {
    at: Instant,
    metrics: EngineMetrics,
    own: u32,
}

impl LoadMeter {
    /// The meter of an upstream that is read every `interval`, if at all, and has at most `slots_max`.
    pub fn new(now: Instant, interval: Option<Duration>, slots_max: u32) -> Self {
        Self {
            interval,
            due: ReadingDue::At(now),
            last: None,
            failures: 0,
            full_readings: 0,
            full_at: None,
            slots: f64::from(slots_max.max(1)),
            slots_max: slots_max.max(1),
            held: 0.0,
            ended: None,
            slot_time: None,
            prefilled: None,
            prefill: (0.0, 0.0),
        }
    }

    /// Takes another configuration; one that is the same keeps what was learned.
    pub fn reconfigure(&mut self, now: Instant, interval: Option<Duration>, slots_max: u32) {
        if (interval, slots_max.max(1)) != (self.interval, self.slots_max) {
            *self = Self::new(now, interval, slots_max);
        }
    }

    /// When the next reading is due, or the last one too old; `None` while neither comes by time.
    pub fn next_change(&self) -> Option<Instant> {
        let interval = self.interval?;
        let due = match self.due {
            ReadingDue::At(at) => Some(at),
            ReadingDue::Running(..) => None,
        };
        let stale = self.last.map(|last| last.at + stale_after(interval));
        due.into_iter().chain(stale).min()
    }

    /// Begins a reading where one is due, with `own` requests of this node in flight.
    pub fn begin(&mut self, now: Instant, own: u32) -> bool {
        let is_due = self.interval.is_some() && matches!(self.due, ReadingDue::At(at) if at <= now);
        if is_due {
            self.due = ReadingDue::Running(now, own);
        }
        is_due
    }

    /// Drops figures that are too old. Whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let is_stale = |last: TakenReading| {
            let interval = self.interval.unwrap_or_default();
            now.since(last.at) >= stale_after(interval)
        };
        let expires = self.last.is_some_and(is_stale);
        if expires {
            self.forget();
        }
        expires
    }

    /// Takes how a reading ended. Whether there are figures now, or no longer.
    pub fn ended(&mut self, now: Instant, reading: LoadReading) -> bool {
        let ReadingDue::Running(began_at, own) = self.due else {
            // Of a configuration that is gone.
            return false;
        };
        let interval = self.interval.unwrap_or(ABSENT_PAUSE);
        match reading {
            LoadReading::Read(metrics) => {
                self.due = ReadingDue::At(now.max(began_at + interval));
                self.failures = 0;
                self.take(now, metrics, own);
                true
            }
            LoadReading::Failed => {
                let doublings = self.failures.min(FAILED_DOUBLINGS_MAX);
                self.failures = self.failures.saturating_add(1);
                self.due = ReadingDue::At(now + interval.saturating_mul(1 << doublings));
                false
            }
            LoadReading::Absent => {
                self.due = ReadingDue::At(now + interval.max(ABSENT_PAUSE));
                let had_figures = self.last.is_some();
                self.forget();
                had_figures
            }
        }
    }

    fn forget(&mut self) {
        let (due, failures) = (self.due, self.failures);
        *self = Self::new(Instant::START, self.interval, self.slots_max);
        (self.due, self.failures) = (due, failures);
    }

    fn take(&mut self, now: Instant, metrics: EngineMetrics, own: u32) {
        let passed = self.last.map(|last| now.since(last.at)).unwrap_or_default();
        let before = self
            .last
            .map_or(metrics.running, |last| last.metrics.running);
        let mean = (f64::from(before) + f64::from(metrics.running)) / 2.0;
        self.held += mean * passed.as_secs_f64();
        self.learn_slot_time(metrics.ended);
        self.learn_prefill(metrics.prefill);
        self.learn_slots(passed, &metrics);
        self.last = Some(TakenReading {
            at: now,
            metrics,
            own,
        });
    }

    fn learn_slots(&mut self, passed: Duration, metrics: &EngineMetrics) {
        let running = f64::from(metrics.running.max(1));
        self.full_at = None;
        if metrics.waiting == 0 {
            self.full_readings = 0;
            let spans = passed.as_secs_f64() / FORGOTTEN_AFTER.as_secs_f64();
            self.slots = (self.slots * spans.min(32.0).exp2()).max(running);
        } else {
            self.full_readings = self.full_readings.saturating_add(1);
            match self.full_readings < FULL_READINGS {
                true => self.full_at = Some(metrics.running),
                false => self.slots = running,
            }
        }
        self.slots = self.slots.min(f64::from(self.slots_max));
    }

    fn learn_slot_time(&mut self, ended: Option<u64>) {
        let grown = ended.zip(self.ended);
        let Some(grown) = grown.and_then(|(now, before)| now.checked_sub(before)) else {
            // The first, or it started again.
            (self.ended, self.held) = (ended, 0.0);
            return;
        };
        if grown > 0 {
            let sample = (self.held / grown as f64).min(SPAN_MAX.as_secs_f64());
            average(&mut self.slot_time, sample, grown as f64 / ENDED);
            (self.ended, self.held) = (ended, 0.0);
        }
    }

    fn learn_prefill(&mut self, read: Option<Prefill>) {
        let before = std::mem::replace(&mut self.prefilled, read);
        let Some((read, before)) = read.zip(before) else {
            return;
        };
        let seconds = read.seconds - before.seconds;
        let tokens = read.tokens.checked_sub(before.tokens);
        // Less than before: it started again.
        if let Some(tokens) = tokens.filter(|_| seconds >= 0.0 && seconds.is_finite()) {
            let kept = (-(tokens as f64) / READ_TOKENS).exp();
            let (all_seconds, all_tokens) = self.prefill;
            self.prefill = (
                all_seconds * kept + seconds,
                all_tokens * kept + tokens as f64,
            );
        }
    }

    /// Requests that others have there; `None` without figures.
    pub fn others(&self) -> Option<u32> {
        let last = self.last?;
        let metrics = last.metrics;
        let cached = metrics.cache_usage.unwrap_or_default().get() * f64::from(self.slots());
        let requests = metrics.running.saturating_add(metrics.waiting);
        // A cast from a float saturates.
        Some(requests.max(cached.ceil() as u32).saturating_sub(last.own))
    }

    /// How many requests it runs at once, as far as is known.
    pub fn slots(&self) -> u32 {
        let slots = self.full_at.unwrap_or(self.slots as u32);
        slots.clamp(1, self.slots_max)
    }

    /// What the last reading showed; `None` without figures.
    pub fn metrics(&self) -> Option<EngineMetrics> {
        self.last.map(|last| last.metrics)
    }

    /// What is published of it; `None` without figures.
    pub fn reported(&self, now: Instant) -> Option<ReportedLoad> {
        let last = self.last?;
        let span = |seconds: f64| Duration::from_secs_f64(seconds.min(SPAN_MAX.as_secs_f64()));
        let (seconds, tokens) = self.prefill;
        Some(ReportedLoad {
            age: now.since(last.at),
            slot_time: self.slot_time.map(span),
            prefill: (tokens > 0.0).then(|| span(seconds * 1_000.0 / tokens)),
        })
    }
}

fn stale_after(interval: Duration) -> Duration {
    STALE_AFTER.max(interval.saturating_mul(STALE_READINGS))
}

/// Moves `mean` towards `sample`, which weighs `parts` of what is remembered.
fn average(mean: &mut Option<f64>, sample: f64, parts: f64) {
    let gain = 1.0 - (-parts).exp();
    *mean = Some(mean.map_or(sample, |mean| mean + (sample - mean) * gain));
}

#[cfg(test)]
mod tests;
