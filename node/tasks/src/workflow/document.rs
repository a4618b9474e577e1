//! What a workflow looks like as JSON.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use grapevine_config::text::{format_duration, parse_duration};

/// Steps of a workflow.
pub const STEPS_MAX: usize = 64;

/// Items that one step may fan out over.
pub const ITEMS_MAX: usize = 1_000;

/// Calls of one run in flight at once, over all of its steps.
pub const CALLS_AT_ONCE_MAX: usize = 64;

/// Attempts of one call.
pub const ATTEMPTS_MAX: u32 = 10;

/// How long one attempt of a call may take.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// What people call it. At most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its steps, in any order: what a step refers to comes before it. 1 to [`STEPS_MAX`].
    pub steps: Vec<WorkflowStep>,
    /// What a run gives, as a template. Without it: the outputs of the steps that no other step refers to, by
    /// their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// One call, or one for each item of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowStep {
    /// What others call it: a letter, then letters, digits and `_`, at most 64.
    pub id: String,
    /// What is called.
    pub call: ApiCall,
    /// Steps that come before it though it does not refer to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// An expression; when it does not hold the step is skipped, and its output is null.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// An expression that gives a list: the call is made for each of its items, and the output is the list of
    /// theirs, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    /// Calls at once of a step with `for_each`, 1 to [`CALLS_AT_ONCE_MAX`].
    #[serde(default = "four", skip_serializing_if = "is_four")]
    pub concurrency: usize,
    /// How the call is tried again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// How long one attempt may take, 1 s to [`TIMEOUT_MAX`].
    #[serde(default = "five_minutes", skip_serializing_if = "is_five_minutes")]
    pub timeout: DurationText,
    /// What follows when it fails for good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_error: OnError,
}

/// A request to the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiCall {
    /// `POST` or `GET`.
    #[serde(default)]
    pub method: CallMethod,
    /// A path of the API, such as `/v1/chat/completions`.
    pub path: String,
    /// The body as a template; none for `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// How something is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CallMethod {
    /// With a body.
    #[default]
    Post,
    /// Without one.
    Get,
}

/// How a call is tried again: after 408, 409, 429, and 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, 1 to [`ATTEMPTS_MAX`].
    pub attempts: u32,
    /// The wait after the first; doubles with each, and is jittered down to half of it.
    pub backoff: DurationText,
}

/// What follows when a step fails for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails.
    #[default]
    Fail,
    /// The run goes on; the step's output is null, and `steps.ID.error` says why.
    Continue,
}

/// A span as text with a unit, such as `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = |error| {
            let text = format!("duration {text:?} {error}; write one such as \"30s\"");
            serde::de::Error::custom(text)
        };
        parse_duration(&text).map(Self).map_err(refused)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: DurationText(Duration::from_secs(1)),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

const fn four() -> usize {
    4
}

fn is_four(count: &usize) -> bool {
    *count == four()
}

const fn five_minutes() -> DurationText {
    DurationText(Duration::from_secs(300))
}

fn is_five_minutes(span: &DurationText) -> bool {
    *span == five_minutes()
}
