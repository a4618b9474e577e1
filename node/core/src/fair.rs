//! Who is next where more requests wait than can be served: fair turns by the weight of keys, and no waiting in vain.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): each key has a line of its own and a virtual time that rises by
//! one over its weight with each turn; the key that is the furthest behind is next. A key that sends a thousand requests
//! waits behind its own, and one that sends its first is served next, whatever the others do. One line for all would
//! give turns by who sends more.
//!
//! Under lasting overload a line that is only bounded is always full, and each request is answered after its client has
//! lost patience. So a line that was not empty for [`QueueRule::lasting`] lets nobody wait longer than
//! [`QueueRule::patience`] (CoDel, RFC 8289, as adapted to requests by Maurer, *Fail at Scale*, 2015): those who waited
//! longer are refused, and those who come last are served in time. A line that was empty lately is a burst, and may wait
//! to its deadlines. This is decided per key: one that floods does not shorten the patience of others.
//!
//! Background work has a turn only where nobody else waits who may run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::Instant;
use crate::units::Weight;

/// What a queue keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRule {
    /// Requests that wait, of all keys.
    pub waiting_max: usize,
    /// Of one key.
    pub waiting_of_key_max: usize,
    /// How long a request waits at most where its key's line does not get empty.
    pub patience: Duration,
    /// For how long a line must have waiting requests to count as one that does not get empty.
    pub lasting: Duration,
}

impl Default for QueueRule {
    fn default() -> Self {
        Self {
            waiting_max: 1_024,
            waiting_of_key_max: 256,
            patience: Duration::from_millis(500),
            lasting: Duration::from_secs(2),
        }
    }
}

/// A waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueTicket(pub u64);

/// Whose request it is, and how urgent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QueuePlace {
    /// A client's, with the weight of its key.
    Live(Weight),
    /// A background task's.
    Background,
}

/// There is no room to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// Whether the key has too many that wait, and not all together.
    pub is_key: bool,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueTurn {
    /// To be served.
    pub serve: Option<QueueTicket>,
    /// To be refused: they waited too long.
    pub refuse: Vec<QueueTicket>,
}

/// One request in line.
#[derive(Clone, Copy, Debug)]
struct InLine {
    ticket: QueueTicket,
    since: Instant,
    deadline: Instant,
}

/// A key's line.
#[derive(Debug)]
struct Line {
    waiting: VecDeque<InLine>,
    weight: Weight,
    /// The virtual time of its next turn.
    turn_at: f64,
    /// Since when somebody has been waiting.
    busy_since: Instant,
}

/// How fast turns come.
#[derive(Clone, Copy, Debug, Default)]
struct TurnPace {
    last: Option<Instant>,
    /// Mean time from one to the next.
    interval: Option<Duration>,
}

/// How much of the mean the latest interval makes up.
const PACE_GAIN: f64 = 0.05;

impl TurnPace {
    fn turn(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let interval = now.since(last);
            self.interval = Some(match self.interval {
                None => interval,
                Some(mean) => mean.mul_f64(1.0 - PACE_GAIN) + interval.mul_f64(PACE_GAIN),
            });
        }
    }

    /// The mean, or what the next turn has been awaited for by now, if that is longer.
    fn interval(&self, now: Instant) -> Option<Duration> {
        let since = now.since(self.last?);
        self.interval.map(|interval| interval.max(since))
    }
}

/// Requests that wait, by key.
#[derive(Debug)]
pub struct FairQueue<K> {
    rule: QueueRule,
    lines: BTreeMap<K, Line>,
    background: VecDeque<InLine>,
    /// The virtual time of the latest turn.
    now_at: f64,
    /// The next turns of keys that have nobody waiting, where those are yet to come: a key that sends its next request
    /// when the last is served has no more turns than one that sends them all at once.
    ahead: BTreeMap<K, f64>,
    pace: TurnPace,
    waiting: usize,
    tickets: u64,
}

