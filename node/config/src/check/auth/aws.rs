//! Checks of signatures of AWS.

use std::path::PathBuf;

use super::super::super::checked::{
    AuthConfig, AwsConfig, AwsKeys, AwsSource, Provider, ProviderConfig, SecretSource,
};
use super::super::super::file::AwsFile;
use super::super::super::secret::Secret;
use super::Checker;

/// The instance metadata service.
const IMDS: &str = "http://169.254.169.254";

/// Where a container of ECS finds its credentials.
const CONTAINER: &str = "http://169.254.170.2";

/// The service that Bedrock's runtime takes signatures for.
const SERVICE: &str = "bedrock";

/// The profile when none is named.
const PROFILE: &str = "default";

/// The name of sessions when none is named.
const SESSION: &str = "grapevine";

impl Checker<'_> {
    /// The credentials that are written, else the chain of AWS's SDKs.
    pub(super) fn aws(
        &mut self,
        key: &str,
        file: &AwsFile,
        provider: &ProviderConfig,
    ) -> AuthConfig {
        if !self.knows(key, "aws", &[Provider::Bedrock], provider) {
            return AuthConfig::None;
        }
        let Some(region) = provider.aws_region.clone() else {
            // Reported with the region.
            return AuthConfig::None;
        };
        let written = [
            (
                "access_key_id",
                file.access_key_id.is_some() || file.secret_access_key.is_some(),
            ),
            (
                "profile",
                file.profile.is_some() || file.credentials_file.is_some(),
            ),
            (
                "web_identity_token_file",
                file.web_identity_token_file.is_some() || file.role_arn.is_some(),
            ),
            ("container_url", file.container_url.is_some()),
            ("imds_url", file.imds_url.is_some()),
        ];
        let mut kinds = written.into_iter().filter(|(_, is_written)| *is_written);
        let kind = kinds.next().map(|(name, _)| name);
        if let (Some(first), Some((second, _))) = (kind, kinds.next()) {
            let problem = format!("is a second credential beside {first}");
            self.problem(&format!("{key}.{second}"), problem, "remove one of them");
            return AuthConfig::None;
        }
        let sources = match kind {
            Some(kind) => self
                .aws_source(key, kind, file, &region)
                .map(|source| vec![source]),
            None => Some(self.aws_chain(key, file, &region)),
        };
        let service = file.service.clone().unwrap_or_else(|| SERVICE.to_owned());
        sources.map_or(AuthConfig::None, |sources| {
            AuthConfig::Aws(AwsConfig {
                region,
                service,
                sources,
            })
        })
    }

    fn aws_source(
        &mut self,
        key: &str,
        kind: &str,
        file: &AwsFile,
        region: &str,
    ) -> Option<AwsSource> {
        let at = |name: &str| format!("{key}.{name}");
        match kind {
            "access_key_id" => self.aws_keys(key, file),
            "profile" => self.aws_profile(key, file),
            "web_identity_token_file" => self.aws_web_identity(key, file, region, true),
            "container_url" => {
                let token = file.container_token.as_ref();
                let token = token.map(|token| self.header_secret(&at("container_token"), token));
                let url = self.endpoint(&at("container_url"), file.container_url.as_deref(), "");
                Some(AwsSource::Container {
                    url: url?,
                    // One that was refused is a problem already.
                    token: token.flatten(),
                    token_file: None,
                })
            }
            _ => {
                let url = self.endpoint(&at("imds_url"), file.imds_url.as_deref(), IMDS)?;
                Some(AwsSource::Instance(url))
            }
        }
    }

    fn aws_keys(&mut self, key: &str, file: &AwsFile) -> Option<AwsSource> {
        let parts = [
            ("access_key_id", &file.access_key_id),
            ("secret_access_key", &file.secret_access_key),
        ];
        let [id, secret] = parts.map(|(name, part)| {
            let key = format!("{key}.{name}");
            if part.is_none() && !self.source_map.was_refused(&key) {
                let remedy =
                    "write access_key_id and secret_access_key, such as ${AWS_SECRET_ACCESS_KEY}";
                self.problem(&key, "is missing", remedy);
            }
            self.header_secret(&key, part.as_ref()?)
        });
        let token_key = format!("{key}.session_token");
        let session_token = file.session_token.as_ref();
        let session_token = session_token.map(|token| self.header_secret(&token_key, token));
        Some(AwsSource::Keys(AwsKeys {
            id: id?,
            secret: secret?,
            // One that was refused is a problem already.
            session_token: session_token.flatten(),
        }))
    }

    fn aws_profile(&mut self, key: &str, file: &AwsFile) -> Option<AwsSource> {
        let file_key = format!("{key}.credentials_file");
        let path = self.credentials_file(&file_key, file.credentials_file.as_deref());
        let path = path.filter(|path| path.is_file());
        let Some(path) = path else {
            let remedy = "write credentials_file: and the path of the file with the profile";
            self.problem(&file_key, "is missing, or there is no such file", remedy);
            return None;
        };
        let name = self.text_or(file.profile.as_deref(), "AWS_PROFILE");
        Some(AwsSource::Profile {
            file: path,
            name: name.unwrap_or_else(|| PROFILE.to_owned()),
        })
    }

    /// The credentials file as AWS's programs find it.
    fn credentials_file(&self, key: &str, written: Option<&str>) -> Option<PathBuf> {
        let path = self.path_or(key, written, "AWS_SHARED_CREDENTIALS_FILE");
        path.or_else(|| {
            let home = PathBuf::from(self.environment.get("HOME")?);
            Some(home.join(".aws/credentials"))
        })
    }

    /// A role by another issuer's token; `None` where the variables name none.
    fn aws_web_identity(
        &mut self,
        key: &str,
        file: &AwsFile,
        region: &str,
        is_required: bool,
    ) -> Option<AwsSource> {
        let file_key = format!("{key}.web_identity_token_file");
        let written = file.web_identity_token_file.as_deref();
        let path = self.path_or(&file_key, written, "AWS_WEB_IDENTITY_TOKEN_FILE");
        let role_arn = self.text_or(file.role_arn.as_deref(), "AWS_ROLE_ARN");
        let (Some(path), Some(role_arn)) = (path, role_arn) else {
            if is_required {
                let problem = "needs role_arn and web_identity_token_file";
                let remedy = "write both, or set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE";
                self.problem(key, problem, remedy);
            }
            return None;
        };
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let sts = format!("https://sts.{region}.amazonaws.com{china}");
        let sts_url = self.endpoint(&format!("{key}.sts_url"), file.sts_url.as_deref(), &sts)?;
        let session_name = self.text_or(None, "AWS_ROLE_SESSION_NAME");
        Some(AwsSource::WebIdentity {
            role_arn,
            session_name: session_name.unwrap_or_else(|| SESSION.to_owned()),
            file: path,
            sts_url,
        })
    }

    /// The default chain, in the order of AWS's SDK for Rust: variables, profile, web identity, container, instance.
    fn aws_chain(&mut self, key: &str, file: &AwsFile, region: &str) -> Vec<AwsSource> {
        let environment = self.environment;
        let of_variable = |name: &str| {
            environment.get(name).map(|text| SecretSource {
                secret: Secret::new(text),
                file: None,
            })
        };
        let mut sources = Vec::new();
        let id = of_variable("AWS_ACCESS_KEY_ID");
        if let (Some(id), Some(secret)) = (id, of_variable("AWS_SECRET_ACCESS_KEY")) {
            sources.push(AwsSource::Keys(AwsKeys {
                id,
                secret,
                session_token: of_variable("AWS_SESSION_TOKEN"),
            }));
        }
        if let Some(path) = self.credentials_file(key, None) {
            let name = self.text_or(None, "AWS_PROFILE");
            sources.push(AwsSource::Profile {
                file: path,
                name: name.unwrap_or_else(|| PROFILE.to_owned()),
            });
        }
        sources.extend(self.aws_web_identity(key, file, region, false));
        sources.extend(self.aws_container(key));
        if let Ok(url) = IMDS.parse() {
            sources.push(AwsSource::Instance(url));
        }
        sources
    }

    /// The endpoint that ECS or EKS gives a container.
    fn aws_container(&mut self, key: &str) -> Option<AwsSource> {
        let environment = self.environment;
        let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = match relative {
            Some(path) => format!("{CONTAINER}{path}"),
            None => environment
                .get("AWS_CONTAINER_CREDENTIALS_FULL_URI")?
                .to_owned(),
        };
        let token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        Some(AwsSource::Container {
            url: self.endpoint(key, Some(&url), "")?,
            token: token.map(|text| SecretSource {
                secret: Secret::new(text),
                file: None,
            }),
            token_file: environment
                .get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
                .map(Into::into),
        })
    }
}
