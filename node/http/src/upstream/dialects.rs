//! Which dialects an upstream reads, and how a call is made there.

use std::sync::atomic::{AtomicU8, Ordering};

use grapevine_base::exchange::Call;
use grapevine_config::checked::{Provider, ProviderConfig};
use grapevine_core::dialect::{Dialect, DialectSet, RequestDialect};
use grapevine_core::ids::ModelName;
use grapevine_core::native_path::MessagesForm;
use http::HeaderValue;

/// The dialects that a call is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) client: Dialect,
    pub(super) upstream: Dialect,
}

impl Crossing {
    /// As the header of an answer says it.
    pub(super) fn shown(self) -> HeaderValue {
        let shown = format!("{}>{}", self.client, self.upstream);
        HeaderValue::try_from(shown).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialectWay {
    /// As it is.
    AsItIs,
    /// In another dialect.
    Translated(Crossing),
    /// As it is, and in another dialect where the upstream has no such path: nobody said what it reads.
    Assumed(Crossing),
    /// As it is, with a stream that comes in another framing, and errors of another form.
    Reframed,
    /// As it is, with errors out of the lists in which they come.
    Unlisted,
    /// In Anthropic's own form of messages, out of a cloud's: then in one of the other ways.
    Rewritten(MessagesForm),
    /// Not at all.
    Unread,
}

/// Which dialects an upstream reads.
#[derive(Debug)]
pub(super) struct TargetDialects {
    provider: Provider,
    stated: DialectSet,
    /// Whether they differ from the provider's, so that whoever wrote them knows better.
    is_written: bool,
    /// Those that it turned out not to read, as bits, until the next reload.
    unread: AtomicU8,
}

impl TargetDialects {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        Self {
            provider: config.provider,
            stated: config.dialects,
            is_written: config.dialects != config.provider.dialects(config.api_version.is_some()),
            unread: AtomicU8::new(0),
        }
    }

    /// How `call` is made, for `model` by its own name there.
    pub(super) fn way(&self, call: &Call, model: Option<&ModelName>) -> DialectWay {
        let Some(asked) = RequestDialect::of_path(call.path.path()) else {
            return DialectWay::AsItIs;
        };
        let read = self.read(asked.dialect, model);
        if let Some(form) = form(asked, call.path.path()) {
            let takes_it = self.takes(form) && read.contains(Dialect::Messages);
            return match takes_it {
                true => DialectWay::AsItIs,
                false => DialectWay::Rewritten(form),
            };
        }
        let crossing = |upstream| Crossing {
            client: asked.dialect,
            upstream,
        };
        match asked.asked_in(read) {
            None => DialectWay::Unread,
            Some(upstream) if upstream != asked.dialect => {
                DialectWay::Translated(crossing(upstream))
            }
            Some(Dialect::Messages) if self.frames_messages() => DialectWay::Reframed,
            Some(Dialect::Chat) if self.lists_errors() => DialectWay::Unlisted,
            // All is what is said where nothing is known.
            Some(own) if self.stated == DialectSet::ALL && own != Dialect::Chat => {
                match asked.translates {
                    true => DialectWay::Assumed(crossing(Dialect::Chat)),
                    false => DialectWay::AsItIs,
                }
            }
            Some(_) => DialectWay::AsItIs,
        }
    }

    /// What it reads for a client of `dialect`, as far as known.
    fn read(&self, dialect: Dialect, model: Option<&ModelName>) -> DialectSet {
        let unread = DialectSet::from_bits(self.unread.load(Ordering::Relaxed));
        if unread.contains(dialect) {
            // Of the others nothing is known either, and chat completions are what all have.
            DialectSet::CHAT
        } else if self.is_written {
            self.stated
        } else {
            self.stated.within(of_model(self.provider, model))
        }
    }

    /// Whether its streams of messages are frames, and its errors of messages have no form of Anthropic's.
    pub(super) const fn frames_messages(&self) -> bool {
        matches!(self.provider, Provider::Bedrock)
    }

    /// Whether its chat completions answer with a list of one error, which OpenAI's clients do not read.
    const fn lists_errors(&self) -> bool {
        matches!(self.provider, Provider::Gemini | Provider::Vertex)
    }

    /// Whether messages in this cloud's form are its own.
    fn takes(&self, form: MessagesForm) -> bool {
        match form {
            MessagesForm::Bedrock => self.provider == Provider::Bedrock,
            MessagesForm::Vertex => self.provider == Provider::Vertex,
        }
    }

    /// The upstream does not read `dialect`, contrary to what was assumed.
    pub(super) fn is_unread(&self, dialect: Dialect) {
        let bits = DialectSet::of(dialect).bits();
        self.unread.fetch_or(bits, Ordering::Relaxed);
    }
}

/// The cloud whose form of messages a request has; `None` for Anthropic's own, and for other dialects.
fn form(asked: RequestDialect, path: &str) -> Option<MessagesForm> {
    let is_own = asked.dialect != Dialect::Messages || path.starts_with("/v1/messages");
    (!is_own).then(|| MessagesForm::of_path(path)).flatten()
}

/// What a provider reads for this model, where that depends on whose it is.
fn of_model(provider: Provider, model: Option<&ModelName>) -> DialectSet {
    let Some(model) = model.map(ModelName::as_str) else {
        return DialectSet::ALL;
    };
    match provider {
        // `eu.anthropic.claude-..` and ARNs of inference profiles hold the maker's name; all models take Converse.
        Provider::Bedrock if model.contains("anthropic.") => {
            DialectSet::MESSAGES.with(DialectSet::CONVERSE)
        }
        Provider::Bedrock if model.contains("openai.") => DialectSet::CHAT
            .with(DialectSet::RESPONSES)
            .with(DialectSet::CONVERSE),
        Provider::Bedrock => DialectSet::CONVERSE.with(DialectSet::CHAT),
        Provider::Vertex if model.contains("claude") => DialectSet::MESSAGES,
        Provider::Vertex if model.contains("gemini") => DialectSet::CHAT.with(DialectSet::GEMINI),
        Provider::Vertex => DialectSet::CHAT,
        _ => DialectSet::ALL,
    }
}

#[cfg(test)]
mod tests {
    use grapevine_base::call_body::CallBody;
    use grapevine_base::exchange::Caller;
    use grapevine_core::ids::UpstreamName;
    use http::uri::PathAndQuery;
    use http::{HeaderMap, Method};

