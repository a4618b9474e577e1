//! What a request asks for: whole answers or streams, how long they take to make, and whose requests cannot succeed.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::ModelName;
use grapevine_core::outcome::Stage;

use super::World;
use crate::atlas::RegionIndex;
use crate::chance;
use crate::endpoint::{CallKey, Demand, Prompt};
use crate::scenario::{ClientFault, LongPrompts};

/// What a request asks its upstream for, apart from the model, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    /// Its client's number. Each has one of its own, unless it is at fault.
    pub(super) client: u64,
    pub(super) client_fault: Option<ClientFault>,
    pub(super) is_stream: bool,
    /// From the first byte of its answer to the last, as its upstream will take.
    pub(super) body: Duration,
    /// Of a prompt that every upstream reads for long.
    pub(super) long_prompt: Option<LongPrompts>,
    /// The conversation that it goes on, for engines that know it from before.
    pub(super) prompt: Option<Prompt>,
}

impl Asks {
    pub(super) const fn of(client: u64) -> Self {
        Self {
            client,
            client_fault: None,
            is_stream: true,
            body: Duration::ZERO,
            long_prompt: None,
            prompt: None,
        }
    }

    /// From the first byte to the last: an answer that is no stream is sent when all of it is made.
    pub(super) const fn body_after_head(&self) -> Duration {
        match self.is_stream {
            true => self.body,
            false => Duration::ZERO,
        }
    }
}

impl World {
    /// What else a request is like, hashed from its number.
    pub(super) fn asks(&self, id: u64, region: RegionIndex, body: Duration) -> Asks {
        let workload = &self.scenario.workload;
        let draw = |number| chance::hash(&[self.chance.seed, 79, id, number]);
        let is_of = |share: f64, number| chance::to_unit(draw(number)) < share;
        let thinking = workload.thinking.filter(|it| is_of(it.share, 1));
        let faulty = workload.faulty.iter().enumerate();
        let faulty = faulty
            .filter(|(_, one)| one.region.is_none_or(|it| it == region))
            .find(|(index, one)| is_of(one.share, 100 + *index as u64));
        Asks {
            // Numbers from above are of clients with many requests.
            client: faulty.map_or(id, |(index, _)| u64::MAX - index as u64),
            client_fault: faulty.map(|(_, one)| one.fault),
            is_stream: !is_of(workload.whole, 2),
            body: thinking.map_or(body, |thinking| {
                let factor = (thinking.spread * chance::to_normal(draw(3))).exp();
                let span = thinking.median.mul_f64(factor);
                span.clamp(thinking.least, thinking.most)
            }),
            long_prompt: workload.long_prompts.filter(|it| is_of(it.share, 4)),
            prompt: None,
        }
    }

    /// How long a caller waits for the first byte.
    pub(super) fn patience(&self, asks: &Asks) -> Duration {
        match asks.is_stream {
            true => self.scenario.routing.first_byte,
            false => self.scenario.routing.answer,
        }
    }

    pub(super) fn demand<'a>(
        &self,
        key: CallKey,
        model: &'a ModelName,
        patience_ends_at: Instant,
        asks: &Asks,
    ) -> Demand<'a> {
        let body = asks.body_after_head();
        let stage = match asks.is_stream {
            true => Stage::FirstByte,
            false => Stage::Answer,
        };
        Demand {
            key,
            model,
            client_fault: asks.client_fault,
            draw: chance::hash(&[self.chance.seed, 78, key.0, u64::from(key.1)]),
            connect: self.scenario.routing.connect,
            patience: self.now.until(patience_ends_at),
            stage,
            prompt: asks.long_prompt.map_or(1.0, |prompt| prompt.factor),
            making: asks.body.saturating_sub(body),
            body,
            conversation: asks.prompt,
        }
    }

    /// An upstream begins to work on a request.
    pub(super) fn paid(&mut self, id: u64) {
        let Some(client) = self.requests.get_mut(&id) else {
            return;
        };
        client.paid += 1;
        if client.paid > 1 && !client.asks.is_stream {
            self.record.tally.paid_twice += 1;
        }
    }
}
