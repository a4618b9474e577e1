//! The outcome of all requests of a `--once` run: the arithmetic, and the two forms it is printed in.
//!
//! Terms of the report:
//! - *lost*: a user got an error, no answer, a wrong or silently shortened answer, from a live node.
//! - *failover*: a request that was answered, after more than one attempt inside the mesh or by another region than
//!   the one it entered.
//! - *reconnected*: a try whose entry node the demo had killed; the client asked the next node of its list.
//! - *interrupted*: a stream that had begun when the upstream or node that served it was killed. Nobody can move it:
//!   it ends with an error event, and the client asks again.
//! - *disturbed*: any of these but a mere answer from elsewhere.

use std::time::Duration;

use grapevine_base::table::{Side, TextTable, number};
use serde_json::{Value, json};

use super::load::{Record, RequestEnd};
use super::region::{self, REGIONS};

/// Losses that a report describes.
const LOSSES_SHOWN: usize = 10;

/// How long it must stay calm after a recovery.
const CALM: Duration = Duration::from_secs(1);

/// The share of requests that may be disturbed while it is calm: their 99th percentile is not.
const DISTURBED_SHARE_MAX: f64 = 0.01;

/// A stretch of the run. It ends where the next one starts.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// What happens in it.
    pub(super) name: String,
    /// When it starts, since the start of the load.
    pub(super) from: Duration,
}

/// Something that was broken on purpose.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What was broken.
    pub(super) name: String,
    /// When, since the start of the load.
    pub(super) at: Duration,
    /// When the next thing happened.
    pub(super) until: Duration,
    /// How long it took until every live node's view showed it.
    pub(super) seen: Duration,
    /// How long it took from the repair until every view showed that; `None` when it was not repaired.
    pub(super) returned: Option<Duration>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Clients that asked at the same time.
    pub(super) clients: usize,
    /// How long the nodes took until all saw one another.
    pub(super) ready: Duration,
    /// How long the load ran.
    pub(super) elapsed: Duration,
    /// In order of time.
    pub(super) phases: Vec<Phase>,
    /// In order of time.
    pub(super) faults: Vec<Fault>,
    /// Every request.
    pub(super) records: Vec<Record>,
}

