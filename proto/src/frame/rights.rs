//! What nodes send one another about the rights of limits: [`EscrowMessage`], in a datagram or on a stream of its own.
//!
//! Each message stands alone. Its counts are totals, and it names the lease and the processes that they belong to, so
//! that a message that is lost, repeated, late or overtaken does no harm: there is nothing to acknowledge here.

use std::time::Duration;

use bincode::{BorrowDecode, Encode};
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::message::{
    AskLine, EscrowMessage, GrantLine, LINES_MAX, LeaseName, MessageBody, RightsAsk, RightsGrant,
    StartHello, StartTestimony, StoreVersion,
};
use grapevine_core::escrow::spec::{LeaseClass, LimitId, LimitSpec, LimitWindow};
use grapevine_core::ids::Generation;

use super::DecodeError;
use super::codec;

/// First byte of a datagram or of a unidirectional stream that carries a message about rights.
pub const TAG_RIGHTS: u8 = 6;

/// The longest message, without its first byte: [`LINES_MAX`] lines with every number at its widest.
pub const RIGHTS_BYTES_MAX: usize = 32 * 1_024;

/// An id as two halves, high and low.
type WireLimit = (u64, u64);

#[derive(Encode, BorrowDecode)]
struct WireMessage {
    seats: u64,
    body: WireBody,
}

#[derive(Encode, BorrowDecode)]
enum WireBody {
    Ask(WireLease, u64, Vec<WireAsk>),
    Grant(WireLease, u64, Vec<WireGrant>),
    Hello {
        generation: u64,
        sent_at: u64,
    },
    Testimony {
        generation: u64,
        known: u64,
        echo: u64,
        version: u64,
        wall: u64,
        held: Vec<(WireLimit, u64)>,
        is_whole: bool,
    },
    Wrote(u64),
    Witnessed(u64),
}

#[derive(Encode, BorrowDecode)]
struct WireLease {
    class: u8,
    borrower: u64,
    lender: u64,
    number: u32,
}

#[derive(Encode, BorrowDecode)]
struct WireAsk {
    limit: WireLimit,
    kind: u8,
    amount: u64,
    window: u32,
    opening: u32,
    granted: u64,
    returned: u64,
    want: u64,
}

#[derive(Encode, BorrowDecode)]
struct WireGrant {
    limit: WireLimit,
    window: u32,
    opening: u32,
    granted: u64,
    returned: u64,
    left: u64,
    next_millis: u32,
    keep: u64,
}

/// The message as it is sent, behind [`TAG_RIGHTS`].
pub fn encode_rights(message: &EscrowMessage) -> Vec<u8> {
    codec::payload_after(vec![TAG_RIGHTS], &to_wire(message))
}

/// Reads what follows [`TAG_RIGHTS`].
///
/// # Errors
/// On what [`encode_rights`] would not write, and on more than [`LINES_MAX`] lines.
pub fn decode_rights(payload: &[u8]) -> Result<EscrowMessage, DecodeError> {
    if payload.len() > RIGHTS_BYTES_MAX {
        return Err(DecodeError::TooLong {
            length: payload.len(),
            max: RIGHTS_BYTES_MAX,
        });
    }
    let WireMessage { seats, body } = codec::read(payload)?;
    let body = match body {
        WireBody::Ask(lease, sent_at, lines) => MessageBody::Ask(RightsAsk {
            lease: lease.read()?,
            sent_at: Duration::from_nanos(sent_at),
            lines: each(lines, WireAsk::read)?,
        }),
        WireBody::Grant(lease, echo, lines) => MessageBody::Grant(RightsGrant {
            lease: lease.read()?,
            echo: Duration::from_nanos(echo),
            lines: each(lines, |line| Ok(line.read()))?,
        }),
        WireBody::Hello {
            generation,
            sent_at,
        } => MessageBody::Hello(StartHello {
            generation: Generation(generation),
            sent_at: Duration::from_nanos(sent_at),
        }),
        WireBody::Testimony {
            generation,
            known,
            echo,
            version,
            wall,
            held,
            is_whole,
        } => MessageBody::Testimony(StartTestimony {
            generation: Generation(generation),
            known: Generation(known),
            echo: Duration::from_nanos(echo),
            version: StoreVersion(version),
            wall: WallTime(Duration::from_nanos(wall)),
            held: each(held, |(limit, units)| Ok((limit_id(limit), units)))?,
            is_whole,
        }),
        WireBody::Wrote(version) => MessageBody::Wrote {
            version: StoreVersion(version),
        },
        WireBody::Witnessed(version) => MessageBody::Witnessed {
            version: StoreVersion(version),
        },
    };
    Ok(EscrowMessage { seats, body })
}

