//! One message in, one out.
//!
//! Refused: whatever is outside the zone (there is no recursion), transfers of the zone, ANY (RFC 8482
//! permits that) and the other types that are no records, and classes other than the Internet's. Not
//! implemented: whatever is no query. Left unanswered: what is itself an answer, or too short to have an id,
//! since a server that answers those can be used to attack another.

use std::net::IpAddr;

use grapevine_core::view::View;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

use super::subnet::Asker;
use super::zone::{Found, Records, Zone};
use super::{DnsSettings, LocateAddress};

/// The longest answer over UDP in bytes: what passes everywhere without fragments (DNS Flag Day 2020).
const DATAGRAM_BYTES_MAX: u16 = 1_232;

/// The longest answer over UDP to a query without EDNS (RFC 1035).
const PLAIN_DATAGRAM_BYTES_MAX: u16 = 512;

/// A message's head in bytes.
const HEAD_BYTES: usize = 12;

/// Types from here on are query types and no records (RFC 6895): transfers, ANY, and the like.
const META_TYPES_FROM: u16 = 128;

/// An extended error (RFC 8914): the code of the option, and "not ready".
const EXTENDED_ERROR: u16 = 15;
const NOT_READY: [u8; 2] = [0, 14];

/// The transport of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// The inputs of an answer.
pub(super) struct Ground<'a> {
    pub(super) settings: &'a DnsSettings,
    pub(super) view: &'a View,
    pub(super) locate: &'a LocateAddress,
}

/// An answer, with one word each for the question's type and the result.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) bytes: Vec<u8>,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
}

impl Ground<'_> {
    /// The answer to what `from` sent; `None` where it must not be answered.
    pub(super) fn respond(
        &self,
        bytes: &[u8],
        from: IpAddr,
        transport: Transport,
    ) -> Option<Response> {
        let head = bytes.get(..HEAD_BYTES)?;
        let is_answer = head[2] & 0x80 != 0;
        if is_answer {
            return None;
        }
        let (answer, room) = match Message::from_bytes(bytes) {
            Ok(message) => (self.answer(&message, from), room(&message, transport)),
            Err(_) => (unreadable(head), PLAIN_DATAGRAM_BYTES_MAX),
        };
        let kind = answer.queries.first().map(Query::query_type);
        Some(Response {
            kind: kind.map_or("none", kind_word),
            code: code_word(answer.metadata.response_code),
            bytes: encode(answer, room)?,
        })
    }

    fn answer(&self, message: &Message, from: IpAddr) -> Message {
        let mut answer = Message::new(0, MessageType::Response, message.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&message.metadata);
        answer.queries = message.queries.iter().take(1).cloned().collect();
        let asker = Asker::of(from, message.edns.as_ref());
        let mut is_tailored = false;
        let refusal = refusal(message);
        answer.metadata.response_code = match (&message.queries[..], &asker, refusal) {
            (_, _, Some(code)) => code,
            ([query], Ok(asker), None) => {
                let zone = Zone {
                    settings: self.settings,
                    view: self.view,
                };
                let location = || self.locate.locate(asker.address);
                let found = zone.find(query.name(), query.query_type(), location);
                is_tailored = fill(&mut answer, found, &zone);
                answer.metadata.response_code
            }
            _ => ResponseCode::FormErr,
        };
        if message.edns.is_some() {
            let asker = asker.ok();
            answer.edns = Some(options(&answer, asker.as_ref(), is_tailored));
        }
        answer
    }
}

/// Why a question is refused, if so.
fn refusal(message: &Message) -> Option<ResponseCode> {
    if message.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if message.version() > 0 {
        return Some(ResponseCode::BADVERS);
    }
    let query = message.queries.first()?;
    let is_meta = u16::from(query.query_type()) >= META_TYPES_FROM
        && u16::from(query.query_type()) <= u16::from(RecordType::ANY);
    (is_meta || query.query_class() != DNSClass::IN).then_some(ResponseCode::Refused)
}

/// Puts what was found into the answer; returns whether it depends on the client.
fn fill(answer: &mut Message, found: Found, zone: &Zone<'_>) -> bool {
    let metadata = &mut answer.metadata;
    metadata.authoritative = !matches!(found, Found::Outside);
    match found {
        Found::Outside => metadata.response_code = ResponseCode::Refused,
        Found::NoName => {
            metadata.response_code = ResponseCode::NXDomain;
            answer.authorities = vec![zone.soa()];
        }
        Found::NoRecord => answer.authorities = vec![zone.soa()],
        Found::NoNode => {
            metadata.authoritative = false;
            metadata.response_code = ResponseCode::ServFail;
        }
        Found::Records(Records {
            answers,
            glue,
            is_tailored,
        }) => {
            // The nearest region has no address of this family.
            if answers.is_empty() {
                answer.authorities = vec![zone.soa()];
            }
            answer.answers = answers;
            answer.additionals = glue;
            return is_tailored;
        }
    }
    false
}

/// The EDNS options of an answer to a question that had some.
fn options(answer: &Message, asker: Option<&Asker>, is_tailored: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_BYTES_MAX).set_version(0);
    if let Some(subnet) = asker.and_then(|asker| asker.echo(is_tailored)) {
        edns.options_mut().insert(subnet);
    }
    if answer.metadata.response_code == ResponseCode::ServFail {
        let reason = EdnsOption::Unknown(EXTENDED_ERROR, NOT_READY.to_vec());
        edns.options_mut().insert(reason);
    }
    edns
}

/// The answer to a message of which only the head can be read.
fn unreadable(head: &[u8]) -> Message {
    let id = u16::from_be_bytes([head[0], head[1]]);
    let op_code = OpCode::from_u8((head[2] >> 3) & 0x0f);
    let code = match op_code {
        OpCode::Query => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    Message::error_msg(id, op_code, code)
}

/// How long an answer to `message` may be, in bytes.
fn room(message: &Message, transport: Transport) -> u16 {
    match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_DATAGRAM_BYTES_MAX,
        (Transport::Udp, Some(_)) => message
            .max_payload()
            .clamp(PLAIN_DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX),
    }
}

/// The bytes of `answer`. What does not fit is dropped: first the servers' addresses, which can be queried;
/// then all records, with the truncation bit set, so that the resolver retries over TCP.
fn encode(mut answer: Message, room: u16) -> Option<Vec<u8>> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= usize::from(room);
    let whole = answer.to_bytes().ok();
    if let Some(bytes) = whole.filter(fits) {
        return Some(bytes);
    }
    answer.additionals.clear();
    if let Some(bytes) = answer.to_bytes().ok().filter(fits) {
        return Some(bytes);
    }
    answer.answers.clear();
    answer.authorities.clear();
    answer.metadata.truncation = true;
    answer.to_bytes().ok()
}

/// The question's type, out of a closed set.
fn kind_word(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::AAAA => "AAAA",
        RecordType::NS => "NS",
        RecordType::SOA => "SOA",
        RecordType::ANY => "ANY",
        RecordType::AXFR => "AXFR",
        RecordType::IXFR => "IXFR",
        _ => "other",
    }
}

/// The answer's code, out of a closed set.
fn code_word(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "noerror",
        ResponseCode::FormErr => "formerr",
        ResponseCode::ServFail => "servfail",
        ResponseCode::NXDomain => "nxdomain",
        ResponseCode::NotImp => "notimp",
        ResponseCode::BADVERS => "badvers",
        _ => "refused",
    }
}
