//! The client of a query: the subnet that the resolver sent (RFC 7871), else the resolver itself.

use std::net::IpAddr;

use hickory_proto::op::Edns;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};

/// The subnet option is not well formed: the question is refused as malformed (RFC 7871, 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedSubnet;

/// The client of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The address that is located.
    pub(super) address: IpAddr,
    /// The option as received; it is echoed.
    option: Option<ClientSubnet>,
}

impl Asker {
    /// The client of a query from `resolver` with `edns`.
    ///
    /// # Errors
    /// When the option holds what RFC 7871 forbids in a query.
    pub(super) fn of(resolver: IpAddr, edns: Option<&Edns>) -> Result<Self, MalformedSubnet> {
        let option = edns.and_then(|edns| edns.option(EdnsCode::Subnet));
        let Some(EdnsOption::Subnet(subnet)) = option else {
            return Ok(Self {
                address: resolver,
                option: None,
            });
        };
        if subnet.scope_prefix() != 0 || !is_prefix(subnet.addr(), subnet.source_prefix()) {
            return Err(MalformedSubnet);
        }
        // A prefix of no bits means that the client does not want to be known.
        let is_given = subnet.source_prefix() > 0;
        Ok(Self {
            address: if is_given { subnet.addr() } else { resolver },
            option: Some(*subnet),
        })
    }

    /// The option for an answer. The scope of one that depends on the subnet is just the bits that were sent,
    /// since a neighbouring network may be elsewhere; any other is valid for all clients.
    pub(super) fn echo(&self, is_tailored: bool) -> Option<EdnsOption> {
        let mut subnet = self.option?;
        let scope = if is_tailored {
            subnet.source_prefix()
        } else {
            0
        };
        subnet.set_scope_prefix(scope);
        Some(EdnsOption::Subnet(subnet))
    }
}

/// Whether `address` has `prefix` bits and zeros behind them.
fn is_prefix(address: IpAddr, prefix: u8) -> bool {
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    prefix <= width && bits.checked_shl(u32::from(prefix)).unwrap_or(0) == 0
}
