//! Who is next: the accounts with tasks that can be leased take turns, and each gives its first task by
//! priority and age.
//!
//! A turn goes to the account behind the one that was served last, in the order of their names, as on a
//! clock: so between two turns of one account every other has at most one, whatever it has waiting. The next
//! account is found by one step in an index, not by looking at what waits: the cost of a lease grows with
//! the logarithm of the backlog. Only the process knows which turn was the last; nodes that share
//! a server each go round by themselves, so that an account waits for as many rounds as there are nodes at
//! most. Serving the account with the least running instead was not taken: at a node that runs one task at
//! a time nobody has any running when it is asked.

use std::collections::BTreeSet;

use super::super::{LEASES_MAX, Lease, LeaseAsk};
use super::link::{Cell, DatabaseLink, Trouble};
use super::record::{COLUMNS, DUE, SUSPECT, Stored};
use super::tasks::{LEASE_SPANS, permitted, plain, region_cell, service_cell, span_cell};
use crate::task::{ServiceKeyText, Task};

/// Delayed tasks that one look marks as due at most.
const RIPENED_MAX: u64 = 256;

/// Accounts that are found at once, and that one look passes over at most: those that have tasks, but none that
/// may run in the region that asks. The next look goes on behind them.
const ACCOUNTS_AT_ONCE: usize = 16;
const ACCOUNTS_LOOKED_MAX: usize = 64;

/// What was leased, and whose turn was the last.
pub(super) struct Turns {
    pub(super) given: Vec<(Lease, Task)>,
    pub(super) last: String,
}

/// Leases for `ask`, the turn after that of account `last` first.
pub(super) async fn lease(
    link: &mut DatabaseLink,
    ask: &LeaseAsk,
    last: String,
) -> Result<Turns, Trouble> {
    ripen(link, &ask.service).await?;
    let max = ask.max.min(LEASES_MAX);
    let mut turns = Turns {
        given: match ask.suspects && max > 0 {
            true => lease_of(link, ask, None, 1).await?,
            false => Vec::new(),
        },
        last,
    };
    let mut looked = 0;
    while turns.given.len() < max && looked < ACCOUNTS_LOOKED_MAX {
        let before = turns.given.len();
        // Usually each of the first accounts gives one.
        let at_once = match looked {
            0 => ACCOUNTS_AT_ONCE.min(max),
            _ => ACCOUNTS_AT_ONCE,
        };
        let accounts = accounts_after(link, &ask.service, &turns.last, at_once).await?;
        let share = ((max - before) / accounts.len().max(1)).max(1);
        looked += accounts.len();
        let were_all = accounts.len() < at_once;
        for account in accounts {
            if turns.given.len() == max {
                break;
            }
            let share = share.min(max - turns.given.len());
            turns
                .given
                .extend(lease_of(link, ask, Some(&account), share).await?);
            turns.last = account;
        }
        if were_all && turns.given.len() == before {
            break;
        }
    }
    Ok(turns)
}

/// Accounts with tasks of `service` that are due: those behind `last`, then the others, at most `at_once`, each
/// once.
async fn accounts_after(
    link: &mut DatabaseLink,
    service: &ServiceKeyText,
    last: &str,
    at_once: usize,
) -> Result<Vec<String>, Trouble> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for (first, bound) in [("AND account > $2", ""), ("", "AND account <= $2")] {
        let room = at_once - found.len();
        if room == 0 {
            break;
        }
        // A step in the index for each account, however many tasks it has.
        let due = "SELECT account FROM tasks WHERE service = $1 AND state = 'waiting' AND due = 1";
        let text = format!(
            "WITH RECURSIVE turn(account, number) AS ( \
             SELECT ({due} {first} {bound} ORDER BY account LIMIT 1), 1 UNION ALL \
             SELECT ({due} AND account > turn.account {bound} ORDER BY account LIMIT 1), number + 1 \
             FROM turn WHERE turn.account IS NOT NULL AND number < $3) \
             SELECT account FROM turn WHERE account IS NOT NULL ORDER BY number"
        );
        let cells = vec![
            service_cell(service),
            Cell::text(plain(last)),
            Cell::count(room as u64),
        ];
        for row in link.rows(&text, cells).await? {
            let account = row.word(0)?;
            if known.insert(account.clone()) {
                found.push(account);
            }
        }
    }
    Ok(found)
}

/// Leases at most `max` tasks of one account, or suspect ones of any, the highest priority first, then the oldest.
async fn lease_of(
    link: &mut DatabaseLink,
    ask: &LeaseAsk,
    account: Option<&str>,
    max: usize,
) -> Result<Vec<(Lease, Task)>, Trouble> {
    let [shortest, longest] = LEASE_SPANS;
    let cells = vec![
        service_cell(&ask.service),
        region_cell(&ask.region),
        Cell::count(max as u64),
        Cell::text(plain(&ask.worker)),
        span_cell(Some(ask.span.clamp(shortest, longest))),
        Cell::Text(account.map(str::to_owned)),
    ];
    // Both name the cell, so that its number is the same in both.
    let which = match account {
        Some(_) => format!("account = $6 AND due = {DUE}"),
        None => format!("CAST($6 AS TEXT) IS NULL AND due = {SUSPECT}"),
    };
    // The same that `transition::begin` does, for all of them in one statement.
    let text = format!(
        "WITH chosen AS MATERIALIZED (SELECT seq AS number FROM tasks \
         WHERE service = $1 AND state = 'waiting' AND {which} \
         AND {} \
         AND (expires_at IS NULL OR expires_at > @now) \
         ORDER BY priority DESC, seq LIMIT $3 @lock_free) \
         UPDATE tasks SET state = 'running', attempt = attempt + 1, attempts = attempts + 1, \
         worker = $4, lease_until = @now + $5, started_at = COALESCE(started_at, @now) \
         FROM chosen WHERE seq = number RETURNING {COLUMNS}",
        permitted(2)
    );
    let rows = link.rows(&text, cells).await?;
    let mut given: Vec<Stored> = rows.iter().map(Stored::read).collect::<Result<_, _>>()?;
    given.sort_by_key(|stored| (std::cmp::Reverse(stored.task.new.priority), stored.seq));
    Ok(given.into_iter().map(with_lease).collect())
}

fn with_lease(stored: Stored) -> (Lease, Task) {
    let lease = Lease {
        id: stored.task.new.id.clone(),
        service: stored.task.new.service.clone(),
        attempt: stored.attempt,
        token: String::new(),
    };
    (lease, stored.task)
}

/// Marks waiting tasks whose delay is over, so that the index of what can be leased has them.
async fn ripen(link: &mut DatabaseLink, service: &ServiceKeyText) -> Result<(), Trouble> {
    let cells = vec![service_cell(service), Cell::count(RIPENED_MAX)];
    let text = "WITH ripe AS MATERIALIZED (SELECT seq AS number FROM tasks \
         WHERE service = $1 AND state = 'waiting' AND due = 0 AND not_before <= @now \
         ORDER BY not_before LIMIT $2 @lock_free) \
         UPDATE tasks SET due = 1 FROM ripe WHERE seq = number";
    link.execute(text, cells).await.map(drop)
}
