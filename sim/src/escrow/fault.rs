//! What goes wrong in a run, and when: drawn from the seed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::chance;

/// What may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trouble {
    /// Share of datagrams that are lost.
    pub(crate) loss: f64,
    /// Share of messages that arrive twice.
    pub(crate) repeated: f64,
    /// Share of messages that are late, by up to [`LATE_MAX`]: they are overtaken.
    pub(crate) late: f64,
    /// Seconds between two partitions, on average; 0 for none.
    pub(crate) partitions: f64,
    /// The same for cuts in one direction.
    pub(crate) one_way: f64,
    /// For crashes, with a start soon after.
    pub(crate) crashes: f64,
    /// For stops in order, with a start soon after.
    pub(crate) stops: f64,
    /// Whether the disk of the node with number 1 is set back, or new, when that starts again.
    pub(crate) sets_back: bool,
    /// For wall clocks that are set.
    pub(crate) jumps: f64,
    /// For drivers that stand still.
    pub(crate) stalls: f64,
}

/// How late a message may be.
const LATE_MAX: Duration = Duration::from_secs(20);

/// How long a fault lasts at most.
const LASTS_MAX: Duration = Duration::from_secs(40);

/// A fault that happens now.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The nodes marked, and the others, do not reach each other.
    Partition(Vec<bool>, Duration),
    /// Nothing gets from the nodes marked to the others.
    OneWay(Vec<bool>, Duration),
    /// A node dies, and starts after this.
    Crash(usize, Duration, DiskFate),
    /// A node stops in order, and starts after this.
    Stop(usize, Duration, DiskFate),
    /// A node's wall clock goes forwards or back by so many seconds.
    Jump(usize, i64),
    /// A node's driver sees nothing for so long; its request threads go on.
    Stall(usize, Duration),
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFate {
    Kept,
    /// As it was so many writes ago.
    SetBack(usize),
    /// Nothing.
    New,
}

/// The node whose disk is set back: the promise is about one at a time.
const SET_BACK: usize = 1;

/// All of it.
const STORM: Trouble = Trouble {
    loss: 0.1,
    repeated: 0.1,
    late: 0.05,
    partitions: 40.0,
    one_way: 25.0,
    crashes: 20.0,
    stops: 20.0,
    sets_back: true,
    jumps: 20.0,
    stalls: 25.0,
};

impl Trouble {
    /// Each kind alone, and all together.
    pub(crate) fn each() -> Vec<(&'static str, Self)> {
        let none = Self::default();
        let crashes = Self {
            crashes: 15.0,
            ..none
        };
        vec![
            (
                "network",
                Self {
                    loss: 0.2,
                    repeated: 0.2,
                    late: 0.1,
                    ..none
                },
            ),
            (
                "partition",
                Self {
                    partitions: 30.0,
                    ..none
                },
            ),
            (
                "one-way",
                Self {
                    one_way: 15.0,
                    ..none
                },
            ),
            ("crash", crashes),
            ("stop", Self { stops: 8.0, ..none }),
            (
                "set-back",
                Self {
                    sets_back: true,
                    stops: 15.0,
                    ..crashes
                },
            ),
            (
                "clock",
                Self {
                    jumps: 10.0,
                    crashes: 40.0,
                    ..none
                },
            ),
            (
                "stall",
                Self {
                    stalls: 10.0,
                    ..none
                },
            ),
            ("storm", STORM),
        ]
    }

    /// When the next fault comes and which it is, if any.
    pub(crate) fn next(self, nodes: usize, rng: &mut ChaCha8Rng) -> Option<(Duration, Fault)> {
        let means = [
            self.partitions,
            self.one_way,
            self.crashes,
            self.jumps,
            self.stalls,
            self.stops,
        ];
        let mut soonest: Option<(f64, usize)> = None;
        for (kind, mean) in means
            .into_iter()
            .enumerate()
            .filter(|(_, mean)| *mean > 0.0)
        {
            let at = chance::exponential(rng, mean);
            if soonest.is_none_or(|(first, _)| at < first) {
                soonest = Some((at, kind));
            }
        }
        let (at, kind) = soonest?;
        Some((Duration::from_secs_f64(at), self.draw(kind, nodes, rng)))
    }

    fn draw(self, kind: usize, nodes: usize, rng: &mut ChaCha8Rng) -> Fault {
        let lasts = LASTS_MAX.mul_f64(chance::unit(rng));
        let node = chance::below(rng, nodes);
        match kind {
            0 => Fault::Partition(some(nodes, rng), lasts),
            1 => Fault::OneWay(some(nodes, rng), lasts),
            2 => {
                let (node, down, fate) = self.restart(node, nodes, rng);
                Fault::Crash(node, down, fate)
            }
            3 => {
                // No two clocks are wrong in the same way: that is for a majority to exclude.
                let secs = chance::below(rng, 80 * 43_200) as i64 - 40 * 43_200;
                Fault::Jump(node, secs)
            }
            4 => Fault::Stall(node, lasts),
            _ => {
                let (node, down, fate) = self.restart(node, nodes, rng);
                Fault::Stop(node, down, fate)
            }
        }
    }

    /// Who is restarted, when it is back, and with which disk.
    fn restart(
        self,
        node: usize,
        nodes: usize,
        rng: &mut ChaCha8Rng,
    ) -> (usize, Duration, DiskFate) {
        let fate = match chance::below(rng, 3) {
            0 => DiskFate::New,
            _ => DiskFate::SetBack(1 + chance::below(rng, 30)),
        };
        let down = Duration::from_secs_f64(10.0 * chance::unit(rng));
        if self.sets_back && chance::unit(rng) < 0.4 && nodes > SET_BACK {
            return (SET_BACK, down, fate);
        }
        (node, down, DiskFate::Kept)
    }

    /// How much later than usual a message arrives.
    pub(crate) fn lateness(self, rng: &mut ChaCha8Rng) -> Duration {
        if self.late > 0.0 && chance::unit(rng) < self.late {
            LATE_MAX.mul_f64(chance::unit(rng))
        } else {
            Duration::ZERO
        }
    }

    /// Whether a message arrives twice.
    pub(crate) fn repeats(self, rng: &mut ChaCha8Rng) -> bool {
        self.repeated > 0.0 && chance::unit(rng) < self.repeated
    }
}

fn some(nodes: usize, rng: &mut ChaCha8Rng) -> Vec<bool> {
    (0..nodes).map(|_| chance::unit(rng) < 0.5).collect()
}