    use super::*;

    fn way(config: ProviderConfig, path: &'static str, model: &str, stream: bool) -> DialectWay {
        let model = ModelName::new(model).expect("a name");
        let call = Call {
            request_id: "r".into(),
            upstream: UpstreamName::new("u").expect("a name"),
            model: Some(model.clone()),
            method: Method::POST,
            path: PathAndQuery::from_static(path),
            headers: HeaderMap::new().into(),
            body: CallBody::default(),
            stream,
            deadline: tokio::time::Instant::now(),
            last_resort: false,
            allow_regions: [].into(),
            caller: Caller::default(),
        };
        TargetDialects::new(&config).way(&call, Some(&model))
    }

    fn of(provider: Provider) -> ProviderConfig {
        ProviderConfig {
            provider,
            dialects: provider.dialects(false),
            ..ProviderConfig::default()
        }
    }

    const fn between(client: Dialect, upstream: Dialect) -> DialectWay {
        DialectWay::Translated(Crossing { client, upstream })
    }

    #[test]
    fn way_follows_the_provider_and_the_maker_of_the_model() {
        use Dialect::{Chat, Converse, Gemini, Messages, Responses};
        let (chat, messages) = ("/v1/chat/completions", "/v1/messages");
        for (provider, path, model, expected) in [
            (Provider::OpenAi, chat, "gpt", DialectWay::AsItIs),
            (Provider::OpenAi, messages, "gpt", between(Messages, Chat)),
            (Provider::Anthropic, chat, "claude", between(Chat, Messages)),
            (Provider::Anthropic, messages, "claude", DialectWay::AsItIs),
            (
                Provider::Bedrock,
                chat,
                "eu.anthropic.claude",
                between(Chat, Messages),
            ),
            (
                Provider::Bedrock,
                messages,
                "amazon.nova",
                between(Messages, Converse),
            ),
            (
                Provider::Bedrock,
                chat,
                "openai.gpt-oss",
                DialectWay::AsItIs,
            ),
            (
                Provider::Vertex,
                chat,
                "claude-sonnet",
                between(Chat, Messages),
            ),
            (
                Provider::Vertex,
                "/v1/responses",
                "gemini-2",
                between(Responses, Gemini),
            ),
            (Provider::Gemini, chat, "gemini-2", DialectWay::Unlisted),
            (
                Provider::Gemini,
                messages,
                "gemini-2",
                between(Messages, Gemini),
            ),
            (
                Provider::Anthropic,
                "/v1/responses/r_1",
                "claude",
                DialectWay::Unread,
            ),
            (
                Provider::Anthropic,
                "/v1/embeddings",
                "claude",
                DialectWay::AsItIs,
            ),
        ] {
            assert_eq!(
                way(of(provider), path, model, false),
                expected,
                "{provider:?} {path} {model}"
            );
        }
        for is_stream in [false, true] {
            let way = way(
                of(Provider::Bedrock),
                messages,
                "anthropic.claude",
                is_stream,
            );
            assert_eq!(way, DialectWay::Reframed);
        }
    }

    #[test]
    fn form_of_a_cloud_is_rewritten_for_all_others() {
        let invoke = "/model/anthropic.claude/invoke";
        let predict = "/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict";
        for (provider, path, model, expected) in [
            (Provider::Bedrock, invoke, "anthropic.claude", None),
            (Provider::Vertex, predict, "claude", None),
            // A model that takes Converse alone.
            (
                Provider::Bedrock,
                invoke,
                "amazon.nova",
                Some(MessagesForm::Bedrock),
            ),
            (
                Provider::Vertex,
                invoke,
                "claude",
                Some(MessagesForm::Bedrock),
            ),
            (
                Provider::Anthropic,
                predict,
                "claude",
                Some(MessagesForm::Vertex),
            ),
            (Provider::OpenAi, invoke, "gpt", Some(MessagesForm::Bedrock)),
        ] {
            let expected = expected.map_or(DialectWay::AsItIs, DialectWay::Rewritten);
            let found = way(of(provider), path, model, false);
            assert_eq!(found, expected, "{provider:?} {path} {model}");
        }
    }

    #[test]
    fn server_that_nobody_named_is_asked_as_it_is_first() {
        let unnamed = ProviderConfig::default;
        let chat = Crossing {
            client: Dialect::Messages,
            upstream: Dialect::Chat,
        };
        assert_eq!(
            way(unnamed(), "/v1/messages", "m", false),
            DialectWay::Assumed(chat)
        );
        assert_eq!(
            way(unnamed(), "/v1/chat/completions", "m", false),
            DialectWay::AsItIs
        );
        assert_eq!(
            way(unnamed(), "/v1/responses/r_1", "m", false),
            DialectWay::AsItIs
        );
    }
}
