//! The payloads that nodes gossip: compact JSON, one for each kind of fact.
//!
//! JSON and not bincode, so that versions mix: a reader skips fields it does not know and does
//! without those it misses. What it reads is checked before core sees it: names by core's own rules,
//! numbers refused when negative and clamped when huge. Time is in whole microseconds.
//!
//! A value has a limit, since an oversize one starves every key after it in chitchat. What does not fit is left out
//! by the writer, which reports how much.

mod account;
pub mod envelope;
mod figure;
mod fitting;
mod further;
mod models_out;
mod node;
mod phase;
pub mod position;
mod rules;
mod services;

use std::collections::BTreeMap;

use grapevine_core::fact::{Fact, FactKey, Standing, UpstreamFact};
use grapevine_core::health::EjectionReason;
use grapevine_core::ids::{ModelName, NameError, UpstreamName};
use grapevine_core::units::{Share, Tier, Weight};
use serde::{Deserialize, Serialize};

use account::AccountPayload;
use figure::Figure;
use further::FurtherPayload;
use models_out::ModelsOut;
use node::NodePayload;
use phase::PhasePayload;
use rules::RulesPayload;
use services::ServicesPayload;

/// The longest value under one key, its envelope included, in bytes.
pub const VALUE_BYTES_MAX: usize = 1_024;

/// The longest payload in bytes: a value without the rest of its envelope.
pub const PAYLOAD_BYTES_MAX: usize = VALUE_BYTES_MAX - envelope::SEAL_BYTES_MAX;

/// All facts of one node together, keys and values, in bytes. Its certificate and its residency rules come
/// beside them, at most a value each.
pub const STATE_BYTES_MAX: usize = 4 * 1_024;

/// The key under which a node gossips its certificate.
pub const CERTIFICATE_KEY: &str = "cert";

/// Requests at once that an upstream is assumed to carry when its owner does not publish the number.
const IN_FLIGHT_MAX_ASSUMED: u32 = 256;

/// What a key of a node's gossiped state stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// A fact.
    Fact(FactKey),
    /// The node's certificate.
    Certificate,
    /// Something of a later version; to be ignored.
    Unknown,
}

/// Why a payload is not a fact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// More bytes than the limit.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Not the JSON that this key wants.
    #[error("not the JSON of this key")]
    Malformed,
    /// A name that is none.
    #[error("bad name: {0}")]
    Name(#[from] NameError),
    /// A field holds what it must not.
    #[error("field {0} is out of range")]
    Field(&'static str),
}

/// A payload ready to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The JSON, exactly as it will be sent.
    pub json: String,
    /// Models that did not fit; the reader will not know that this upstream serves them.
    pub models_left_out: usize,
}

/// What `text` stands for as a key.
///
/// # Errors
/// When it begins like an upstream's key and goes on with what cannot be a name.
pub fn parse_key(text: &str) -> Result<StateKey, ValueError> {
    Ok(match text {
        "node" => StateKey::Fact(FactKey::Node),
        "phase" => StateKey::Fact(FactKey::Phase),
        "rules" => StateKey::Fact(FactKey::Rules),
        "svc" => StateKey::Fact(FactKey::Services),
        CERTIFICATE_KEY => StateKey::Certificate,
        _ => match text.strip_prefix("up.") {
            Some(name) => StateKey::Fact(FactKey::Upstream(UpstreamName::new(name)?)),
            None => StateKey::Unknown,
        },
    })
}

