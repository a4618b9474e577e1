//! Checks of tokens of Google.

use std::path::PathBuf;

use serde::Deserialize;

use super::super::super::checked::{
    AuthConfig, GoogleConfig, GoogleSource, Provider, ProviderConfig, ServiceAccount,
};
use super::super::super::file::GoogleFile;
use super::super::super::secret::Secret;
use super::super::secret_source::read_secret;
use super::Checker;

/// What tokens for Vertex AI are for (Google's reference of OAuth scopes).
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The metadata server of machines and pods.
const METADATA: &str = "http://metadata.google.internal";

/// The token endpoint where the key file has none.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// What is read of a key file.
#[derive(Deserialize)]
struct KeyFileContent {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl Checker<'_> {
    /// The service account of a key file, else that of the machine.
    pub(super) fn google(
        &mut self,
        key: &str,
        file: &GoogleFile,
        provider: &ProviderConfig,
    ) -> AuthConfig {
        let known = [Provider::Vertex, Provider::Gemini];
        if !self.knows(key, "google", &known, provider) {
            return AuthConfig::None;
        }
        let scope = file.scope.clone().unwrap_or_else(|| SCOPE.to_owned());
        let file_key = format!("{key}.credentials_file");
        let written = file.credentials_file.as_deref();
        let path = self.path_or(&file_key, written, "GOOGLE_APPLICATION_CREDENTIALS");
        let source = match path {
            Some(path) => {
                let account = self.service_account(key, path, file.token_url.as_deref());
                account.map(GoogleSource::ServiceAccount)
            }
            None => {
                let key = format!("{key}.metadata_url");
                let url = self.endpoint(&key, file.metadata_url.as_deref(), METADATA);
                url.map(|url| GoogleSource::Metadata { url })
            }
        };
        source.map_or(AuthConfig::None, |source| {
            AuthConfig::Google(GoogleConfig { scope, source })
        })
    }

    fn service_account(
        &mut self,
        key: &str,
        path: PathBuf,
        token_url: Option<&str>,
    ) -> Option<ServiceAccount> {
        let file_key = format!("{key}.credentials_file");
        let content = read_secret(&path).and_then(|text| {
            // The error's own text may quote the key.
            let content = serde_json::from_str::<KeyFileContent>(&text);
            content.map_err(|_| "is not the key file of a service account".to_owned())
        });
        let content = match content {
            Ok(content) if content.kind == "service_account" => content,
            Ok(_) => {
                let problem = format!("{} is of another kind than service_account", path.display());
                let remedy =
                    "name the JSON key file of a service account, or use the metadata server";
                self.problem(&file_key, problem, remedy);
                return None;
            }
            Err(problem) => {
                let problem = format!("{} {problem}", path.display());
                let remedy = "name the JSON key file of a service account that this user may read";
                self.problem(&file_key, problem, remedy);
                return None;
            }
        };
        let own = content.token_uri.as_deref().unwrap_or(TOKEN_URL);
        let token_url = self.endpoint(&format!("{key}.token_url"), token_url, own)?;
        Some(ServiceAccount {
            file: path,
            client_email: content.client_email,
            key_id: content.private_key_id,
            private_key: Secret::new(&content.private_key),
            token_url,
        })
    }
}
