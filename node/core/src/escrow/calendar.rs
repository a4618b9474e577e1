//! Days and months, and a clock for them that cannot be made to jump.
//!
//! The wall clock is read once, compared with other nodes', and from then on time passes as the monotonic clock says;
//! the wall clock is followed by small steps alone. So a clock that is set, forwards or back, while the node runs opens
//! no window; and a node that starts with a wrong clock opens none until it agrees with most of the others.
//! A window's number never falls, and what was spent in it is on disk, so none is granted twice.

use std::time::Duration;

use crate::Instant;

use super::spec::LimitWindow;

/// The difference between two nodes' clocks that counts as none, beside the round trip in which they were compared.
/// A day may begin this much earlier or later at one node than at another.
pub const CLOCK_AGREES: Duration = Duration::from_secs(2);

/// A running node's clock is moved towards the wall clock by at most this part of the time that passes: ten times what
/// a crystal is wrong by.
const SLEW: u32 = 1_000;

const DAY: u64 = 24 * 60 * 60;

/// The time of day and the date: since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub Duration);

impl WallTime {
    /// The span between two times, whichever is first.
    pub fn differs(self, other: Self) -> Duration {
        self.0.abs_diff(other.0)
    }

    /// The number of the window that contains this time; 0 for windows that are none of the calendar. A later window's
    /// is higher.
    pub fn window(self, window: LimitWindow) -> u32 {
        let day = self.0.as_secs() / DAY;
        let number = match window {
            LimitWindow::Day => day,
            LimitWindow::Month => month_of(day),
            LimitWindow::Minute | LimitWindow::Held => 0,
        };
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// The time until the window of the calendar ends that contains this time.
    pub fn until_next(self, window: LimitWindow) -> Duration {
        let day = self.0.as_secs() / DAY;
        let next = match window {
            LimitWindow::Month => {
                let is_next = |next: &u64| month_of(*next) != month_of(day);
                // A month has 31 days at most.
                (day + 1..=day + 31).find(is_next).unwrap_or(day + 31)
            }
            _ => day + 1,
        };
        Duration::from_secs(next * DAY).saturating_sub(self.0)
    }
}

/// Months since the year 0, of the civil calendar (Hinnant's `civil_from_days`).
fn month_of(day: u64) -> u64 {
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on: January and February belong to the year that began before.
    let month = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month + 2
}

/// The clock that opens windows of the calendar.
#[derive(Clone, Copy, Debug)]
pub(super) struct CalendarClock {
    anchor: (Instant, WallTime),
    is_proven: bool,
}

impl CalendarClock {
    /// Reads the wall clock, which nobody has confirmed.
    pub(super) const fn new(now: Instant, wall: WallTime) -> Self {
        Self {
            anchor: (now, wall),
            is_proven: false,
        }
    }

    /// Whether most nodes agree with it. Until then no window is open.
    pub(super) const fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Most nodes agree.
    pub(super) const fn prove(&mut self) {
        self.is_proven = true;
    }

    /// The time.
    pub(super) fn read(&self, now: Instant) -> WallTime {
        let (at, wall) = self.anchor;
        WallTime(wall.0 + now.since(at))
    }

    /// Takes the wall clock's reading. A proven clock moves towards it by [`SLEW`] at most, and not at all where it is
    /// further away than [`CLOCK_AGREES`]: that is a jump. True where a clock that is not proven was set.
    pub(super) fn follow(&mut self, now: Instant, wall: WallTime) -> bool {
        let read = self.read(now);
        let difference = read.differs(wall);
        if !self.is_proven {
            self.anchor = (now, wall);
            return difference > CLOCK_AGREES;
        }
        if difference > CLOCK_AGREES {
            return false;
        }
        let step = difference.min(now.since(self.anchor.0) / SLEW);
        let moved = if wall > read {
            read.0 + step
        } else {
            read.0 - step
        };
        self.anchor = (now, WallTime(moved));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(secs: u64) -> WallTime {
        WallTime(Duration::from_secs(secs))
    }

    fn at(secs: u64) -> Instant {
        Instant::from_start(Duration::from_secs(secs))
    }

    /// 2024-02-29 12:00:00, 1,709,208,000.
    const LEAP_DAY_NOON: u64 = 1_709_208_000;

    #[test]
    fn windows_of_a_leap_day() {
        let noon = wall(LEAP_DAY_NOON);
        assert_eq!(noon.window(LimitWindow::Month), 2024 * 12 + 1);
        assert_eq!(
            noon.until_next(LimitWindow::Month),
            Duration::from_secs(DAY / 2)
        );
        assert_eq!(
            noon.until_next(LimitWindow::Day),
            Duration::from_secs(DAY / 2)
        );
        let march = wall(LEAP_DAY_NOON + DAY / 2);
        assert_eq!(march.window(LimitWindow::Month), 2024 * 12 + 2);
        assert_eq!(
            march.window(LimitWindow::Day),
            noon.window(LimitWindow::Day) + 1
        );
        assert_eq!(
            march.until_next(LimitWindow::Month),
            Duration::from_secs(31 * DAY)
        );
    }

    #[test]
    fn months_follow_one_another_through_four_centuries() {
        let mut months = 0;
        for day in 0..146_097 {
            let (before, after) = (month_of(day), month_of(day + 1));
            assert!(after == before || after == before + 1, "{day}");
            months += after - before;
        }
        assert_eq!(months, 400 * 12);
    }

    #[test]
    fn jump_of_a_running_clock_is_not_followed() {
        let mut clock = CalendarClock::new(at(0), wall(1_000));
        clock.prove();
        assert!(!clock.follow(at(10), wall(1_000_000)));
        assert_eq!(clock.read(at(10)), wall(1_010));
        assert!(!clock.follow(at(20), wall(5)));
        assert_eq!(clock.read(at(20)), wall(1_020));
    }

    #[test]
    fn small_difference_is_followed_slowly() {
        let mut clock = CalendarClock::new(at(0), wall(1_000));
        clock.prove();
        assert!(!clock.follow(at(100), wall(1_101)));
        assert_eq!(
            clock.read(at(100)).0,
            Duration::from_secs(1_100) + Duration::from_millis(100)
        );
        assert!(!clock.follow(at(200), wall(1_199)));
        assert_eq!(clock.read(at(200)).0, Duration::from_secs(1_200));
    }

    #[test]
    fn clock_that_nobody_confirmed_follows_its_correction() {
        let mut clock = CalendarClock::new(at(0), wall(0));
        assert!(clock.follow(at(10), wall(LEAP_DAY_NOON)));
        assert_eq!(clock.read(at(10)), wall(LEAP_DAY_NOON));
    }
}
