//! The end of a request that nobody ended: its client went away, and everything was dropped.

use grapevine_core::outcome::{CLIENT_GONE, Outcome};

use super::Track;

impl Drop for Track {
    fn drop(&mut self) {
        // Nothing is open of what was recorded.
        if self.recorded && self.request.is_none() {
            return;
        }
        let now = self.clock.now();
        self.break_off(now, Outcome::Cancelled, None);
        if !self.recorded {
            if self.record.status == 0 {
                self.record.status = CLIENT_GONE;
            }
            self.record.error = Some(Outcome::Cancelled.as_str());
            self.write(now);
        }
    }
}
