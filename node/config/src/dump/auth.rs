//! How a node authenticates, for the operator's eyes: in the form of the file, every secret `***`.

use serde_json::{Value, json};

use super::super::checked::{
    AuthConfig, AwsConfig, AwsSource, EntraConfig, EntraSource, GoogleConfig, GoogleSource,
    IdentityEndpoint, SecretSource,
};

/// The values of `api_key` and `auth`; null where there is none.
pub(super) fn shown(auth: &AuthConfig) -> (Value, Value) {
    match auth {
        AuthConfig::None => (Value::Null, json!("none")),
        AuthConfig::Key(key) => (secret(key), Value::Null),
        AuthConfig::Bearer(key) => (secret(key), json!("bearer")),
        AuthConfig::Header(name, key) => (secret(key), json!({"header": name.as_str()})),
        AuthConfig::Entra(config) => (Value::Null, json!({"entra": entra(config)})),
        AuthConfig::Aws(config) => (Value::Null, json!({"aws": aws(config)})),
        AuthConfig::Google(config) => (Value::Null, json!({"google": google(config)})),
    }
}

fn secret(source: &SecretSource) -> Value {
    match &source.file {
        Some(file) => json!({"file": file}),
        None => json!(source.secret),
    }
}

fn entra(config: &EntraConfig) -> Value {
    let scope = &config.scope;
    match &config.source {
        EntraSource::ClientSecret {
            token_url,
            client_id,
            secret: source,
        } => json!({
            "client_id": client_id,
            "client_secret": secret(source),
            "token_url": token_url.to_string(),
            "scope": scope,
        }),
        EntraSource::FederatedToken {
            token_url,
            client_id,
            file,
        } => json!({
            "client_id": client_id,
            "federated_token_file": file,
            "token_url": token_url.to_string(),
            "scope": scope,
        }),
        EntraSource::ManagedIdentity {
            endpoint,
            client_id,
        } => {
            let token_url = match endpoint {
                IdentityEndpoint::Imds(_) => None,
                IdentityEndpoint::AppService { url, .. } => Some(url.to_string()),
            };
            json!({"client_id": client_id, "token_url": token_url, "scope": scope})
        }
    }
}

/// A chain of several is the default one, and written as nothing further.
fn aws(config: &AwsConfig) -> Value {
    let mut shown = match config.sources.as_slice() {
        [AwsSource::Keys(keys)] => json!({
            "access_key_id": secret(&keys.id),
            "secret_access_key": secret(&keys.secret),
            "session_token": keys.session_token.as_ref().map(secret),
        }),
        [AwsSource::Profile { file, name }] => json!({"profile": name, "credentials_file": file}),
        [
            AwsSource::WebIdentity {
                role_arn,
                file,
                sts_url,
                ..
            },
        ] => json!({
            "role_arn": role_arn,
            "web_identity_token_file": file,
            "sts_url": sts_url.to_string(),
        }),
        [AwsSource::Container { url, token, .. }] => json!({
            "container_url": url.to_string(),
            "container_token": token.as_ref().map(secret),
        }),
        [AwsSource::Instance(url)] => json!({"imds_url": url.to_string()}),
        _ => json!({}),
    };
    shown["service"] = json!(config.service);
    shown
}

fn google(config: &GoogleConfig) -> Value {
    match &config.source {
        GoogleSource::ServiceAccount(account) => json!({
            "credentials_file": account.file,
            "token_url": account.token_url.to_string(),
            "scope": config.scope,
        }),
        GoogleSource::Metadata { url } => {
            json!({"metadata_url": url.to_string(), "scope": config.scope})
        }
    }
}