/// Sums over some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    requests: usize,
    lost: usize,
    failovers: usize,
    reconnected: u32,
    interrupted: u32,
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Report {
    /// How many requests were lost.
    pub(super) fn lost(&self) -> usize {
        self.sums_of(|_| true).lost
    }

    /// The slowest recovery: until every view showed a fault, and its requests were undisturbed again.
    fn recovery(&self) -> Duration {
        let each = self.faults.iter();
        each.map(|fault| fault.seen.max(self.answers_recovered(fault)))
            .max()
            .unwrap_or_default()
    }

    /// How long after a fault the requests were undisturbed again: the first moment that is followed by a second, or
    /// by the rest of the time up to the next event, in which at most one request in a hundred was disturbed.
    fn answers_recovered(&self, fault: &Fault) -> Duration {
        let met = |record: &&Record| record.ended >= fault.at && record.started < fault.until;
        let records = self.records.iter().filter(met);
        let mut ends: Vec<(Duration, bool)> = records
            .map(|record| (record.ended, is_disturbed(record)))
            .collect();
        ends.sort_unstable();
        let ends_disturbed = ends.iter().filter(|(_, is_disturbed)| *is_disturbed);
        let moments = std::iter::once(fault.at).chain(ends_disturbed.map(|(ended, _)| *ended));
        let is_calm = |from: &Duration| {
            // A request that ends at this very moment belongs to the time before, except at the fault itself.
            let begin = ends.partition_point(|(ended, _)| *ended <= *from && *from > fault.at);
            let end = ends.partition_point(|(ended, _)| *ended <= *from + CALM);
            let next = ends.get(begin..end).unwrap_or_default();
            let disturbed = next
                .iter()
                .filter(|(_, is_disturbed)| *is_disturbed)
                .count();
            disturbed as f64 <= next.len() as f64 * DISTURBED_SHARE_MAX
        };
        // The last disturbed request's end is always calm: nothing disturbed follows it.
        let recovered = moments.into_iter().find(is_calm);
        recovered.unwrap_or(fault.at).saturating_sub(fault.at)
    }

    fn sums_of(&self, wanted: impl Fn(&Record) -> bool) -> Sums {
        let mut sums = Sums::default();
        let mut times = Vec::new();
        for record in self.records.iter().filter(|record| wanted(record)) {
            sums.requests += 1;
            sums.reconnected += record.entry_lost;
            sums.interrupted += record.interrupted;
            match &record.end {
                RequestEnd::Answered { first_byte, .. } => times.push(milliseconds(*first_byte)),
                RequestEnd::Lost { .. } => sums.lost += 1,
            }
            sums.failovers += usize::from(is_failover(record));
        }
        times.sort_unstable_by(f64::total_cmp);
        sums.p50 = percentile(&times, 0.50);
        sums.p99 = percentile(&times, 0.99);
        sums
    }

    /// A request counts in the phase in which it ends: so what a fault did to it counts after the fault.
    fn phase_sums(&self) -> Vec<(&str, Sums)> {
        let ends = self.phases.iter().skip(1).map(|phase| phase.from);
        let ends = ends.chain([Duration::MAX]);
        let phases = self.phases.iter().zip(ends);
        phases
            .map(|(phase, end)| {
                let sums = self.sums_of(|r| (phase.from..end).contains(&r.ended));
                (phase.name.as_str(), sums)
            })
            .collect()
    }

    /// Answers by the region they entered (rows) and the one that answered (columns).
    fn served(&self) -> [[usize; REGIONS]; REGIONS] {
        let mut served = [[0; REGIONS]; REGIONS];
        for record in &self.records {
            let RequestEnd::Answered { way, .. } = &record.end else {
                continue;
            };
            let by = region::ALL
                .iter()
                .position(|region| region.upstream == way.upstream);
            let row = served.get_mut(record.entry);
            if let Some(count) = row.zip(by).and_then(|(row, by)| row.get_mut(by)) {
                *count += 1;
            }
        }
        served
    }

    fn losses(&self) -> impl Iterator<Item = &str> {
        let whys = self.records.iter().filter_map(|record| match &record.end {
            RequestEnd::Lost { why } => Some(why.as_str()),
            RequestEnd::Answered { .. } => None,
        });
        whys.take(LOSSES_SHOWN)
    }

    /// The report as one JSON object. Times are in ms.
    pub(super) fn to_json(&self) -> Value {
        let all = self.sums_of(|_| true);
        let faults = self.faults.iter().map(|fault| {
            json!({
                "name": fault.name,
                "at_ms": rounded(fault.at),
                "seen_ms": rounded(fault.seen),
                "answers_ms": rounded(self.answers_recovered(fault)),
                "returned_ms": fault.returned.map(rounded),
            })
        });
        let mut report = json!({
            "nodes": REGIONS,
            "clients": self.clients,
            "ready_ms": rounded(self.ready),
            "elapsed_ms": rounded(self.elapsed),
            "recovery_ms": rounded(self.recovery()),
            "faults": faults.collect::<Vec<_>>(),
            "losses": self.losses().collect::<Vec<_>>(),
        });
        merge(&mut report, sums_json(&all));
        let phases = self.phase_sums().into_iter().map(|(name, sums)| {
            let mut phase = json!({"name": name});
            merge(&mut phase, sums_json(&sums));
            phase
        });
        report["phases"] = phases.collect();
        let served = self.served();
        let rows = region::ALL.iter().zip(served).map(|(entry, row)| {
            let by = region::ALL
                .iter()
                .zip(row)
                .map(|(by, count)| (by.name.to_owned(), json!(count)));
            (entry.name.to_owned(), Value::Object(by.collect()))
        });
        report["served"] = Value::Object(rows.collect());
        report
    }

    /// The report as lines of text.
    pub(super) fn to_lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{REGIONS} nodes saw one another after {:.1} s; {} clients asked for {:.1} s, every second request a stream",
            self.ready.as_secs_f64(),
            self.clients,
            self.elapsed.as_secs_f64()
        )];
        lines.push(String::new());
        lines.extend(self.phase_table().lines());
        lines.push(String::new());
        for fault in &self.faults {
            lines.push(self.fault_line(fault));
        }
        lines.push(String::new());
        lines.extend(self.served_table().lines());
        lines.push(String::new());
        lines.push("failover: answered by a later attempt or another region; reconnected: the client's entry node was".to_owned());
        lines.push("killed and it asked the next; interrupted: a stream that had begun at what was killed ended with an".to_owned());
        lines.push(
            "error event and was asked again; lost: anything else but a whole, right answer"
                .to_owned(),
        );
        lines.push(String::new());
        lines.extend(
            self.losses()
                .map(|why| format!("lost: {}", grapevine_base::table::printable(why))),
        );
        lines.push(format!(
            "lost {} of {} requests",
            self.lost(),
            self.records.len()
        ));
        lines
    }

    fn phase_table(&self) -> TextTable {
        let mut table = TextTable::new(&[
            ("phase", Side::Left),
            ("requests", Side::Right),
            ("lost", Side::Right),
            ("failovers", Side::Right),
            ("reconnected", Side::Right),
            ("interrupted", Side::Right),
            ("p50 ms", Side::Right),
            ("p99 ms", Side::Right),
        ]);
        let all = [("all", self.sums_of(|_| true))];
        for (name, sums) in self.phase_sums().into_iter().chain(all) {
            table.row([
                name.to_owned(),
                sums.requests.to_string(),
                sums.lost.to_string(),
                sums.failovers.to_string(),
                sums.reconnected.to_string(),
                sums.interrupted.to_string(),
                number(sums.p50),
                number(sums.p99),
            ]);
        }
        table
    }

    fn fault_line(&self, fault: &Fault) -> String {
        let mut line = format!(
            "{}: in every view after {} ms, requests undisturbed after {} ms",
            fault.name,
            number(Some(milliseconds(fault.seen))),
            number(Some(milliseconds(self.answers_recovered(fault))))
        );
        if let Some(returned) = fault.returned {
            let returned = number(Some(milliseconds(returned)));
            line.push_str(&format!("; taken back {returned} ms after it was mended"));
        }
        line
    }

    fn served_table(&self) -> TextTable {
        let heading = region::ALL.iter().map(|region| (region.name, Side::Right));
        let columns: Vec<_> = [("asked at / answered by", Side::Left)]
            .into_iter()
            .chain(heading)
            .collect();
        let mut table = TextTable::new(&columns);
        for (region, row) in region::ALL.iter().zip(self.served()) {
            let counts = row.iter().map(usize::to_string);
            table.row(std::iter::once(region.name.to_owned()).chain(counts));
        }
        table
    }
}

