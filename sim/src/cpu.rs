//! The processors of one node: what they work on now, and when they are free for more.
//!
//! A queue with as many servers as the node has cores. Work begins in order of arrival, on the core that is free first;
//! work that arrives faster than it is done waits.

use std::time::Duration;

use grapevine_core::Instant;

use crate::scenario::Processing;

/// The processors of one node.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// When each core has done all its work.
    free_at: Vec<Instant>,
}

impl Cpu {
    /// All idle.
    pub(crate) fn new(processing: &Processing) -> Self {
        Self {
            free_at: vec![Instant::START; processing.cores],
        }
    }

    /// Takes work that arrives `now`; returns when it is done.
    pub(crate) fn takes(&mut self, now: Instant, work: Duration) -> Instant {
        let Some(first) = self.free_at.iter_mut().min() else {
            return now;
        };
        *first = now.max(*first) + work;
        *first
    }

    /// The process stops for so long: what it has begun is done that much later.
    pub(crate) fn stops(&mut self, now: Instant, span: Duration) {
        for free_at in &mut self.free_at {
            *free_at = now.max(*free_at) + span;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_millis(10);

    fn cpu(cores: usize) -> Cpu {
        Cpu::new(&Processing {
            cores,
            request: WORK,
            hop: WORK,
        })
    }

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn each_core_takes_one_and_the_next_waits() {
        let mut cpu = cpu(2);
        let done: Vec<Instant> = (0..4).map(|_| cpu.takes(at(100), WORK)).collect();
        assert_eq!(done, [at(110), at(110), at(120), at(120)]);
        assert_eq!(cpu.takes(at(500), WORK), at(510), "idle meanwhile");
    }

    #[test]
    fn work_of_a_stopped_process_is_done_later() {
        let mut cpu = cpu(1);
        cpu.takes(at(100), WORK);
        cpu.stops(at(105), Duration::from_secs(1));
        assert_eq!(cpu.takes(at(105), WORK), at(1_120));
    }
}
