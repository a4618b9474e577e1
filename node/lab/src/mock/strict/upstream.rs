//! What the routes of all providers share: the identity and the tables of an upstream, and each dialect from its body to
//! its answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::chat::{self, Flavor};
use super::chat_answer::{ChatAnswer, cached};
use super::config::{MockProvider, StrictConfig};
use super::exchange::{Call, Outcome};
use super::google;
use super::google_answer::GoogleAnswer;
use super::messages::{self, Host};
use super::messages_answer::MessageAnswer;
use super::prefix::{CacheUse, PrefixCache, Prefixes};
use super::refusal::{Refusal, Shape};
use super::responses;
use super::responses_answer::ResponseAnswer;
use super::said::{Ask, Said, say};
use super::seal::Seal;
use super::stored::Stored;
use super::tokens::Tokens;
use crate::mock::engine::Engine;

/// A refusal and the shape it is written in.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) shape: Shape,
    pub(super) refusal: Refusal,
}

impl Shape {
    /// A refusal in this shape.
    pub(super) fn failure(self, refusal: Refusal) -> Failure {
        Failure {
            shape: self,
            refusal,
        }
    }
}

/// What a route answers; `None`: the path is one of the older endpoints, which the lenient mock answers.
pub(super) type Routed = Result<Option<Outcome>, Failure>;

/// A strict upstream.
#[derive(Debug)]
pub(in crate::mock) struct Upstream {
    pub(super) provider: MockProvider,
    pub(super) name: String,
    pub(super) models: Vec<String>,
    pub(super) api_key: Option<String>,
    pub(super) config: StrictConfig,
    pub(super) seal: Seal,
    pub(super) cache: PrefixCache,
    pub(super) stored: Stored,
    pub(super) tokens: Tokens,
    /// What a vLLM server runs on, where it has one.
    pub(in crate::mock) engine: Option<Arc<Engine>>,
}

impl Upstream {
    pub(in crate::mock) fn new(
        provider: MockProvider,
        name: String,
        models: Vec<String>,
        api_key: Option<String>,
        seed: u64,
        config: StrictConfig,
    ) -> Self {
        Self {
            provider,
            seal: Seal::new(&name, seed),
            cache: PrefixCache::default(),
            stored: Stored::default(),
            tokens: Tokens::new(config.token_lifetime),
            engine: config.engine.map(Engine::new),
            name,
            models,
            api_key,
            config,
        }
    }

    /// Whether `key` is the upstream's; without one set, any key will do.
    pub(super) fn is_key(&self, key: &str) -> bool {
        self.api_key
            .as_deref()
            .map_or(!key.is_empty(), |own| own == key)
    }

    pub(super) fn serves(&self, model: &str) -> bool {
        self.models
            .iter()
            .any(|known| known == model || known == "*")
    }

    /// The models that have a name.
    pub(super) fn named_models(&self) -> impl Iterator<Item = &String> {
        self.models.iter().filter(|model| *model != "*")
    }

    pub(super) fn id(&self, call: &Call<'_>) -> String {
        format!("{}-{}", self.name, call.number)
    }

    pub(super) fn say(&self, ask: &Ask, call: &Call<'_>) -> Said {
        say(&self.name, ask, call.number, call.chunks)
    }

    /// A chat completion. `admit` decides whether the model is served, and by which name it is known.
    pub(super) fn chat(
        &self,
        call: &Call<'_>,
        flavor: Flavor,
        admit: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let chat = chat::read(call.body, flavor, &self.seal)?;
        admit(&chat.ask.model)?;
        let said = self.say(&chat.ask, call);
        let cached = call
            .cached
            .unwrap_or_else(|| cached(self.pass_all(&chat.ask.model, &chat.messages, call)));
        let answer = ChatAnswer {
            id: self.id(call),
            created: call.seconds(),
            chat: &chat,
            said: &said,
            cached,
            flavor,
            seal: &self.seal,
        };
        let (input, output) = (chat.ask.input_tokens, said.output_tokens());
        Ok(answer.outcome().billed(input, cached, output))
    }

    /// A response of OpenAI's.
    pub(super) fn response(
        &self,
        call: &Call<'_>,
        admit: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let asked = responses::read(call.body, &self.stored, &self.seal)?;
        admit(&asked.ask.model)?;
        let said = self.say(&asked.ask, call);
        let answer = ResponseAnswer {
            id: self.id(call),
            created: call.seconds(),
            asked: &asked,
            said: &said,
            cache: self.pass_all(&asked.ask.model, &asked.items, call),
            seal: &self.seal,
        };
        let whole = answer.whole();
        if asked.store {
            let output = whole["output"].as_array().cloned().unwrap_or_default();
            let conversation: Vec<Value> = asked.items.iter().cloned().chain(output).collect();
            let named = asked.body.get("conversation").unwrap_or(&Value::Null);
            self.stored.go_on(named, &conversation);
            self.stored.kept.keep(whole.clone(), conversation);
        }
        let outcome = if asked.ask.stream {
            Outcome::events(answer.stream())
        } else {
            Outcome::json(&whole)
        };
        let (input, output) = (asked.ask.input_tokens, said.output_tokens());
        Ok(outcome.billed(input, cached(answer.cache), output))
    }