impl<K: Ord + Clone> FairQueue<K> {
    /// Nobody waits.
    pub const fn new(rule: QueueRule) -> Self {
        Self {
            rule,
            lines: BTreeMap::new(),
            background: VecDeque::new(),
            now_at: 0.0,
            ahead: BTreeMap::new(),
            pace: TurnPace {
                last: None,
                interval: None,
            },
            waiting: 0,
            tickets: 0,
        }
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Until all that wait now were served, by the pace of the latest turns; `None` while that is not known.
    pub fn drained_in(&self, now: Instant) -> Option<Duration> {
        let interval = self.pace.interval(now)?;
        Some(interval.saturating_mul(u32::try_from(self.waiting).unwrap_or(u32::MAX)))
    }

    /// Nobody waits any more: turns that come later have another pace.
    pub fn rest(&mut self) {
        self.pace = TurnPace::default();
    }

    /// A request of `key` waits, until `deadline` at most.
    ///
    /// # Errors
    /// Where too many wait already. A client's request takes the place of the youngest of the background's.
    pub fn enter(
        &mut self,
        now: Instant,
        key: &K,
        place: QueuePlace,
        deadline: Instant,
    ) -> Result<(QueueTicket, Option<QueueTicket>), QueueFull> {
        let of_key = self.lines.get(key).map_or(0, |line| line.waiting.len());
        if matches!(place, QueuePlace::Live(_)) && of_key >= self.rule.waiting_of_key_max {
            return Err(QueueFull { is_key: true });
        }
        let mut displaced = None;
        if self.waiting >= self.rule.waiting_max {
            displaced = match place {
                QueuePlace::Live(_) => self.background.pop_back(),
                QueuePlace::Background => None,
            };
            if displaced.is_none() {
                return Err(QueueFull { is_key: false });
            }
            self.waiting -= 1;
        }
        self.tickets += 1;
        self.waiting += 1;
        let entry = InLine {
            ticket: QueueTicket(self.tickets),
            since: now,
            deadline,
        };
        match place {
            QueuePlace::Background => self.background.push_back(entry),
            QueuePlace::Live(weight) => self.stand(now, key, weight, entry),
        }
        Ok((entry.ticket, displaced.map(|it| it.ticket)))
    }

    /// There is room for one: who is next, and who waited too long. `may_run` says whether a key may have another at
    /// once: its own limit on concurrency.
    pub fn next(&mut self, now: Instant, may_run: impl Fn(&K) -> bool) -> QueueTurn {
        let mut turn = QueueTurn {
            serve: None,
            refuse: self.too_late(now),
        };
        let able = self.lines.iter().filter(|(key, _)| may_run(key));
        let next = able.min_by(|(_, one), (_, other)| one.turn_at.total_cmp(&other.turn_at));
        if let Some(key) = next.map(|(key, _)| key.clone()) {
            turn.serve = self.take_turn(now, &key);
        } else {
            turn.serve = self.background.pop_front().map(|it| it.ticket);
            self.waiting -= usize::from(turn.serve.is_some());
        }
        if turn.serve.is_some() {
            self.pace.turn(now);
        }
        turn
    }

    /// Takes out those that waited too long, by their deadlines or the patience of a line that does not get empty.
    pub fn too_late(&mut self, now: Instant) -> Vec<QueueTicket> {
        let QueueRule {
            patience, lasting, ..
        } = self.rule;
        let mut late = Vec::new();
        for line in self.lines.values_mut() {
            let is_lasting = now.since(line.busy_since) >= lasting;
            line.waiting.retain(|it| {
                let is_late = it.deadline <= now || is_lasting && now.since(it.since) > patience;
                if is_late {
                    late.push(it.ticket);
                }
                !is_late
            });
        }
        self.background.retain(|it| {
            if it.deadline <= now {
                late.push(it.ticket);
            }
            it.deadline > now
        });
        self.end_lines();
        self.waiting -= late.len();
        late
    }

    /// A request waits no more: its client has gone.
    pub fn leave(&mut self, ticket: QueueTicket) {
        let before = self.background.len();
        self.background.retain(|it| it.ticket != ticket);
        let mut left = before - self.background.len();
        for line in self.lines.values_mut() {
            let before = line.waiting.len();
            line.waiting.retain(|it| it.ticket != ticket);
            left += before - line.waiting.len();
        }
        self.end_lines();
        self.waiting -= left;
    }

    fn stand(&mut self, now: Instant, key: &K, weight: Weight, entry: InLine) {
        // A line that begins has a turn as soon as those that are there: nobody saves up turns while away.
        let turn_at = self.ahead.remove(key).unwrap_or_default().max(self.now_at);
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            waiting: VecDeque::new(),
            weight,
            turn_at,
            busy_since: now,
        });
        line.weight = weight;
        line.waiting.push_back(entry);
    }

    /// Takes out the lines where nobody waits.
    fn end_lines(&mut self) {
        let (now_at, ahead) = (self.now_at, &mut self.ahead);
        self.lines.retain(|key, line| {
            let is_over = line.waiting.is_empty();
            if is_over && ahead.len() < self.rule.waiting_max {
                ahead.insert(key.clone(), line.turn_at);
            }
            !is_over
        });
        ahead.retain(|_, turn_at| *turn_at > now_at);
    }

    fn take_turn(&mut self, now: Instant, key: &K) -> Option<QueueTicket> {
        let line = self.lines.get_mut(key)?;
        let served = line.waiting.pop_front()?;
        self.waiting -= 1;
        self.now_at = self.now_at.max(line.turn_at);
        line.turn_at += 1.0 / line.weight.get();
        self.end_lines();
        debug_assert!(served.since <= now, "a turn comes after the wait began");
        Some(served.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    fn queue() -> FairQueue<&'static str> {
        FairQueue::new(QueueRule {
            waiting_max: 100,
            waiting_of_key_max: 60,
            ..QueueRule::default()
        })
    }

    fn enter(
        queue: &mut FairQueue<&'static str>,
        now: Instant,
        key: &'static str,
        weight: f64,
    ) -> QueueTicket {
        let weight = Weight::new(weight).expect("a weight");
        let deadline = now + Duration::from_secs(30);
        let entered = queue.enter(now, &key, QueuePlace::Live(weight), deadline);
        entered.expect("there is room").0
    }

    #[test]
    fn turns_follow_the_weights_whoever_sends_more() {
        let mut queue = queue();
        let heavy: Vec<_> = (0..20)
            .map(|_| enter(&mut queue, at(0), "heavy", 3.0))
            .collect();
        for _ in 0..50 {
            enter(&mut queue, at(0), "light", 1.0);
        }
        let served: Vec<_> = (0..20)
            .filter_map(|_| queue.next(at(0), |_| true).serve)
            .collect();
        let of_heavy = served
            .iter()
            .filter(|ticket| heavy.contains(ticket))
            .count();
        assert_eq!(of_heavy, 15);
    }

    #[test]
    fn key_that_asks_one_at_a_time_has_no_more_turns_than_its_weight() {
        let mut queue = queue();
        for _ in 0..60 {
            enter(&mut queue, at(0), "heavy", 3.0);
        }
        let mut light = enter(&mut queue, at(0), "light", 1.0);
        let mut of_light = 0;
        for _ in 0..40 {
            let served = queue.next(at(0), |_| true).serve;
            if served == Some(light) {
                of_light += 1;
                light = enter(&mut queue, at(0), "light", 1.0);
            }
        }
        assert_eq!(of_light, 10);
    }

    #[test]
    fn time_until_all_are_served_follows_the_pace_of_turns() {
        let mut queue = queue();
        for _ in 0..50 {
            enter(&mut queue, at(0), "app", 1.0);
        }
        assert_eq!(queue.drained_in(at(0)), None);
        for turn in 0..10 {
            queue.next(at(100 * turn), |_| true);
        }
        let millis = |now: u64| queue.drained_in(at(now)).map(|span| span.as_millis());
        assert_eq!(millis(900), Some(4_000));
        // Turns that do not come slow it down.
        assert_eq!(millis(2_900), Some(80_000));
    }

    #[test]
    fn first_request_of_a_key_is_not_behind_a_flood_of_another() {
        let mut queue = queue();
        for _ in 0..60 {
            enter(&mut queue, at(0), "flood", 1.0);
        }
        for _ in 0..10 {
            queue.next(at(0), |_| true);
        }
        let first = enter(&mut queue, at(1), "first", 1.0);
        let served: Vec<_> = (0..2)
            .filter_map(|_| queue.next(at(1), |_| true).serve)
            .collect();
        assert!(served.contains(&first));
    }

    #[test]
    fn burst_may_wait_and_a_line_that_stays_is_shed_by_age() {
        let mut queue = queue();
        let first = enter(&mut queue, at(0), "app", 1.0);
        assert_eq!(queue.next(at(1_900), |_| false), QueueTurn::default());
        let young = enter(&mut queue, at(1_900), "app", 1.0);
        let turn = queue.next(at(2_100), |_| true);
        assert_eq!(turn.refuse, [first]);
        assert_eq!(turn.serve, Some(young));
    }

    #[test]
    fn flood_does_not_shorten_the_patience_of_others() {
        let mut queue = queue();
        for _ in 0..60 {
            enter(&mut queue, at(0), "flood", 1.0);
        }
        let other = enter(&mut queue, at(1_500), "other", 1.0);
        assert_eq!(queue.too_late(at(2_400)).len(), 60);
        assert_eq!(queue.next(at(2_400), |_| true).serve, Some(other));
    }

    #[test]
    fn background_waits_for_all_and_gives_up_its_place() {
        let mut queue = queue();
        let enter_background = |queue: &mut FairQueue<&'static str>| {
            let entered = queue.enter(at(0), &"tasks", QueuePlace::Background, at(60_000));
            entered.map(|(ticket, _)| ticket)
        };
        let all: Vec<_> = (0..100)
            .map(|_| enter_background(&mut queue).expect("room"))
            .collect();
        assert_eq!(
            enter_background(&mut queue),
            Err(QueueFull { is_key: false })
        );
        let live = QueuePlace::Live(Weight::default());
        let (ticket, displaced) = queue.enter(at(0), &"app", live, at(60_000)).expect("room");
        assert_eq!(displaced, all.last().copied());
        assert_eq!(queue.next(at(0), |_| true).serve, Some(ticket));
        assert_eq!(queue.next(at(0), |_| true).serve, Some(all[0]));
        assert_eq!(queue.len(), 98);
    }

    #[test]
    fn key_at_its_limit_is_passed_over_and_leaves_its_turn_to_background() {
        let mut queue = queue();
        let full = enter(&mut queue, at(0), "full", 1.0);
        let free = enter(&mut queue, at(0), "free", 1.0);
        let deadline = at(60_000);
        let background = queue.enter(at(0), &"tasks", QueuePlace::Background, deadline);
        let (background, _) = background.expect("there is room");
        let may_run = |key: &&str| *key != "full";
        assert_eq!(queue.next(at(0), may_run).serve, Some(free));
        assert_eq!(queue.next(at(0), may_run).serve, Some(background));
        assert_eq!(queue.next(at(0), may_run).serve, None);
        assert_eq!(queue.next(at(0), |_| true).serve, Some(full));
    }

    #[test]
    fn key_has_a_part_of_the_room_and_a_client_that_goes_frees_its_place() {
        let mut queue = queue();
        let first = enter(&mut queue, at(0), "app", 1.0);
        for _ in 1..60 {
            enter(&mut queue, at(0), "app", 1.0);
        }
        let live = QueuePlace::Live(Weight::default());
        let refused = queue.enter(at(0), &"app", live, at(1));
        assert_eq!(refused, Err(QueueFull { is_key: true }));
        queue.leave(first);
        assert_eq!(queue.len(), 59);
        assert!(queue.enter(at(0), &"app", live, at(1)).is_ok());
        assert_eq!(queue.too_late(at(1)).len(), 1);
    }
}
