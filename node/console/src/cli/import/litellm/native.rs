//! What an upstream of a named provider has beside a URL and a key: parameters, dialects, and ways to authenticate.

use grapevine_base::table::printable;
use grapevine_config::checked::Provider;

use super::super::finding::Kind;
use super::super::section::At;
use super::called::Called;
use super::model::Serves;
use super::params::Params;
use super::reading::{Reading, Spelling, escaped};

/// What a named provider's upstream has. Texts are as written in the new file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Native {
    /// Its word; `None` for a server with OpenAI's paths.
    pub(super) provider: Option<&'static str>,
    /// Such as `aws_region`, by key.
    pub(super) parameters: Vec<(&'static str, String)>,
    /// The one dialect that its models read, where the provider alone does not say it.
    pub(super) dialect: Option<&'static str>,
    /// How the node authenticates, where that is not by a key in the provider's header.
    pub(super) auth: Option<WrittenAuth>,
}

/// A value of `auth`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WrittenAuth {
    /// The key as a bearer token.
    Bearer,
    /// Its parts by key, below this one.
    Parts(&'static str, Vec<(&'static str, String)>),
}

/// Keys of LiteLLM's whose values become parts of hosts and paths.
const PARAMETERS: [&str; 4] = [
    "api_version",
    "aws_region_name",
    "vertex_project",
    "vertex_location",
];

/// Versions by which LiteLLM asks Azure's v1 API.
const V1_VERSIONS: [&str; 3] = ["v1", "preview", "latest"];

/// Where LiteLLM asks Vertex AI when nothing is written.
const LOCATION: &str = "us-central1";

/// Whether the value of `key` becomes a part of a host or a path.
pub(super) fn is_parameter(key: &str) -> bool {
    PARAMETERS.iter().any(|parameter| key.ends_with(parameter))
}

impl Reading {
    /// What is particular to the provider of a deployment, and what it serves there; `None` where the provider cannot
    /// be asked for it.
    pub(super) fn native(
        &mut self,
        item: &At<'_>,
        called: &Called,
        serves: Serves,
        params: &mut Params<'_>,
    ) -> Option<(Native, Serves)> {
        let mut native = Native {
            provider: called.provider.map(Provider::as_str),
            ..Native::default()
        };
        match called.provider {
            Some(Provider::Azure) => self.azure(called, &serves, params, &mut native),
            Some(Provider::Bedrock) => {
                let (region, serves) = region_of(serves);
                self.bedrock(item, region, params, &mut native);
                return Some((native, serves));
            }
            Some(Provider::Vertex) => self.vertex(item, &serves, params, &mut native)?,
            _ => {
                if let Some(at) = params.take("api_version") {
                    let problem = "is not sent: no version is a part of this API's paths";
                    self.findings.add(Kind::Note, &at, problem, "nothing to do");
                }
            }
        }
        Some((native, serves))
    }

    fn azure(
        &mut self,
        called: &Called,
        serves: &Serves,
        params: &mut Params<'_>,
        native: &mut Native,
    ) {
        let is_claude = matches!(serves, Serves::Model(own) if own.contains("claude"));
        if called.is_catalogue && is_claude {
            native.dialect = Some("messages");
        }
        let Some(at) = params.take("api_version") else {
            return;
        };
        let is_v1 = called.is_v1 || at.text().is_some_and(|text| V1_VERSIONS.contains(&text));
        if called.is_catalogue || is_v1 {
            let problem = "is left out: Azure's v1 API takes none";
            self.findings.add(Kind::Note, &at, problem, "nothing to do");
        } else if let Some(version) = self.parameter(&at) {
            native.parameters.push(("api_version", version));
        }
    }

    fn bedrock(
        &mut self,
        item: &At<'_>,
        region: Option<String>,
        params: &mut Params<'_>,
        native: &mut Native,
    ) {
        let written = params.take("aws_region_name");
        let written = written.and_then(|at| self.parameter(&at));
        let region = region.or(written).or_else(|| {
            let problem = "names no region, and takes that of AWS_REGION";
            let remedy = "set it where the node runs; LiteLLM also takes AWS_REGION_NAME, and us-west-2 without both";
            self.findings.add(Kind::Step, item, problem, remedy);
            let key = format!("{}.litellm_params.aws_region_name", item.key);
            self.variables.existing("AWS_REGION", &key)
        });
        native
            .parameters
            .extend(region.map(|region| ("aws_region", region)));
    }