    /// A kept response: read or deleted by `/responses/{id}`.
    pub(super) fn kept_response(&self, call: &Call<'_>, id: &str) -> Result<Outcome, Refusal> {
        let gone = || Refusal::new(404, format!("Response with id '{id}' not found."));
        if *call.method == http::Method::DELETE {
            return if self.stored.kept.delete(id) {
                Ok(Outcome::json(
                    &json!({"id": id, "object": "response", "deleted": true}),
                ))
            } else {
                Err(gone())
            };
        }
        self.stored
            .kept
            .response(id)
            .map(|response| Outcome::json(&response))
            .ok_or_else(gone)
    }

    /// A message of Anthropic's, whole or as server-sent events.
    pub(super) fn message(
        &self,
        call: &Call<'_>,
        host: Host,
        model: Option<&str>,
        admit: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        self.with_message(call, host, model, admit, |answer, ask| {
            if ask.stream {
                Outcome::events(answer.stream())
            } else {
                Outcome::json(&answer.whole())
            }
        })
    }

    /// A message of Anthropic's, framed by `write`.
    pub(super) fn with_message(
        &self,
        call: &Call<'_>,
        host: Host,
        model: Option<&str>,
        admit: impl Fn(&str) -> Result<(), Refusal>,
        write: impl FnOnce(&MessageAnswer<'_>, &Ask) -> Outcome,
    ) -> Result<Outcome, Refusal> {
        let read = messages::read(call.body, host, model, &self.seal)?;
        admit(&read.ask.model)?;
        let said = self.say(&read.ask, call);
        let carried = |prefix: &str| match host {
            Host::Bedrock => format!("bdrk_{prefix}"),
            Host::Vertex => format!("vrtx_{prefix}"),
            Host::Api | Host::Count => prefix.to_owned(),
        };
        let answer = MessageAnswer {
            id: carried(&self.id(call)),
            call_prefix: match host {
                Host::Bedrock => "toolu_bdrk_",
                Host::Vertex => "toolu_vrtx_",
                Host::Api | Host::Count => "toolu_",
            },
            ask: &read.ask,
            said: &said,
            cache: self.cache.pass(&read.prefixes, &read.marks, call.now),
            seal: &self.seal,
        };
        let (input, output) = (answer.input_tokens(), said.output_tokens());
        let cached = answer.cache.read;
        Ok(write(&answer, &read.ask).billed(input, cached, output))
    }

    /// What `count_tokens` answers.
    pub(super) fn token_count(
        &self,
        call: &Call<'_>,
        admit: impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let read = messages::read(call.body, Host::Count, None, &self.seal)?;
        admit(&read.ask.model)?;
        Ok(Outcome::json(
            &json!({"input_tokens": read.ask.input_tokens}),
        ))
    }

    /// Google's `verb` on `model`.
    pub(super) fn google(
        &self,
        call: &Call<'_>,
        model: &str,
        verb: &str,
    ) -> Result<Outcome, Refusal> {
        let ask = google::read(
            call.body,
            model,
            verb == "streamGenerateContent",
            &self.seal,
        )?;
        if verb == "countTokens" {
            return Ok(Outcome::json(&json!({"totalTokens": ask.input_tokens})));
        }
        let said = self.say(&ask, call);
        let answer = GoogleAnswer {
            id: self.id(call),
            ask: &ask,
            said: &said,
            seal: &self.seal,
        };
        let outcome = match (ask.stream, call.parameter("alt")) {
            (false, _) => Outcome::json(&answer.whole()),
            (true, Some("sse")) => Outcome::events(answer.stream()),
            (true, _) => Outcome::stream("application/json; charset=UTF-8", answer.array()),
        };
        Ok(outcome.billed(ask.input_tokens, 0, said.output_tokens()))
    }

    /// OpenAI caches every prompt: each message ends a prefix.
    fn pass_all(&self, model: &str, messages: &[Value], call: &Call<'_>) -> CacheUse {
        let mut prefixes = Prefixes::of(model);
        let marks: Vec<usize> = messages
            .iter()
            .map(|message| prefixes.push(&message.to_string()))
            .collect();
        self.cache.pass(&prefixes, &marks, call.now)
    }

    /// The list of models as OpenAI has it.
    pub(super) fn openai_models(&self, call: &Call<'_>, owner: &str) -> Outcome {
        let models: Vec<Value> = self
            .named_models()
            .map(|id| openai_model(id, call, owner))
            .collect();
        Outcome::json(&json!({"object": "list", "data": models}))
    }
}

/// One model as OpenAI has it.
pub(super) fn openai_model(id: &str, call: &Call<'_>, owner: &str) -> Value {
    json!({"id": id, "object": "model", "created": call.seconds(), "owned_by": owner})
}

/// Refuses what the model is not.
pub(super) fn unknown_model(model: &str) -> Refusal {
    Refusal::new(
        404,
        format!("The model `{model}` does not exist or you do not have access to it."),
    )
    .code("model_not_found")
}
