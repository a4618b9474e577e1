//! Outcomes that say "too much at once", and of what.

use super::{Finding, Outcome};

impl Outcome {
    /// Whether the upstream reports that it has no room for more at the moment; it may mean a rate.
    pub const fn lacks_room(&self) -> bool {
        match self {
            Self::Status {
                status, finding, ..
            } => match finding {
                Finding::Failed => *status == 503,
                Finding::RateOfModel | Finding::RateOfAccount | Finding::RateOfPlace => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether it is about how often one model may be asked for, and not about the upstream's others.
    pub const fn limits_model(&self) -> bool {
        matches!(
            self,
            Self::Status {
                finding: Finding::RateOfModel | Finding::RateOfPlace,
                ..
            }
        )
    }

    /// Whether it speaks for every upstream of the same account: a limit of rates that is not said to be one of a
    /// deployment, a region or a server.
    ///
    /// Source: OpenAI's 429 is about an organization and a model, Anthropic's about an organization and a class of
    /// models, Groq's, xAI's, Mistral's and Gemini's about an organization, a team, a workspace and a project. Those of
    /// Azure, Bedrock and Vertex AI are about a region ([`QuotaScope`](crate::account::QuotaScope)), a 529 about the
    /// provider's load.
    pub const fn limits_account(&self) -> bool {
        matches!(
            self,
            Self::Status {
                finding: Finding::RateOfModel | Finding::RateOfAccount,
                ..
            }
        )
    }
}
