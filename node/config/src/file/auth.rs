//! How a node authenticates at an upstream, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretText;

/// A secret, or the file that holds it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretFile {
    /// The secret itself.
    Text(SecretText),
    /// A file that holds it.
    In(SecretInFile),
}

/// A file that holds a secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub struct SecretInFile {
    /// A file that holds the secret alone; line breaks at its end do not count. It is read again when it changes.
    pub file: Option<String>,
}

/// How the node authenticates at the upstream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AuthFile {
    /// By a word, with every default.
    Word(AuthWord),
    /// With settings; one of them.
    Set(Box<AuthSetFile>),
}

/// How the node authenticates at the upstream.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthWord {
    /// Not at all.
    None,
    /// With `api_key` as Authorization: Bearer, on every path.
    Bearer,
    /// With a token of Microsoft Entra ID, by the first of: AZURE_CLIENT_SECRET, AZURE_FEDERATED_TOKEN_FILE, the managed
    /// identity.
    Entra,
    /// With signatures of AWS (SigV4), by the first of: AWS_ACCESS_KEY_ID, the profile file, a web identity, the
    /// container, the instance role.
    Aws,
    /// With a token of Google: of the service account file that GOOGLE_APPLICATION_CREDENTIALS names, else of the
    /// metadata server.
    Google,
}

/// How the node authenticates at the upstream: one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSetFile {
    /// The header that carries `api_key`, such as api-key.
    pub header: Option<String>,
    /// Tokens of Microsoft Entra ID.
    pub entra: Option<EntraFile>,
    /// Signatures of AWS (SigV4).
    pub aws: Option<AwsFile>,
    /// Tokens of Google.
    pub google: Option<GoogleFile>,
}

/// Tokens of Microsoft Entra ID. Without a client_secret and a federated_token_file: of the managed identity.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EntraFile {
    /// The tenant. Default: AZURE_TENANT_ID.
    pub tenant_id: Option<String>,
    /// The application, or the user-assigned identity. Default: AZURE_CLIENT_ID.
    pub client_id: Option<String>,
    /// The application's secret. Default: AZURE_CLIENT_SECRET.
    pub client_secret: Option<SecretFile>,
    /// A file with a token of another issuer, such as Kubernetes; it is read for each token. Default:
    /// AZURE_FEDERATED_TOKEN_FILE.
    pub federated_token_file: Option<String>,
    /// The authority, for sovereign clouds. Default: AZURE_AUTHORITY_HOST, else https://login.microsoftonline.com.
    pub authority: Option<String>,
    /// The scope. Default: https://cognitiveservices.azure.com/.default.
    pub scope: Option<String>,
    /// The token endpoint; for a managed identity the URL of the metadata service. Default: the authority's, of the tenant;
    /// http://169.254.169.254.
    pub token_url: Option<String>,
}

/// Signatures of AWS, with one kind of credential. Without any: as `auth: aws`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsFile {
    /// An access key, with secret_access_key.
    pub access_key_id: Option<SecretFile>,
    /// Its secret.
    pub secret_access_key: Option<SecretFile>,
    /// Its session token. Default: none.
    pub session_token: Option<SecretFile>,
    /// A profile of the credentials file, read again every 5 minutes. Default: AWS_PROFILE, else default, where
    /// credentials_file is written.
    pub profile: Option<String>,
    /// The credentials file. Default: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials.
    pub credentials_file: Option<String>,
    /// A role to assume with web_identity_token_file. Default: AWS_ROLE_ARN, where that is written.
    pub role_arn: Option<String>,
    /// A file with a token of another issuer, such as Kubernetes; it is read for each credential.
    /// Default: AWS_WEB_IDENTITY_TOKEN_FILE, where role_arn is written.
    pub web_identity_token_file: Option<String>,
    /// The STS endpoint of web identities. Default: that of the region.
    pub sts_url: Option<String>,
    /// The endpoint of the container's credentials.
    pub container_url: Option<String>,
    /// What is sent to it as Authorization. Default: none.
    pub container_token: Option<SecretFile>,
    /// The instance metadata service (IMDSv2), for the instance's role. Default: http://169.254.169.254, the last of the
    /// chain.
    pub imds_url: Option<String>,
    /// The service that signatures are for. Default: bedrock.
    pub service: Option<String>,
}

/// Tokens of Google. Without a credentials_file: of the metadata server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleFile {
    /// The key file of a service account, in JSON. It is read again when it changes. Default:
    /// GOOGLE_APPLICATION_CREDENTIALS.
    pub credentials_file: Option<String>,
    /// The scope. Default: https://www.googleapis.com/auth/cloud-platform.
    pub scope: Option<String>,
    /// The token endpoint. Default: the one in the key file.
    pub token_url: Option<String>,
    /// The metadata server. Default: http://metadata.google.internal.
    pub metadata_url: Option<String>,
}