/// Writes a fact in at most `bytes_max` bytes. An upstream with many models loses first the times of
/// its models, then models from the end of their order; a node loses public addresses from the end of
/// theirs.
///
/// # Errors
/// [`ValueError::TooLong`] when even that does not fit.
pub fn encode(fact: &Fact, bytes_max: usize) -> Result<Payload, ValueError> {
    let payload = match fact {
        Fact::Node(fact) => node::fitting(fact, bytes_max),
        Fact::Phase(phase) => whole(&PhasePayload::of(*phase)),
        Fact::Services(fact) => whole(&ServicesPayload::fitting(fact, bytes_max)),
        Fact::UpstreamGone(_) => whole(&UpstreamPayload {
            gone: true,
            ..UpstreamPayload::default()
        }),
        Fact::Upstream(fact) => fitting::fitting(fact, bytes_max),
        Fact::Rules(fact) => rules::fitting(fact, bytes_max),
    };
    if payload.json.len() > bytes_max {
        return Err(ValueError::TooLong { max: bytes_max });
    }
    Ok(payload)
}

/// Reads the payload of `key`.
///
/// # Errors
/// When it is too long, is not this key's JSON, or holds what core does not take.
pub fn decode(key: &FactKey, json: &str) -> Result<Fact, ValueError> {
    if json.len() > PAYLOAD_BYTES_MAX {
        return Err(ValueError::TooLong {
            max: PAYLOAD_BYTES_MAX,
        });
    }
    match key {
        FactKey::Node => parse::<NodePayload>(json)?.into_fact().map(Fact::Node),
        FactKey::Phase => parse::<PhasePayload>(json)?.into_phase().map(Fact::Phase),
        FactKey::Rules => {
            let fact = parse::<RulesPayload>(json)?.into_fact()?;
            Ok(Fact::Rules(fact.into()))
        }
        FactKey::Services => parse::<ServicesPayload>(json)?
            .into_fact()
            .map(Fact::Services),
        FactKey::Upstream(name) => {
            let payload: UpstreamPayload = parse(json)?;
            if payload.gone {
                return Ok(Fact::UpstreamGone(name.clone()));
            }
            payload.into_fact(name.clone()).map(Fact::Upstream)
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, ValueError> {
    serde_json::from_str(json).map_err(|_| ValueError::Malformed)
}

pub(crate) fn json(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).expect("text keys and finite numbers always are JSON")
}

pub(crate) fn whole(payload: &impl Serialize) -> Payload {
    Payload {
        json: json(payload),
        models_left_out: 0,
    }
}

/// Zero and absent are the same for every time here: unmeasured.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct UpstreamPayload {
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    /// What a healthy one still has to prove: `untested` or `suspect`. Readers of an earlier version take it as
    /// healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_rate: Option<Figure>,
    /// The share of answers that broke off, in whole percents. A reader of an earlier version does without.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_max: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Figure>,
    /// A bit for each dialect that it reads; absent where that is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialects: Option<Figure>,
    /// Whether it takes WebSockets. A node of an earlier version sends none and reads none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    websocket: bool,
    #[serde(serialize_with = "figure::by_model")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    models: BTreeMap<String, Option<Figure>>,
    /// Models that do not stand as the upstream does. A reader of an earlier version does without.
    #[serde(skip_serializing_if = "ModelsOut::is_empty")]
    models_out: ModelsOut,
    /// What nodes of earlier versions do not read.
    #[serde(skip_serializing_if = "FurtherPayload::is_empty")]
    more: FurtherPayload,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountPayload>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

/// The state as every version knows it.
const fn state_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Untested | Standing::Suspect { .. } => Standing::Ready.as_str(),
        other => other.as_str(),
    }
}

