//! What a run is about: how many nodes, which demand where, what goes wrong.

use std::time::Duration;

use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};

use super::fault::Trouble;

/// Where the demand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    One,
    /// A third of the nodes.
    Some,
    All,
}

/// One limit, and the requests under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) name: &'static str,
    pub(crate) spec: LimitSpec,
    /// Units that a request reserves: at least and at most.
    pub(crate) units: (u64, u64),
    /// The part of its reservation that a request uses in the end, at least.
    pub(crate) used_min: f64,
    /// How long a request lasts, on average.
    pub(crate) lasts: Duration,
    /// Requests per second that use the whole limit up.
    pub(crate) per_second: f64,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) span: Duration,
    pub(crate) limits: Vec<Counted>,
    pub(crate) reach: Reach,
    /// How often the demand moves to other nodes.
    pub(crate) moves: Option<Duration>,
    /// Demand, as a multiple of the limit.
    pub(crate) times: f64,
    pub(crate) trouble: Trouble,
    /// Whether a third of the nodes is cut off from the others from the middle of the run to its end.
    pub(crate) splits: bool,
    /// The least use of each limit that the case demands, as a share of what is allowed.
    pub(crate) use_min: Option<f64>,
}

/// How many cases: for every build, or for a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    Short,
    Full,
}

/// 600 requests in a minute.
const REQUESTS: Counted = Counted {
    name: "requests",
    spec: LimitSpec {
        amount: 600,
        window: LimitWindow::Minute,
    },
    units: (1, 1),
    used_min: 1.0,
    lasts: Duration::from_secs(2),
    per_second: 10.0,
};

/// 200,000 tokens in a minute, reserved by an upper bound.
const TOKENS: Counted = Counted {
    name: "tokens",
    spec: LimitSpec {
        amount: 200_000,
        window: LimitWindow::Minute,
    },
    units: (200, 3_000),
    used_min: 0.2,
    lasts: Duration::from_secs(5),
    per_second: 3.4,
};

/// A hundred units of money on a day.
const MONEY: Counted = Counted {
    name: "money",
    spec: LimitSpec {
        amount: 100_000_000,
        window: LimitWindow::Day,
    },
    units: (1_000, 40_000),
    used_min: 0.2,
    lasts: Duration::from_secs(5),
    per_second: 8.0,
};

/// 60 requests at once.
const CONCURRENCY: Counted = Counted {
    name: "concurrency",
    spec: LimitSpec {
        amount: 60,
        window: LimitWindow::Held,
    },
    units: (1, 1),
    used_min: 0.0,
    lasts: Duration::from_secs(5),
    per_second: 12.0,
};

/// 100 requests in a minute.
const FEW_REQUESTS: Counted = Counted {
    name: "few requests",
    spec: LimitSpec {
        amount: 100,
        window: LimitWindow::Minute,
    },
    per_second: 1.7,
    ..REQUESTS
};

impl Case {
    fn new(name: &str, nodes: usize, minutes: u64) -> Self {
        Self {
            name: format!("{name}-{nodes}"),
            nodes,
            span: Duration::from_secs(60 * minutes),
            limits: vec![REQUESTS, FEW_REQUESTS, TOKENS, MONEY, CONCURRENCY],
            reach: Reach::All,
            moves: None,
            times: 10.0,
            trouble: Trouble::default(),
            splits: false,
            use_min: None,
        }
    }

    /// What is left to each side of a mesh that was cut in two, with ten times the limit at every node.
    fn split(nodes: usize, minutes: u64) -> Self {
        Self {
            limits: vec![REQUESTS, FEW_REQUESTS],
            splits: true,
            ..Self::new("split", nodes, minutes)
        }
    }

    /// The demand that all limits of rates must be used by to 95 %.
    fn moving(nodes: usize, minutes: u64) -> Self {
        Self {
            limits: vec![REQUESTS, FEW_REQUESTS],
            reach: Reach::One,
            moves: Some(Duration::from_secs(10)),
            use_min: Some(0.95),
            ..Self::new("moving", nodes, minutes)
        }
    }

    /// Many keys, each used to its limit at a third of the nodes, others every ten seconds: what the transfers cost.
    fn many_keys(nodes: usize, keys: usize) -> Self {
        Self {
            limits: vec![FEW_REQUESTS; keys],
            reach: Reach::Some,
            moves: Some(Duration::from_secs(10)),
            times: 1.0,
            ..Self::new("keys", nodes, 2)
        }
    }
}

/// The cases.
pub(crate) fn cases(depth: Depth) -> Vec<Case> {
    let (sizes, minutes): (&[usize], u64) = match depth {
        Depth::Short => (&[3], 2),
        Depth::Full => (&[3, 10, 30, 100], 5),
    };
    let mut all = Vec::new();
    for nodes in sizes {
        for (name, reach) in [
            ("one", Reach::One),
            ("some", Reach::Some),
            ("all", Reach::All),
        ] {
            all.push(Case {
                reach,
                ..Case::new(name, *nodes, minutes)
            });
        }
        for (name, trouble) in Trouble::each() {
            all.push(Case {
                reach: Reach::Some,
                moves: Some(Duration::from_secs(10)),
                trouble,
                ..Case::new(name, *nodes, minutes)
            });
        }
    }
    match depth {
        Depth::Short => all.extend([Case::moving(10, 4), Case::split(6, 6)]),
        Depth::Full => {
            all.extend([3, 10, 30, 100].map(|nodes| Case::split(nodes, 10)));
            all.extend([3, 10, 30, 100].map(|nodes| Case::moving(nodes, 10)));
            all.push(Case::many_keys(5, 1_000));
            all.push(Case::many_keys(30, 1_000));
        }
    }
    all
}