fn to_wire(message: &EscrowMessage) -> WireMessage {
    let body = match &message.body {
        MessageBody::Ask(ask) => WireBody::Ask(
            WireLease::of(&ask.lease),
            nanos(ask.sent_at),
            ask.lines.iter().map(WireAsk::of).collect(),
        ),
        MessageBody::Grant(grant) => WireBody::Grant(
            WireLease::of(&grant.lease),
            nanos(grant.echo),
            grant.lines.iter().map(WireGrant::of).collect(),
        ),
        MessageBody::Hello(hello) => WireBody::Hello {
            generation: hello.generation.0,
            sent_at: nanos(hello.sent_at),
        },
        MessageBody::Testimony(testimony) => WireBody::Testimony {
            generation: testimony.generation.0,
            known: testimony.known.0,
            echo: nanos(testimony.echo),
            version: testimony.version.0,
            wall: nanos(testimony.wall.0),
            held: testimony
                .held
                .iter()
                .map(|(limit, units)| (halves(*limit), *units))
                .collect(),
            is_whole: testimony.is_whole,
        },
        MessageBody::Wrote { version } => WireBody::Wrote(version.0),
        MessageBody::Witnessed { version } => WireBody::Witnessed(version.0),
    };
    WireMessage {
        seats: message.seats,
        body,
    }
}

/// The lines of a message, no more than it may have.
fn each<T, U>(
    lines: Vec<T>,
    read: impl Fn(T) -> Result<U, DecodeError>,
) -> Result<Vec<U>, DecodeError> {
    if lines.len() > LINES_MAX {
        return Err(DecodeError::OutOfRange { field: "lines" });
    }
    lines.into_iter().map(read).collect()
}

impl WireLease {
    fn of(lease: &LeaseName) -> Self {
        let class = LeaseClass::ALL.iter().position(|it| *it == lease.class);
        Self {
            class: class.map_or(u8::MAX, |at| at as u8),
            borrower: lease.borrower.0,
            lender: lease.lender.0,
            number: lease.number,
        }
    }

    fn read(self) -> Result<LeaseName, DecodeError> {
        let class = LeaseClass::ALL.get(usize::from(self.class));
        Ok(LeaseName {
            class: *class.ok_or(DecodeError::OutOfRange { field: "class" })?,
            borrower: Generation(self.borrower),
            lender: Generation(self.lender),
            number: self.number,
        })
    }
}

/// The windows in the order of their numbers on the wire.
const WINDOWS: [LimitWindow; 4] = [
    LimitWindow::Minute,
    LimitWindow::Day,
    LimitWindow::Month,
    LimitWindow::Held,
];

impl WireAsk {
    fn of(line: &AskLine) -> Self {
        let kind = WINDOWS.iter().position(|it| *it == line.spec.window);
        Self {
            limit: halves(line.limit),
            kind: kind.map_or(u8::MAX, |at| at as u8),
            amount: line.spec.amount,
            window: line.window,
            opening: line.opening,
            granted: line.granted,
            returned: line.returned,
            want: line.want,
        }
    }

    fn read(self) -> Result<AskLine, DecodeError> {
        let window = WINDOWS.get(usize::from(self.kind));
        Ok(AskLine {
            limit: limit_id(self.limit),
            spec: LimitSpec {
                amount: self.amount,
                window: *window.ok_or(DecodeError::OutOfRange { field: "window" })?,
            },
            window: self.window,
            opening: self.opening,
            granted: self.granted,
            returned: self.returned,
            want: self.want,
        })
    }
}

impl WireGrant {
    fn of(line: &GrantLine) -> Self {
        Self {
            limit: halves(line.limit),
            window: line.window,
            opening: line.opening,
            granted: line.granted,
            returned: line.returned,
            left: line.left,
            next_millis: line.next_millis,
            keep: line.keep,
        }
    }

