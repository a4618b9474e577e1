//! What a load sends, and what must come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::answers;

/// Bytes at the end of an answer that are compared.
pub(crate) const TAIL: usize = 64;

/// What is sent and what must come.
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) is_exact: bool,
    pub(crate) is_paced: bool,
    pub(crate) holds: bool,
    pub(crate) warm: usize,
    /// The bytes of the right answer's body.
    pub(crate) length: usize,
    pub(crate) tail: Vec<u8>,
    /// What a stream that was written anew ends with; nothing if it is no stream.
    pub(crate) end: Option<&'static str>,
}

/// The APIs that a load speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    /// OpenAI's chat completions, as the upstream does.
    Chat,
    /// Anthropic's messages, which somebody must translate.
    Messages,
}

impl Api {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// The last event of a stream.
    fn end(self) -> &'static str {
        match self {
            Self::Chat => answers::DONE.trim_end(),
            Self::Messages => r#""message_stop""#,
        }
    }

    /// What a body says beside the model and the conversation.
    const fn limits(self) -> &'static str {
        match self {
            Self::Chat => "",
            Self::Messages => r#","max_tokens":1024"#,
        }
    }
}

pub(crate) struct Options {
    pub(crate) plan: Arc<Plan>,
    pub(crate) connections: usize,
    pub(crate) period: Duration,
}

/// Reads the command line.
pub(crate) fn options() -> anyhow::Result<Options> {
    let (mut to, mut model, mut headers) = (None, String::new(), String::new());
    let (mut connections, mut seconds, mut body, mut warm) = (1_usize, 1.0_f64, 1_024_usize, 1);
    let (mut is_exact, mut api) = (true, Api::Chat);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name}: a value must follow"))?;
        let wrong = || format!("{name} {value}");
        match name.as_str() {
            "--to" => to = Some(value.parse().with_context(wrong)?),
            "--model" => model.clone_from(&value),
            "--connections" => connections = value.parse().with_context(wrong)?,
            "--seconds" => seconds = value.parse().with_context(wrong)?,
            "--body" => body = value.parse().with_context(wrong)?,
            "--warm" => warm = value.parse().with_context(wrong)?,
            "--answer" => {
                let is_known = ["exact", "rewritten"].contains(&value.as_str());
                ensure!(is_known, "--answer {value}: exact or rewritten");
                is_exact = value == "exact";
            }
            "--api" => {
                api = match value.as_str() {
                    "chat" => Api::Chat,
                    "messages" => Api::Messages,
                    _ => bail!("--api {value}: chat or messages"),
                }
            }
            "--header" => headers += &format!("{value}\r\n"),
            _ => bail!("{name}: no such option"),
        }
    }
    ensure!(
        answers::MODELS.contains(&model.as_str()),
        "--model: one of {:?}",
        answers::MODELS
    );
    ensure!(connections > 0, "--connections: at least 1");
    ensure!(
        api == Api::Chat || !is_exact,
        "--api messages: no answer is exact, since the upstream speaks chat completions"
    );
    let to = to.context("--to IP:PORT is needed")?;
    let answer = match model.as_str() {
        json if json.ends_with("-json") => answers::json(),
        _ => answers::events(&model).concat(),
    };
    let plan = Plan {
        to,
        request: request(to, api, &model, body, &headers),
        is_exact,
        is_paced: model == "bench-paced",
        holds: model == "bench-hold",
        warm,
        length: answer.len(),
        tail: answer.as_bytes()[answer.len().saturating_sub(TAIL)..].to_vec(),
        end: (!model.ends_with("-json")).then(|| api.end()),
    };
    let period = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    Ok(Options {
        plan: Arc::new(plan),
        connections,
        period,
    })
}

/// A request whose body has so many bytes, where that is enough for it.
fn request(to: SocketAddr, api: Api, model: &str, bytes: usize, headers: &str) -> Vec<u8> {
    let stream = if model.ends_with("-json") {
        ""
    } else {
        r#","stream":true"#
    };
    let (path, limits) = (api.path(), api.limits());
    let body = |text: &str| {
        format!(
            r#"{{"model":"{model}"{limits}{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#
        )
    };
    let padding = bytes.saturating_sub(body("").len());
    let body = body(&"text ".repeat(padding / 5 + 1)[..padding]);
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