    fn vertex(
        &mut self,
        item: &At<'_>,
        serves: &Serves,
        params: &mut Params<'_>,
        native: &mut Native,
    ) -> Option<()> {
        let Serves::Model(own) = serves else {
            let problem = "is a pattern, and models of Vertex AI are asked in different dialects";
            let remedy = "list the models, each with its name and upstream_name";
            self.findings.add(Kind::Lost, item, problem, remedy);
            return None;
        };
        // Others are Google's endpoints of one's own, or speak their makers' protocols.
        match own {
            own if own.starts_with("gemini") => native.dialect = Some("gemini"),
            own if own.starts_with("claude") => native.dialect = Some("messages"),
            own if own.ends_with("-maas") => native.dialect = Some("chat"),
            own => {
                let problem = format!(
                    "is not served: {} speaks a protocol of its own at Vertex AI",
                    printable(own)
                );
                let remedy =
                    "keep LiteLLM for it, as an upstream: base_url: http://LITELLM:4000/v1";
                self.findings.add(Kind::Lost, item, problem, remedy);
                return None;
            }
        }
        let project = params.take("vertex_project");
        let project = project.and_then(|at| self.parameter(&at)).or_else(|| {
            let problem = "names no project, and takes that of VERTEXAI_PROJECT";
            self.findings
                .add(Kind::Step, item, problem, "set it where the node runs");
            let key = format!("{}.litellm_params.vertex_project", item.key);
            self.variables.existing("VERTEXAI_PROJECT", &key)
        });
        let location = params.take("vertex_location");
        let location = location
            .and_then(|at| self.parameter(&at))
            .unwrap_or_else(|| {
                let problem =
                    format!("names no location, and is asked at {LOCATION}, as by LiteLLM");
                let remedy = "write location: where VERTEXAI_LOCATION is another one";
                self.findings.add(Kind::Note, item, problem, remedy);
                LOCATION.to_owned()
            });
        native
            .parameters
            .extend(project.map(|project| ("project", project)));
        native.parameters.push(("location", location));
        Some(())
    }

    /// A text that becomes a part of a host or a path, as the new file writes it.
    fn parameter(&mut self, at: &At<'_>) -> Option<String> {
        let text = at.text().unwrap_or_default();
        if let Spelling::Variable(name) = Spelling::of(text) {
            return self.variable(at, name);
        }
        let has_dots = at.key.ends_with("project") || at.key.ends_with("version");
        let is_sign = |sign: u8| match sign {
            b'.' | b':' => has_dots,
            sign => sign.is_ascii_alphanumeric() || sign == b'-',
        };
        if text.is_empty() || !text.bytes().all(is_sign) {
            let problem = "holds other signs than letters, digits and '-', and is left out";
            self.findings
                .add(Kind::Lost, at, problem, "write it into the new file");
            return None;
        }
        Some(text.to_owned())
    }

