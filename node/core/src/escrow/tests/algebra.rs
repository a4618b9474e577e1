//! Any order of messages, lost, repeated and late, with any starts and ends: no more is admitted than the limit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NODES: usize = 3;
const AMOUNT: u64 = 30;

/// What happens next; every number is taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    /// So many milliseconds pass at all nodes; the driver of one of them may not wake.
    Pass(u64, Option<usize>),
    /// A message is delivered, whichever was sent when.
    Deliver(usize),
    /// A message is delivered and stays on the wire.
    Repeat(usize),
    /// A message is lost.
    Lose(usize),
    /// Requests come, so many at a node.
    Request(usize, u64),
    /// A node's oldest request ends.
    End(usize),
    /// A node dies and starts again, with its disk as it is, as it was some writes ago, or with none.
    Restart(usize, Disk),
}

#[derive(Clone, Copy, Debug)]
enum Disk {
    Kept,
    SetBack(usize),
    New,
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0..NODES;
    let disk = prop_oneof![
        4 => Just(Disk::Kept),
        1 => (1..20_usize).prop_map(Disk::SetBack),
        1 => Just(Disk::New),
    ];
    prop_oneof![
        30 => (1..400_u64, proptest::option::weighted(0.1, node.clone())).prop_map(|(span, asleep)| Act::Pass(span, asleep)),
        2 => (5_000..75_000_u64, Just(None)).prop_map(|(span, asleep)| Act::Pass(span, asleep)),
        60 => any::<usize>().prop_map(Act::Deliver),
        10 => any::<usize>().prop_map(Act::Repeat),
        10 => any::<usize>().prop_map(Act::Lose),
        30 => (node.clone(), 1..20_u64).prop_map(|(node, count)| Act::Request(node, count)),
        10 => node.clone().prop_map(Act::End),
        1 => (node, disk).prop_map(|(node, disk)| Act::Restart(node, disk)),
    ]
}

/// What was admitted, by true time.
struct Judge {
    window: LimitWindow,
    admitted: VecDeque<Instant>,
    /// By the number of the window of the calendar.
    spent: BTreeMap<u32, u64>,
    running: u64,
}

impl Judge {
    fn admit(&mut self, now: Instant, number: u32) {
        self.admitted.push_back(now);
        *self.spent.entry(number).or_default() += 1;
        self.running += 1;
    }

    /// What counts against the limit at this moment.
    fn counted(&mut self, now: Instant, number: u32) -> u64 {
        match self.window {
            LimitWindow::Minute => {
                let is_past = |at: &Instant| now.since(*at) >= Duration::from_secs(60);
                while self.admitted.pop_front_if(|at| is_past(at)).is_some() {}
                self.admitted.len() as u64
            }
            LimitWindow::Held => self.running,
            LimitWindow::Day | LimitWindow::Month => self.spent.get(&number).copied().unwrap_or(0),
        }
    }
}

struct Run {
    mesh: Mesh,
    judge: Judge,
    spec: LimitSpec,
    running: [Vec<Reservation>; NODES],
    /// Every state that each disk ever had.
    disks: [Vec<StoreImage>; NODES],
}

impl Run {
    fn new(window: LimitWindow) -> Self {
        let mut mesh = Mesh::new(NODES);
        // Not the last minute of a month.
        mesh.run(Duration::from_secs(70));
        Self {
            disks: std::array::from_fn(|node| vec![mesh.nodes[node].disk.clone()]),
            mesh,
            judge: Judge {
                window,
                admitted: VecDeque::new(),
                spent: BTreeMap::new(),
                running: 0,
            },
            spec: spec(AMOUNT, window),
            running: Default::default(),
        }
    }

    fn deliver(&mut self, index: usize, stays: bool) {
        let count = self.mesh.wire.len();
        if count == 0 {
            return;
        }
        let index = index % count;
        let taken = if stays {
            self.mesh.wire.get(index).cloned()
        } else {
            self.mesh.wire.remove(index)
        };
        if let Some((_, from, to, message)) = taken {
            self.mesh
                .handle(usize::from(to.0), EscrowEvent::Received(from, message));
        }
    }

    fn request(&mut self, node: usize, count: u64) {
        for _ in 0..count {
            let now = self.mesh.now;
            let Some(reservation) = self.mesh.take(node, self.spec) else {
                continue;
            };
            let escrow = self.mesh.nodes[node].escrow.as_ref().expect("it runs");
            let number = escrow.window(now, self.spec).unwrap_or(0);
            self.judge.admit(now, number);
            self.running[node].push(reservation);
        }
    }

    fn restart(&mut self, node: usize, disk: Disk) {
        self.mesh.crash(node);
        self.judge.running -= self.running[node].len() as u64;
        self.running[node].clear();
        let history = &self.disks[node];
        self.mesh.nodes[node].disk = match disk {
            Disk::Kept => self.mesh.nodes[node].disk.clone(),
            Disk::SetBack(writes) => history[history.len().saturating_sub(1 + writes)].clone(),
            Disk::New => StoreImage::default(),
        };
        self.mesh.start(node);
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Pass(millis, asleep) => {
                self.mesh.now = self.mesh.now + Duration::from_millis(millis);
                for node in (0..NODES).filter(|node| Some(*node) != asleep) {
                    let wall = self.mesh.wall(node);
                    self.mesh.handle(node, EscrowEvent::Tick { wall });
                }
            }
            Act::Deliver(index) => self.deliver(index, false),
            Act::Repeat(index) => self.deliver(index, true),
            Act::Lose(index) => {
                let count = self.mesh.wire.len().max(1);
                self.mesh.wire.remove(index % count);
            }
            Act::Request(node, count) => self.request(node, count),
            Act::End(node) => {
                if !self.running[node].is_empty() {
                    drop(self.running[node].remove(0));
                    self.judge.running -= 1;
                }
            }
            Act::Restart(node, disk) => self.restart(node, disk),
        }
        for (history, node) in self.disks.iter_mut().zip(&self.mesh.nodes) {
            if history.last() != Some(&node.disk) {
                history.push(node.disk.clone());
            }
        }
    }

    /// What was admitted and what could be at once, anywhere.
    fn check(&mut self) {
        let now = self.mesh.now;
        let mut numbers: BTreeMap<u32, u64> = BTreeMap::new();
        for node in &self.mesh.nodes {
            let escrow = node.escrow.as_ref().expect("it runs");
            if let Some((share, accounted)) = escrow.audit(limit()) {
                assert_eq!(share, accounted);
            }
            let number = escrow.window(now, self.spec).unwrap_or(0);
            *numbers.entry(number).or_default() += escrow.takeable(now, limit());
        }
        for (number, usable) in numbers {
            let counted = self.judge.counted(now, number);
            assert!(counted + usable <= AMOUNT, "{counted} and {usable} more");
        }
    }
}

fn run(window: LimitWindow, acts: &[Act]) {
    let mut run = Run::new(window);
    for act in acts {
        run.act(act);
        run.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rate_is_never_exceeded(acts in prop::collection::vec(act(), 1..400)) {
        run(LimitWindow::Minute, &acts);
    }

    #[test]
    fn budget_is_never_exceeded(acts in prop::collection::vec(act(), 1..400)) {
        run(LimitWindow::Day, &acts);
    }

    #[test]
    fn concurrency_is_never_exceeded(acts in prop::collection::vec(act(), 1..400)) {
        run(LimitWindow::Held, &acts);
    }
}