fn is_failover(record: &Record) -> bool {
    let RequestEnd::Answered { way, .. } = &record.end else {
        return false;
    };
    let home = region::ALL
        .get(record.entry)
        .map_or("", |region| region.upstream);
    way.attempts > 1 || way.upstream != home
}

fn is_disturbed(record: &Record) -> bool {
    let retried = match &record.end {
        RequestEnd::Answered { way, .. } => way.attempts > 1,
        RequestEnd::Lost { .. } => true,
    };
    retried || record.entry_lost > 0 || record.interrupted > 0
}

/// The nearest-rank percentile of ascending `sorted`; `None` of nothing.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn sums_json(sums: &Sums) -> Value {
    json!({
        "requests": sums.requests,
        "lost": sums.lost,
        "failovers": sums.failovers,
        "reconnected": sums.reconnected,
        "interrupted": sums.interrupted,
        "p50_ms": sums.p50.map(tenths),
        "p99_ms": sums.p99.map(tenths),
    })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn rounded(span: Duration) -> f64 {
    tenths(milliseconds(span))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::chat::AnswerHeaders;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answered(started: u32, ended: u32, upstream: usize, attempts: u32) -> Record {
        Record {
            started: started * MS,
            ended: ended * MS,
            entry: 0,
            entry_lost: 0,
            interrupted: 0,
            end: RequestEnd::Answered {
                way: AnswerHeaders {
                    upstream: region::ALL[upstream].upstream.to_owned(),
                    attempts,
                    ..AnswerHeaders::default()
                },
                first_byte: (ended - started) * MS,
            },
        }
    }

    fn lost(started: u32, ended: u32) -> Record {
        let end = RequestEnd::Lost {
            why: "status 503: full".to_owned(),
        };
        Record {
            end,
            ..answered(started, ended, 0, 1)
        }
    }

    fn fault(at: u32, until: u32) -> Fault {
        Fault {
            name: "jpn-model down".to_owned(),
            at: at * MS,
            until: until * MS,
            seen: 90 * MS,
            returned: None,
        }
    }

    fn report(records: Vec<Record>, faults: Vec<Fault>) -> Report {
        let phase = |name: &str, from: u32| Phase {
            name: name.to_owned(),
            from: from * MS,
        };
        Report {
            clients: 4,
            ready: 2_500 * MS,
            elapsed: 10_000 * MS,
            phases: vec![phase("calm", 0), phase("down", 1_000)],
            faults,
            records,
        }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_failover_is_a_later_attempt_or_another_region() {
        assert!(!is_failover(&answered(0, 1, 0, 1)));
        assert!(is_failover(&answered(0, 1, 0, 2)));
        assert!(is_failover(&answered(0, 1, 1, 1)));
        assert!(!is_failover(&lost(0, 1)));
    }

    #[test]
    fn an_answer_from_elsewhere_at_the_first_attempt_is_undisturbed() {
        assert!(!is_disturbed(&answered(0, 1, 1, 1)));
        assert!(is_disturbed(&answered(0, 1, 1, 2)));
        assert!(is_disturbed(&lost(0, 1)));
        assert!(is_disturbed(&Record {
            interrupted: 1,
            ..answered(0, 1, 0, 1)
        }));
        assert!(is_disturbed(&Record {
            entry_lost: 1,
            ..answered(0, 1, 0, 1)
        }));
    }

    #[test]
    fn requests_count_in_the_phase_in_which_they_end() {
        let report = report(
            vec![
                answered(0, 10, 0, 1),
                answered(999, 1_010, 0, 1),
                lost(1_000, 1_001),
            ],
            vec![],
        );
        let phases = report.phase_sums();
        assert_eq!((phases[0].1.requests, phases[0].1.lost), (1, 0));
        assert_eq!((phases[1].1.requests, phases[1].1.lost), (2, 1));
        assert_eq!(report.lost(), 1);
    }

    #[test]
    fn recovery_ends_with_the_last_request_that_the_percentile_notices() {
        let mut records: Vec<Record> = (1_000..1_300)
            .map(|at| answered(at, at + 5, 1, 1))
            .collect();
        records.push(answered(1_000, 1_020, 1, 2));
        records.push(answered(1_000, 1_030, 1, 3));
        let fault = fault(1_000, 9_000);
        let run = report(records.clone(), vec![fault.clone()]);
        assert_eq!(
            run.answers_recovered(&fault),
            Duration::ZERO,
            "2 of 302 are within one in a hundred"
        );

        records.extend((0..10).map(|at| answered(1_000, 1_040 + at, 1, 2)));
        let run = report(records, vec![fault.clone()]);
        let recovered = run.answers_recovered(&fault);
        assert!((46 * MS..=49 * MS).contains(&recovered), "{recovered:?}");
        assert_eq!(run.recovery(), 90 * MS, "the views were later");
    }

    #[test]
    fn a_single_late_disturbance_among_many_requests_is_no_second_outage() {
        let mut records: Vec<Record> = (1_000..4_000)
            .map(|at| answered(at, at + 5, 1, 1))
            .collect();
        records.extend((0..50).map(|at| answered(1_000, 1_010 + at, 1, 2)));
        records.push(answered(3_000, 3_020, 1, 2));
        let fault = fault(1_000, 9_000);
        let recovered = report(records, vec![fault.clone()]).answers_recovered(&fault);
        assert!(recovered < 60 * MS, "{recovered:?}");
    }

    #[test]
    fn a_disturbed_request_before_the_fault_or_after_the_next_event_does_not_count() {
        let records = vec![
            lost(900, 999),
            answered(1_000, 1_001, 0, 1),
            lost(2_000, 2_500),
        ];
        let fault = fault(1_000, 2_000);
        assert_eq!(
            report(records, vec![fault.clone()]).answers_recovered(&fault),
            Duration::ZERO
        );
    }

    #[test]
    fn json_has_what_scripts_ask_for() {
        let run = report(
            vec![answered(0, 10, 0, 1), answered(0, 30, 2, 1)],
            vec![fault(5, 10)],
        );
        let json = run.to_json();
        for (key, value) in [
            ("nodes", json!(4)),
            ("requests", json!(2)),
            ("lost", json!(0)),
            ("failovers", json!(1)),
            ("recovery_ms", json!(90.0)),
            ("p50_ms", json!(10.0)),
            ("p99_ms", json!(30.0)),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(
            json["served"]["sgp"],
            json!({"sgp": 1, "jpn": 0, "usa": 1, "eur": 0})
        );
    }

    #[test]
    fn text_lists_what_was_lost_and_why() {
        let good = report(vec![answered(0, 10, 0, 1)], vec![fault(5, 10)])
            .to_lines()
            .join("\n");
        assert!(good.ends_with("lost 0 of 1 requests"), "{good}");
        let bad = report(vec![lost(0, 10)], vec![]).to_lines().join("\n");
        assert!(
            bad.contains("lost: status 503: full\nlost 1 of 1 requests"),
            "{bad}"
        );
    }
}