    /// How a named provider's upstream authenticates without a key; `None` where that is its default.
    pub(super) fn keyless(
        &mut self,
        provider: Provider,
        params: &mut Params<'_>,
    ) -> Option<WrittenAuth> {
        let source = match provider {
            Provider::Bedrock => self.aws_source(params),
            Provider::Vertex => self.key_file(params),
            _ => None,
        };
        if source.is_some() {
            return source;
        }
        let (way, keys, required): (_, &[(&str, &'static str)], _) = match provider {
            Provider::Azure => ("entra", &ENTRA, 3),
            Provider::Bedrock => ("aws", &AWS, 2),
            _ => return None,
        };
        let taken: Vec<_> = keys
            .iter()
            .map(|(old, new)| (*new, params.take(old)))
            .collect();
        let is_whole = taken.iter().take(required).all(|(_, at)| at.is_some());
        let mut parts = Vec::new();
        for (new, at) in taken {
            let Some(at) = at else { continue };
            if !is_whole {
                let problem = "is left out: what belongs to it is missing";
                let remedy = format!("write auth: {{{way}: ...}}");
                self.findings.add(Kind::Lost, &at, problem, remedy);
                continue;
            }
            let written = match new {
                "tenant_id" | "client_id" => self.text(&at),
                _ => self.secret(&at, &format!("{}_{new}", provider.as_str())),
            };
            parts.push((new, written?));
        }
        (!parts.is_empty()).then_some(WrittenAuth::Parts(way, parts))
    }
}

/// How LiteLLM writes a file that holds a web identity, and a variable that names one.
const IN_FILE: &str = "oidc/file/";
const IN_FILE_OF_VARIABLE: &str = "oidc/env_path/";

impl Reading {
    /// A role that is assumed with a web identity, or else a profile, as LiteLLM prefers them. What is written and
    /// cannot be carried over stays, and is reported as every key that is left.
    fn aws_source(&mut self, params: &mut Params<'_>) -> Option<WrittenAuth> {
        let identity = params.peek("aws_web_identity_token");
        let role = params.peek("aws_role_name").is_some();
        let file = identity.as_ref().filter(|_| role).and_then(|at| {
            let text = at.text()?;
            match (
                text.strip_prefix(IN_FILE),
                text.strip_prefix(IN_FILE_OF_VARIABLE),
            ) {
                (Some(path), _) => Some(escaped(path)),
                (None, Some(name)) => self.variable(at, name),
                (None, None) => None,
            }
        });
        if let Some(file) = file {
            params.take("aws_web_identity_token");
            if let Some(at) = params.take("aws_session_name") {
                let problem = "is left out: the session is called after the node";
                self.findings.add(Kind::Note, &at, problem, "nothing to do");
            }
            let role = params.take("aws_role_name").and_then(|at| self.text(&at))?;
            let mut parts = vec![("role_arn", role), ("web_identity_token_file", file)];
            let endpoint = params.take("aws_sts_endpoint");
            let endpoint = endpoint.and_then(|at| self.text(&at));
            parts.extend(endpoint.map(|url| ("sts_url", url)));
            return Some(WrittenAuth::Parts("aws", parts));
        }
        let is_by_role = role || identity.is_some();
        let profile = params.peek("aws_profile_name").filter(|_| !is_by_role)?;
        let profile = self.text(&profile)?;
        params.take("aws_profile_name");
        Some(WrittenAuth::Parts("aws", vec![("profile", profile)]))
    }

    /// The file of a service account's key. A variable may hold the key itself, and stays.
    fn key_file(&mut self, params: &mut Params<'_>) -> Option<WrittenAuth> {
        let at = params.peek("vertex_credentials")?;
        let path = at.text().filter(|text| {
            let is_path = text.ends_with(".json") && !text.contains(['{', '\n']);
            is_path && matches!(Spelling::of(text), Spelling::Plain)
        })?;
        let path = escaped(path);
        params.take("vertex_credentials");
        Some(WrittenAuth::Parts(
            "google",
            vec![("credentials_file", path)],
        ))
    }
}

/// An application of Entra ID, in LiteLLM's words and in the new file's.
const ENTRA: [(&str, &str); 3] = [
    ("tenant_id", "tenant_id"),
    ("client_id", "client_id"),
    ("client_secret", "client_secret"),
];

/// A key of AWS, in LiteLLM's words and in the new file's. The last one is not required.
const AWS: [(&str, &str); 3] = [
    ("aws_access_key_id", "access_key_id"),
    ("aws_secret_access_key", "secret_access_key"),
    ("aws_session_token", "session_token"),
];

/// The region in front of a model's name, and the name without it.
fn region_of(serves: Serves) -> (Option<String>, Serves) {
    let is_region = |text: &str| {
        let mut parts = text.rsplit('-');
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase());
        parts.next().is_some_and(is_number) && parts.clone().count() > 1 && parts.all(is_word)
    };
    match serves {
        Serves::Model(own) => match own.split_once('/') {
            Some((region, rest)) if is_region(region) => {
                (Some(region.to_owned()), Serves::Model(rest.to_owned()))
            }
            _ => (None, Serves::Model(own)),
        },
        serves => (None, serves),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_in_front_of_a_name_is_taken_off() {
        let of = |text: &str| match region_of(Serves::Model(text.to_owned())) {
            (region, Serves::Model(own)) => (region, own),
            other => panic!("{other:?}"),
        };
        let name = "anthropic.claude-v1";
        let (region, own) = of("us-gov-west-1/anthropic.claude-v1");
        assert_eq!(
            (region.as_deref(), own.as_str()),
            (Some("us-gov-west-1"), name)
        );
        for whole in [name, "arn:aws:bedrock:us-east-1:1:x/y", "a/b", "us-1/b"] {
            assert_eq!(of(whole), (None, whole.to_owned()));
        }
    }
}
