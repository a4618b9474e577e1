//! Credentials of providers: what their strict mocks take, and what an upstream in a node's config has of them.

use std::path::Path;

use serde_json::{Value, json};

/// The key of the private service account that mocks of Google know.
const SERVICE_ACCOUNT: &str =
    include_str!("../../../node/http/src/upstream/credential/tests/service-account-key.pem");

/// The key that mocks take where a provider has keys.
pub(crate) const PROVIDER_KEY: &str = "sk-upstream";

/// How a node shows who it is to a provider.
#[derive(Clone, Copy)]
pub(crate) enum Credential {
    Key,
    Entra,
    Signature,
    ServiceAccount,
}

impl Credential {
    /// What `grapevine mock --provider` needs to know of it. `account` is where the service account is to be.
    pub(crate) fn of_mock(self, account: &Path) -> Vec<String> {
        let pair = match self {
            Self::Key => ["--api-key", PROVIDER_KEY],
            Self::Entra => ["--token-client", "client:entra-secret"],
            Self::Signature => ["--access-key", "AKIAMOCK:aws-secret"],
            Self::ServiceAccount => {
                // The mock reads the key alone, and the rest needs its address.
                let key = json!({"private_key": SERVICE_ACCOUNT});
                std::fs::write(account, key.to_string()).expect("the folder can be written");
                return vec!["--google-key".to_owned(), account.display().to_string()];
            }
        };
        pair.map(str::to_owned).to_vec()
    }

    /// What an upstream has of it in a node's config. `root` is the mock's.
    pub(crate) fn settings(self, root: &str, account: &Path) -> Value {
        match self {
            Self::Key => json!({"api_key": PROVIDER_KEY}),
            Self::Entra => json!({"auth": {"entra": {
                "tenant_id": "tenant",
                "client_id": "client",
                "client_secret": "entra-secret",
                "authority": format!("{root}/mock/token/entra"),
            }}}),
            Self::Signature => {
                let aws = json!({"access_key_id": "AKIAMOCK", "secret_access_key": "aws-secret"});
                json!({"auth": {"aws": aws}})
            }
            Self::ServiceAccount => {
                let content = json!({
                    "type": "service_account",
                    "client_email": "node@project.example",
                    "private_key": SERVICE_ACCOUNT,
                    "token_uri": format!("{root}/mock/token/google/token"),
                });
                std::fs::write(account, content.to_string()).expect("the folder can be written");
                json!({"auth": {"google": {"credentials_file": account}}})
            }
        }
    }

    /// Where the provider's account lies, which the mocks know.
    pub(crate) fn location(self) -> Value {
        match self {
            Self::Key | Self::Entra => json!({}),
            Self::Signature => json!({"aws_region": "us-east-1"}),
            Self::ServiceAccount => json!({"project": "project", "location": "europe-west1"}),
        }
    }
}
