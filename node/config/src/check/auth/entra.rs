//! Checks of tokens of Microsoft Entra ID.

use super::super::super::address::BaseUrl;
use super::super::super::checked::{
    AuthConfig, EntraConfig, EntraSource, IdentityEndpoint, Provider, ProviderConfig, SecretSource,
};
use super::super::super::file::EntraFile;
use super::super::super::secret::Secret;
use super::Checker;

/// What tokens for Azure OpenAI and Foundry are for (Microsoft's reference of their REST API).
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// The authority of the public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// The metadata service of virtual machines.
const IMDS: &str = "http://169.254.169.254";

impl Checker<'_> {
    /// The first of: a client secret, a federated token, the managed identity.
    pub(super) fn entra(
        &mut self,
        key: &str,
        file: &EntraFile,
        provider: &ProviderConfig,
    ) -> AuthConfig {
        if !self.knows(key, "entra", &[Provider::Azure], provider) {
            return AuthConfig::None;
        }
        let source = self.entra_source(key, file);
        let scope = file.scope.clone().unwrap_or_else(|| SCOPE.to_owned());
        source.map_or(AuthConfig::None, |source| {
            AuthConfig::Entra(EntraConfig { scope, source })
        })
    }

    fn entra_source(&mut self, key: &str, file: &EntraFile) -> Option<EntraSource> {
        let at = |name: &str| format!("{key}.{name}");
        let client_id = self.text_or(file.client_id.as_deref(), "AZURE_CLIENT_ID");
        if file.client_secret.is_some() && file.federated_token_file.is_some() {
            let problem = "is a second credential beside client_secret";
            self.problem(&at("federated_token_file"), problem, "remove one of them");
            return None;
        }
        let secret = match &file.client_secret {
            Some(secret) => match self.secret(&at("client_secret"), secret) {
                Some(secret) => Some(secret),
                None => {
                    // The rest is checked all the same.
                    self.entra_application(key, file, client_id);
                    return None;
                }
            },
            None if file.federated_token_file.is_some() => None,
            None => self
                .environment
                .get("AZURE_CLIENT_SECRET")
                .map(|text| SecretSource {
                    secret: Secret::new(text),
                    file: None,
                }),
        };
        if let Some(secret) = secret {
            let (token_url, client_id) = self.entra_application(key, file, client_id)?;
            return Some(EntraSource::ClientSecret {
                token_url,
                client_id,
                secret,
            });
        }
        let written = file.federated_token_file.as_deref();
        let token_file = at("federated_token_file");
        if let Some(file_path) = self.path_or(&token_file, written, "AZURE_FEDERATED_TOKEN_FILE") {
            let (token_url, client_id) = self.entra_application(key, file, client_id)?;
            return Some(EntraSource::FederatedToken {
                token_url,
                client_id,
                file: file_path,
            });
        }
        let endpoint = self.identity_endpoint(&at("token_url"), file.token_url.as_deref())?;
        Some(EntraSource::ManagedIdentity {
            endpoint,
            client_id,
        })
    }

    /// Where an application asks for tokens, and its id. Both are checked before either is missed.
    fn entra_application(
        &mut self,
        key: &str,
        file: &EntraFile,
        client_id: Option<String>,
    ) -> Option<(BaseUrl, String)> {
        let token_url = self.entra_token_url(key, file);
        let client_id = self.application(key, client_id);
        Some((token_url?, client_id?))
    }

    fn application(&mut self, key: &str, client_id: Option<String>) -> Option<String> {
        if client_id.is_none() {
            let remedy = "write client_id: and the application's id, or set AZURE_CLIENT_ID";
            self.problem(&format!("{key}.client_id"), "is missing", remedy);
        }
        client_id
    }

    fn entra_token_url(&mut self, key: &str, file: &EntraFile) -> Option<BaseUrl> {
        let url_key = format!("{key}.token_url");
        if let Some(text) = file.token_url.as_deref() {
            return self.endpoint(&url_key, Some(text), "");
        }
        let tenant_key = format!("{key}.tenant_id");
        let tenant = self.text_or(file.tenant_id.as_deref(), "AZURE_TENANT_ID");
        let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || matches!(sign, b'-' | b'.');
        let Some(tenant) = tenant.filter(|tenant| tenant.bytes().all(is_sign)) else {
            let remedy = "write tenant_id: and the tenant's id or domain, or set AZURE_TENANT_ID";
            self.problem(&tenant_key, "is missing, or no id of a tenant", remedy);
            return None;
        };
        let authority_key = format!("{key}.authority");
        let authority = self.text_or(file.authority.as_deref(), "AZURE_AUTHORITY_HOST");
        let authority = self.endpoint(&authority_key, authority.as_deref(), AUTHORITY)?;
        let path = format!("{}/{tenant}/oauth2/v2.0/token", authority.path());
        authority.with_path(&path).ok()
    }

    /// That of App Service where its variables say so, else of the virtual machine.
    fn identity_endpoint(&mut self, key: &str, written: Option<&str>) -> Option<IdentityEndpoint> {
        let environment = self.environment;
        let (url, header) = (
            environment.get("IDENTITY_ENDPOINT"),
            environment.get("IDENTITY_HEADER"),
        );
        if let (Some(url), Some(header), None) = (url, header, written) {
            return Some(IdentityEndpoint::AppService {
                url: self.endpoint(key, Some(url), "")?,
                secret: Secret::new(header),
            });
        }
        self.endpoint(key, written, IMDS)
            .map(IdentityEndpoint::Imds)
    }
}