impl UpstreamPayload {
    fn from_fact(fact: &UpstreamFact) -> Self {
        let unless_zero = |figure: Figure| (figure.0 != 0.0).then_some(figure);
        let cooldown = match fact.standing {
            Standing::CoolingDown { remaining } => Some(Figure::of_span(remaining)),
            _ => None,
        };
        let weight = fact.weight.get().max(Figure::STEP);
        Self {
            state: state_word(fact.standing).to_owned(),
            doubt: match fact.standing {
                Standing::Untested | Standing::Suspect { .. } => {
                    Some(fact.standing.as_str().to_owned())
                }
                _ => None,
            },
            reason: fact
                .standing
                .reason()
                .map(|reason| reason.as_str().to_owned()),
            cooldown,
            ttft: fact.ttft.map(Figure::of_span).and_then(unless_zero),
            error_rate: unless_zero(Figure::stepped(fact.error_rate.get())),
            breaks: unless_zero(Figure((fact.break_rate.get() * 100.0).round())),
            in_flight: unless_zero(Figure(fact.in_flight.into())),
            in_flight_max: Some(Figure(fact.in_flight_max.into())),
            tier: (fact.tier != Tier::default()).then(|| Figure(fact.tier.0.into())),
            weight: (fact.weight != Weight::default()).then(|| Figure::stepped(weight)),
            dialects: Figure::of_dialects(fact.dialects),
            websocket: fact.websocket,
            models: fact
                .models
                .iter()
                .map(|(model, ttft)| (model.as_str().to_owned(), ttft.map(Figure::of_span)))
                .collect(),
            models_out: ModelsOut::of(&fact.models_out),
            more: FurtherPayload::of(&fact.further),
            account: fact.account.as_deref().map(AccountPayload::of),
            gone: false,
        }
    }

    fn into_fact(self, name: UpstreamName) -> Result<UpstreamFact, ValueError> {
        let standing = self.standing()?;
        let measured = |figure: Option<Figure>, field| {
            let span = figure.map(|figure| figure.span(field)).transpose()?;
            Ok::<_, ValueError>(span.filter(|span| !span.is_zero()))
        };
        let mut models = BTreeMap::new();
        for (model, ttft) in &self.models {
            models.insert(ModelName::new(model)?, measured(*ttft, "models")?);
        }
        let count = |figure: Option<Figure>, field, absent| {
            figure.map_or(Ok(absent), |figure| figure.count(field))
        };
        let in_flight_max = count(self.in_flight_max, "in_flight_max", IN_FLIGHT_MAX_ASSUMED)?;
        let tier = count(self.tier, "tier", Tier::default().0.into())?;
        let weight = match self.weight {
            Some(Figure(weight)) => {
                Weight::new(weight.min(Weight::MAX)).ok_or(ValueError::Field("weight"))?
            }
            None => Weight::default(),
        };
        Ok(UpstreamFact {
            name,
            models,
            standing,
            ttft: measured(self.ttft, "ttft")?,
            error_rate: Share::clamped(self.error_rate.unwrap_or_default().0),
            break_rate: Share::of(count(self.breaks, "breaks", 0)?, 100),
            in_flight: count(self.in_flight, "in_flight", 0)?,
            in_flight_max: in_flight_max.max(1),
            tier: Tier(u16::try_from(tier).unwrap_or(u16::MAX)),
            weight,
            dialects: Figure::dialects(self.dialects)?,
            websocket: self.websocket,
            models_out: self.models_out.into_standings()?,
            further: self.more.into_figures()?,
            account: self
                .account
                .map(AccountPayload::into_fact)
                .transpose()?
                .map(Box::new),
        })
    }

    /// A reason of a later version counts as an error rate: the upstream is ejected all the same.
    fn standing(&self) -> Result<Standing, ValueError> {
        let reason = self.reason.as_deref().and_then(EjectionReason::from_word);
        let reason = reason.unwrap_or(EjectionReason::ErrorRate);
        Ok(match self.state.as_str() {
            "healthy" => match self.doubt.as_deref() {
                Some("untested") => Standing::Untested,
                Some("suspect") => Standing::Suspect { reason },
                _ => Standing::Ready,
            },
            "cooldown" => Standing::CoolingDown {
                remaining: self.cooldown.unwrap_or_default().span("cooldown")?,
            },
            "ejected" => Standing::Ejected { reason },
            "probing" => Standing::Probing { reason },
            _ => return Err(ValueError::Field("state")),
        })
    }
}

#[cfg(test)]
mod tests;
