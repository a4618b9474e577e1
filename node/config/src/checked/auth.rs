//! How a node authenticates at an upstream, as checked.

use std::path::PathBuf;

use http::HeaderName;

use super::super::address::BaseUrl;
use super::super::secret::Secret;

/// A secret, and the file it was read from. A file that changes is read again with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// The secret itself.
    pub secret: Secret,
    /// Where it was read from; `None` where it was written or came from a variable.
    pub file: Option<PathBuf>,
}

/// How a node authenticates at an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthConfig {
    /// Not at all.
    #[default]
    None,
    /// With a key, in the header that the provider takes for the request's path.
    Key(SecretSource),
    /// With a key as `Authorization: Bearer`.
    Bearer(SecretSource),
    /// With a key in a header of this name.
    Header(HeaderName, SecretSource),
    /// With a token of Microsoft Entra ID.
    Entra(EntraConfig),
    /// With signatures of AWS.
    Aws(AwsConfig),
    /// With a token of Google.
    Google(GoogleConfig),
}

impl AuthConfig {
    /// A written key, in the header that the provider takes.
    pub fn key(secret: &str) -> Self {
        Self::Key(SecretSource {
            secret: Secret::new(secret),
            file: None,
        })
    }

    /// One word for the operator.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key(_) => "key",
            Self::Bearer(_) => "bearer",
            Self::Header(..) => "header",
            Self::Entra(_) => "entra",
            Self::Aws(_) => "aws",
            Self::Google(_) => "google",
        }
    }

    /// The files that a change of which changes the credential, and which are read with the configuration.
    pub fn files(&self) -> Vec<PathBuf> {
        let of = |source: &SecretSource| source.file.clone();
        match self {
            Self::None => Vec::new(),
            Self::Key(key) | Self::Bearer(key) | Self::Header(_, key) => {
                of(key).into_iter().collect()
            }
            Self::Entra(entra) => match &entra.source {
                EntraSource::ClientSecret { secret, .. } => of(secret).into_iter().collect(),
                EntraSource::FederatedToken { .. } | EntraSource::ManagedIdentity { .. } => {
                    Vec::new()
                }
            },
            Self::Aws(aws) => {
                let each = aws.sources.iter().flat_map(|source| match source {
                    AwsSource::Keys(keys) => {
                        let token = keys.session_token.as_ref();
                        let parts = [Some(&keys.id), Some(&keys.secret), token];
                        parts.into_iter().flatten().filter_map(of).collect()
                    }
                    AwsSource::Container { token, .. } => token.iter().filter_map(of).collect(),
                    _ => Vec::new(),
                });
                each.collect()
            }
            Self::Google(google) => match &google.source {
                GoogleSource::ServiceAccount(account) => vec![account.file.clone()],
                GoogleSource::Metadata { .. } => Vec::new(),
            },
        }
    }
}

/// How tokens of Microsoft Entra ID are obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraConfig {
    /// What a token is for, such as `https://cognitiveservices.azure.com/.default`.
    pub scope: String,
    /// Whom it is issued to.
    pub source: EntraSource,
}

/// Whom a token of Microsoft Entra ID is issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntraSource {
    /// An application with a secret.
    ClientSecret {
        /// The token endpoint.
        token_url: BaseUrl,
        /// The application.
        client_id: String,
        /// Its secret.
        secret: SecretSource,
    },
    /// An application that another issuer's token stands for.
    FederatedToken {
        /// The token endpoint.
        token_url: BaseUrl,
        /// The application.
        client_id: String,
        /// The file of the other issuer's token, read for each token.
        file: PathBuf,
    },
    /// The identity of the machine, the pod or the app that the node runs in.
    ManagedIdentity {
        /// The endpoint in the machine.
        endpoint: IdentityEndpoint,
        /// The user-assigned identity; `None` is the system's.
        client_id: Option<String>,
    },
}

/// The endpoint of a managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityEndpoint {
    /// The metadata service of a virtual machine.
    Imds(BaseUrl),
    /// The one of App Service, Functions and Container Apps.
    AppService {
        /// `IDENTITY_ENDPOINT`.
        url: BaseUrl,
        /// `IDENTITY_HEADER`.
        secret: Secret,
    },
}

/// How requests are signed for AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// The region that signatures are for.
    pub region: String,
    /// The service that signatures are for.
    pub service: String,
    /// Where credentials come from: the first that has any.
    pub sources: Vec<AwsSource>,
}

/// Where credentials of AWS come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsSource {
    /// Written ones.
    Keys(AwsKeys),
    /// A profile of a credentials file, read for each renewal.
    Profile {
        /// The file.
        file: PathBuf,
        /// The profile.
        name: String,
    },
    /// A role, assumed with another issuer's token.
    WebIdentity {
        /// The role.
        role_arn: String,
        /// The name of the session at AWS.
        session_name: String,
        /// The file of the other issuer's token, read for each renewal.
        file: PathBuf,
        /// The STS endpoint.
        sts_url: BaseUrl,
    },
    /// The endpoint that a container is given.
    Container {
        /// Its URL.
        url: BaseUrl,
        /// What is sent to it as `Authorization`.
        token: Option<SecretSource>,
        /// A file of the same, read for each renewal.
        token_file: Option<PathBuf>,
    },
    /// The role of the instance, by the metadata service with session tokens (IMDSv2).
    Instance(BaseUrl),
}

/// An access key of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeys {
    /// Its id.
    pub id: SecretSource,
    /// Its secret.
    pub secret: SecretSource,
    /// The token of a session; `None` for a key that lasts.
    pub session_token: Option<SecretSource>,
}

/// How tokens of Google are obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleConfig {
    /// What a token is for.
    pub scope: String,
    /// Whom it is issued to.
    pub source: GoogleSource,
}

/// Whom a token of Google is issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoogleSource {
    /// A service account, by its key.
    ServiceAccount(ServiceAccount),
    /// The service account of the machine or the pod, by the metadata server.
    Metadata {
        /// The server.
        url: BaseUrl,
    },
}

/// The key of a service account of Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its key file.
    pub file: PathBuf,
    /// The account.
    pub client_email: String,
    /// The key's id, where the file has one.
    pub key_id: Option<String>,
    /// The private key: PKCS #8 in PEM.
    pub private_key: Secret,
    /// The token endpoint.
    pub token_url: BaseUrl,
}