    fn read(self) -> GrantLine {
        GrantLine {
            limit: limit_id(self.limit),
            window: self.window,
            opening: self.opening,
            granted: self.granted,
            returned: self.returned,
            left: self.left,
            next_millis: self.next_millis,
            keep: self.keep,
        }
    }
}

const fn halves(limit: LimitId) -> WireLimit {
    ((limit.0 >> 64) as u64, limit.0 as u64)
}

fn limit_id((high, low): WireLimit) -> LimitId {
    LimitId(u128::from(high) << 64 | u128::from(low))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> LeaseName {
        LeaseName {
            class: LeaseClass::Held,
            borrower: Generation(1),
            lender: Generation(u64::MAX),
            number: 3,
        }
    }

    fn ask(lines: usize, number: u64) -> EscrowMessage {
        let line = AskLine {
            limit: LimitId(u128::MAX - u128::from(number)),
            spec: LimitSpec {
                amount: number,
                window: LimitWindow::Month,
            },
            window: u32::MAX,
            opening: 7,
            granted: number,
            returned: number,
            want: number,
        };
        EscrowMessage {
            seats: 9,
            body: MessageBody::Ask(RightsAsk {
                lease: lease(),
                sent_at: Duration::from_nanos(number),
                lines: vec![line; lines],
            }),
        }
    }

    fn each_kind() -> Vec<EscrowMessage> {
        let version = StoreVersion(4);
        let grant = GrantLine {
            limit: LimitId(1 << 64 | 2),
            window: 1,
            opening: 2,
            granted: 3,
            returned: 4,
            left: 5,
            next_millis: 6,
            keep: 7,
        };
        let bodies = [
            MessageBody::Grant(RightsGrant {
                lease: lease(),
                echo: Duration::from_millis(5),
                lines: vec![grant],
            }),
            MessageBody::Hello(StartHello {
                generation: Generation(11),
                sent_at: Duration::from_secs(1),
            }),
            MessageBody::Testimony(StartTestimony {
                generation: Generation(11),
                known: Generation(10),
                echo: Duration::from_secs(1),
                version,
                wall: WallTime(Duration::from_secs(1_700_000_000)),
                held: vec![(LimitId(5), 6)],
                is_whole: true,
            }),
            MessageBody::Wrote { version },
            MessageBody::Witnessed { version },
        ];
        let messages = bodies.map(|body| EscrowMessage { seats: 8, body });
        [ask(1, 300)].into_iter().chain(messages).collect()
    }

    #[test]
    fn messages_are_read_back_as_they_were() {
        for message in each_kind() {
            let bytes = encode_rights(&message);
            assert_eq!(bytes[0], TAG_RIGHTS);
            assert_eq!(decode_rights(&bytes[1..]), Ok(message));
        }
    }

    #[test]
    fn longest_message_fits() {
        let longest = encode_rights(&ask(LINES_MAX, u64::MAX));
        assert!(longest.len() - 1 <= RIGHTS_BYTES_MAX, "{}", longest.len());
        assert!(decode_rights(&longest[1..]).is_ok());
    }

    #[test]
    fn bytes_on_the_wire_do_not_change() {
        let hello = encode_rights(&each_kind()[2]);
        // Tag, version, list, kind, generation, nanoseconds.
        let golden = [6, 1, 8, 2, 11, 252, 0, 202, 154, 59];
        assert_eq!(hello, golden);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let lines = encode_rights(&ask(LINES_MAX + 1, 1));
        let refused = Err(DecodeError::OutOfRange { field: "lines" });
        assert_eq!(decode_rights(&lines[1..]), refused);
        let mut class = encode_rights(&ask(0, 1));
        class[4] = 3;
        let refused = Err(DecodeError::OutOfRange { field: "class" });
        assert_eq!(decode_rights(&class[1..]), refused);
        let whole = encode_rights(&each_kind()[1]);
        for end in 1..whole.len() {
            assert!(decode_rights(&whole[1..end]).is_err(), "{end}");
        }
        let mut other = whole.clone();
        other[1] = 2;
        let refused = Err(DecodeError::Version { theirs: 2, ours: 1 });
        assert_eq!(decode_rights(&other[1..]), refused);
    }
}
