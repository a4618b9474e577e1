//! A request with what several upstreams made, for one of them.
//!
//! Agents carry the reasoning of earlier answers along, beside a conversation or a file that an upstream keeps. A reasoning
//! item holds nothing that any but its maker can read: where it meets what another upstream keeps, it is left out, as
//! clients do themselves that change their provider. All else of the request passes byte by byte.
//!
//! The ids of what follows such an item go with it: an upstream that finds an item by its id looks for its reasoning too.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use grapevine_core::seal::{self, Owner, SealedKind};
use http::uri::PathAndQuery;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::found::{Seals, read, without};
use super::keys::SealKeys;

/// Where a request lists items.
#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

/// What is read of an item.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
}

impl Item<'_> {
    fn is_reasoning(&self) -> bool {
        self.kind.as_deref() == Some("reasoning")
    }

    /// Who made it, by its seals; believed, since the proofs of what stays are checked afterwards.
    fn owner(&self) -> Option<Owner> {
        let text = |raw: Option<&RawValue>| raw.map(|raw| raw.get().trim_matches('"').to_owned());
        let by_id = text(self.id).and_then(|id| read(id.as_bytes()));
        let by_content = || {
            seal::read(
                SealedKind::Content,
                text(self.encrypted_content)?.as_bytes(),
            )
        };
        by_id.or_else(by_content).map(|seal| seal.owner)
    }
}

/// `body` for the one upstream whose conversation, response or file it names, else for the one whose reasoning is the
/// latest: without the reasoning of others. `None` where that leaves two, or the body lists no items.
pub(super) fn for_one_owner(keys: &SealKeys, path: &PathAndQuery, body: &Bytes) -> Option<Bytes> {
    let lists: Lists<'_> = serde_json::from_slice(body).ok()?;
    let list: Vec<&RawValue> = serde_json::from_str(lists.input.or(lists.items)?.get()).ok()?;
    let read = list.iter().map(|raw| serde_json::from_str(raw.get()).ok());
    let items: Vec<Option<Item<'_>>> = read.collect();
    let is_reasoning = |item: &Option<Item<'_>>| item.as_ref().is_some_and(Item::is_reasoning);

    let reasoning = list
        .iter()
        .zip(&items)
        .filter(|(_, item)| is_reasoning(item));
    let rest = without(
        body,
        &reasoning
            .map(|(raw, _)| range_of(body, raw))
            .collect::<Vec<_>>(),
    );
    let owner = match Seals::find(keys, path, &rest).0.owner() {
        Ok(Some(owner)) => owner,
        Ok(None) => {
            let reasoning = items
                .iter()
                .rev()
                .flatten()
                .filter(|item| item.is_reasoning());
            reasoning.filter_map(Item::owner).next()?
        }
        Err(_) => return None,
    };
    let places: Vec<Range<usize>> = list.iter().map(|raw| range_of(body, raw)).collect();
    let mut cuts = Vec::new();
    let mut is_orphan = false;
    let mut gone_from = None;
    for (index, item) in items.iter().enumerate() {
        let is_gone = is_reasoning(item) && is_of_another(item, owner);
        if is_gone {
            is_orphan = true;
            gone_from.get_or_insert(index);
            continue;
        }
        if let Some(from) = gone_from.take() {
            cuts.push(places[from].start..places[index].start);
        }
        let Some(item) = item else { continue };
        is_orphan &= !item.is_reasoning() && item.role.as_deref() != Some("user");
        if let (true, Some(id)) = (is_orphan, item.id) {
            cuts.push(member(body, range_of(body, id))?);
        }
    }
    if let (Some(from), Some(last)) = (gone_from, places.last()) {
        // The comma before them goes too, where something is before them.
        let start = from.checked_sub(1).map(|before| places[before].end);
        cuts.push(start.unwrap_or(places[from].start)..last.end);
    }
    Some(without(body, &cuts))
}

fn is_of_another(item: &Option<Item<'_>>, owner: Owner) -> bool {
    let made_by = item.as_ref().and_then(Item::owner);
    made_by.is_some_and(|made_by| !made_by.is_same_upstream(owner))
}

/// Where `raw` stands in `body`, of which it is a part.
fn range_of(body: &[u8], raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + raw.get().len()
}

/// The member of an object whose value is at `value`: its key, the value, and the comma behind it, or else the one before.
fn member(body: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let colon = memchr::memrchr(b':', &body[..value.start])?;
    let end = memchr::memrchr(b'"', &body[..colon])?;
    let start = memchr::memrchr(b'"', &body[..end])?;
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let behind = body[value.end..].iter().position(|byte| !is_blank(byte))?;
    let before = body[..start].iter().rposition(|byte| !is_blank(byte))?;
    Some(match (body[value.end + behind], body[before]) {
        (b',', _) => start..value.end + behind + 1,
        (_, b',') => before..value.end,
        _ => start..value.end,
    })
}
