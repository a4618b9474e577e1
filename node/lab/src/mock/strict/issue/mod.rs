//! `/mock/token/*`: where clients of Azure, Google and AWS get their tokens.
//!
//! | path under `/mock/token` | stands for |
//! | --- | --- |
//! | `POST /entra/{tenant}/oauth2/v2.0/token` | Entra: client secret, or federated assertion |
//! | `GET /entra/metadata/identity/oauth2/token` | managed identity (`Metadata: true`) |
//! | `POST /google/token` | Google: assertion of a service account, RS256 |
//! | `GET /google/computeMetadata/v1/instance/service-accounts/{account}/token` | metadata server (`Metadata-Flavor: Google`) |
//! | `POST /aws/sts` | STS: `AssumeRoleWithWebIdentity` |
//! | `PUT /aws/latest/api/token`, `GET /aws/latest/meta-data/iam/security-credentials/{role}` | IMDSv2 |
//! | `GET /aws/credentials` | container credentials (`Authorization`) |

mod aws;
mod entra;
mod google;

#[cfg(test)]
pub(in crate::mock) use aws::iso;
use bytes::Bytes;
use serde_json::json;

use super::exchange::{Call, Outcome, percent_decoded};
use super::upstream::Upstream;
use crate::mock::knobs::TokenFault;

/// Where the token endpoints begin.
pub(in crate::mock) const PREFIX: &str = "/mock/token/";

/// The size of a huge answer.
const HUGE_BYTES: usize = 16 * 1024 * 1024;

/// What a token endpoint answers, and whether it issued anything.
pub(super) struct IssueOutcome {
    pub(super) outcome: Outcome,
    pub(super) issued: bool,
}

impl From<Outcome> for IssueOutcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            issued: false,
        }
    }
}

fn issued(outcome: Outcome) -> IssueOutcome {
    IssueOutcome {
        outcome,
        issued: true,
    }
}

impl Upstream {
    /// Answers a request for a token; with whether one was issued. `None`: the connection is closed instead.
    pub(in crate::mock) fn issue(
        &self,
        call: &Call<'_>,
        fault: TokenFault,
    ) -> Option<(Outcome, bool)> {
        match fault {
            TokenFault::Off => {}
            TokenFault::Down => return None,
            TokenFault::Error => {
                let mut outcome = Outcome::json(&json!({"error": "temporarily_unavailable"}));
                outcome.status = 503;
                return Some((outcome, false));
            }
            TokenFault::Nonsense => {
                return Some((Outcome::text(200, "text/html", "<html>Welcome</ht"), false));
            }
            TokenFault::Huge => {
                let body = Bytes::from(vec![b'x'; HUGE_BYTES]);
                return Some((Outcome::text(200, "application/json", body), false));
            }
        }
        let path = call.path.strip_prefix(PREFIX).unwrap_or_default();
        let found = match path.split_once('/') {
            Some(("entra", rest)) => entra::serve(self, call, rest),
            Some(("google", rest)) => google::serve(self, call, rest),
            Some(("aws", rest)) => aws::serve(self, call, rest),
            _ => None,
        };
        let answer = found.unwrap_or_else(|| {
            let mut outcome = Outcome::json(&json!({"error": "not_found"}));
            outcome.status = 404;
            outcome.into()
        });
        Some((answer.outcome, answer.issued))
    }
}

/// One field of a form.
fn field(form: &str, name: &str) -> Option<String> {
    form.split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| percent_decoded(&value.replace('+', " ")))
}

/// The form of a body; empty when it is no text.
fn form<'a>(call: &Call<'a>) -> &'a str {
    std::str::from_utf8(call.body).unwrap_or_default()
}
