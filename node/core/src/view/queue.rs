//! How long requests wait at an upstream that reports its load.

use std::time::Duration;

use super::UpstreamView;

impl UpstreamView {
    /// How long a request would wait there before it is begun; `None` where it does not report enough to tell.
    pub fn wait(&self) -> Option<Duration> {
        let reported = self.reported.as_ref()?;
        reported.wait(self.in_flight(), self.in_flight_max)
    }

    /// How full it is, beyond 1 where it reports that requests wait.
    pub fn fullness(&self) -> f64 {
        match self.reported {
            Some(_) => f64::from(self.in_flight()) / f64::from(self.in_flight_max.max(1)),
            None => self.load().get(),
        }
    }
}
