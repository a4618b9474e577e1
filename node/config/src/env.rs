//! The environment: read in this file alone, and passed on as a map that tests can supply.
//!
//! Variables are used in two ways: as overrides (`GRAPEVINE_REGION`) and inside the file's texts (`${NAME}`).
//! The latter are interpolated after the YAML was read, so that a value with a colon, a quote or a line break
//! in it stays one text and cannot add a key.

use std::collections::{BTreeMap, BTreeSet};

use super::nearest::nearest;
use super::problem::{ConfigReport, ValueOrigin};
use super::tree::{Kind, Scalar, TreeNode};

/// The prefix of this program's variables.
const PREFIX: &str = "GRAPEVINE_";

/// The variable that names the file.
pub const CONFIG_VARIABLE: &str = "GRAPEVINE_CONFIG";

/// The variable that names the admin address of the node that commands ask. It sets nothing of a node.
pub const ADMIN_VARIABLE: &str = "GRAPEVINE_ADMIN";

/// The variable that splits services over nodes. It has no prefix, so that what is written for NocoBase's
/// cluster mode applies here too.
pub const WORKER_MODE_VARIABLE: &str = "WORKER_MODE";

/// OpenTelemetry's own variable for the collector: it means the same to every program on a host.
const OTLP_ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Kubernetes sets these for a service of our name; they are not meant for us.
const FOREIGN_PREFIXES: [&str; 2] = ["GRAPEVINE_SERVICE_", "GRAPEVINE_PORT"];

/// Variables and the keys they set; a list is separated by commas.
const OVERRIDES: &[(&str, &[&str], Form)] = &[
    ("GRAPEVINE_NODE_NAME", &["node", "name"], Form::One),
    ("GRAPEVINE_REGION", &["node", "region"], Form::One),
    (
        "GRAPEVINE_PUBLIC_URL",
        &["node", "public", "url"],
        Form::One,
    ),
    ("GRAPEVINE_LISTEN", &["listen"], Form::One),
    ("GRAPEVINE_OPEN", &["open"], Form::One),
    ("GRAPEVINE_TLS_CERT", &["tls", "cert"], Form::One),
    ("GRAPEVINE_TLS_KEY", &["tls", "key"], Form::One),
    (
        "GRAPEVINE_TRUSTED_PROXIES",
        &["trusted_proxies"],
        Form::List,
    ),
    ("GRAPEVINE_PROXY_PROTOCOL", &["proxy_protocol"], Form::One),
    ("GRAPEVINE_ADMIN_LISTEN", &["admin", "listen"], Form::One),
    ("GRAPEVINE_ADMIN_TOKEN", &["admin", "token"], Form::One),
    ("GRAPEVINE_MESH_NAME", &["mesh", "name"], Form::One),
    ("GRAPEVINE_MESH_LISTEN", &["mesh", "listen"], Form::One),
    (
        "GRAPEVINE_MESH_ADVERTISE",
        &["mesh", "advertise"],
        Form::One,
    ),
    ("GRAPEVINE_MESH_SEEDS", &["mesh", "seeds"], Form::List),
    ("GRAPEVINE_MESH_CA", &["mesh", "tls", "ca"], Form::One),
    ("GRAPEVINE_MESH_CERT", &["mesh", "tls", "cert"], Form::One),
    ("GRAPEVINE_MESH_KEY", &["mesh", "tls", "key"], Form::One),
    ("GRAPEVINE_STRATEGY", &["routing", "strategy"], Form::One),
    ("GRAPEVINE_ATTEMPTS", &["routing", "attempts"], Form::One),
    ("GRAPEVINE_DEADLINE", &["routing", "deadline"], Form::One),
    ("GRAPEVINE_CORS_ORIGINS", &["cors", "origins"], Form::List),
    ("GRAPEVINE_DRAIN_TIMEOUT", &["drain", "timeout"], Form::One),
    ("GRAPEVINE_TASKS_QUEUE", &["tasks", "queue"], Form::One),
    (
        "GRAPEVINE_TASKS_CONCURRENCY",
        &["tasks", "concurrency"],
        Form::One,
    ),
    (
        "GRAPEVINE_TASKS_RETENTION",
        &["tasks", "retention"],
        Form::One,
    ),
    (
        "GRAPEVINE_TASKS_SERVICES",
        &["tasks", "services"],
        Form::List,
    ),
    (
        "GRAPEVINE_TASKS_BATCH_LINES",
        &["tasks", "batch_lines"],
        Form::One,
    ),
    ("GRAPEVINE_LOG", &["log", "level"], Form::One),
    ("GRAPEVINE_LOG_FORMAT", &["log", "format"], Form::One),
    (
        OTLP_ENDPOINT_VARIABLE,
        &["tracing", "otlp", "endpoint"],
        Form::One,
    ),
    (
        "GRAPEVINE_TRACING_SAMPLE",
        &["tracing", "sample"],
        Form::One,
    ),
    ("GRAPEVINE_WORKERS", &["workers"], Form::One),
    (WORKER_MODE_VARIABLE, &["worker_mode"], Form::One),
];

/// Each variable that overrides a key of the file, with that key, such as `node.name`.
pub fn overrides() -> impl Iterator<Item = (&'static str, String)> {
    OVERRIDES
        .iter()
        .map(|(name, keys, _)| (*name, keys.join(".")))
}

/// What a variable's value is.
#[derive(Clone, Copy)]
enum Form {
    One,
    List,
}

/// The variables of the environment.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process; names and values that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
        )
    }

    /// The value of `name`, unless it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Names alone: values may be secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Applies the variables over the values of the file.
pub(super) fn apply_overrides(tree: &mut TreeNode, environment: &Environment) {
    for (name, keys, form) in OVERRIDES {
        let Some(text) = environment.get(name) else {
            continue;
        };
        let origin = ValueOrigin::Environment((*name).to_owned());
        let value = match form {
            Form::One => TreeNode::scalar(origin, text),
            Form::List => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                let items = items
                    .map(|item| TreeNode::scalar(origin.clone(), item))
                    .collect();
                TreeNode {
                    origin,
                    kind: Kind::List(items),
                }
            }
        };
        tree.set(keys, value);
    }
}

/// Warns of variables with our prefix that set nothing. `used` are those that the file names.
pub(super) fn warn_of_unknown(
    environment: &Environment,
    used: &BTreeSet<String>,
    report: &mut ConfigReport,
) {
    for name in environment.0.keys().filter(|name| name.starts_with(PREFIX)) {
        let is_ours = name == CONFIG_VARIABLE || name == ADMIN_VARIABLE;
        let is_known = is_ours || OVERRIDES.iter().any(|(known, ..)| known == name);
        let is_foreign = FOREIGN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if is_known || is_foreign || used.contains(name) {
            continue;
        }
        let known = OVERRIDES.iter().map(|(known, ..)| *known);
        let bare = name.strip_prefix(PREFIX).unwrap_or(name);
        let bare = (bare == WORKER_MODE_VARIABLE).then_some(bare);
        let remedy = match bare.or_else(|| nearest(name, known)) {
            Some(near) => format!("did you mean {near}?"),
            None => "unset it, or name it in the file as ${..}".to_owned(),
        };
        report.warning(
            &ValueOrigin::Environment(name.clone()),
            "",
            "is not a known variable",
            remedy,
        );
    }
}

/// The result of interpolating variables into texts.
#[derive(Debug, Default)]
pub(super) struct Interpolated {
    /// The variables that the file names.
    pub(super) used: BTreeSet<String>,
    /// The keys whose text could not be made; they are reported, and empty in the tree.
    pub(super) refused: BTreeSet<String>,
}

/// Interpolates variables into the file's texts.
pub(super) fn interpolate(
    tree: &mut TreeNode,
    environment: &Environment,
    report: &mut ConfigReport,
) -> Interpolated {
    let mut walk = Walk {
        environment,
        report,
        done: Interpolated::default(),
    };
    walk.node("", tree);
    walk.done
}

struct Walk<'a> {
    environment: &'a Environment,
    report: &'a mut ConfigReport,
    done: Interpolated,
}

impl Walk<'_> {
    fn node(&mut self, key: &str, node: &mut TreeNode) {
        match &mut node.kind {
            Kind::Null => {}
            Kind::Scalar(scalar) => {
                if matches!(node.origin, ValueOrigin::File { .. })
                    && self.scalar(key, &node.origin, scalar).is_none()
                {
                    self.done.refused.insert(key.to_owned());
                    node.kind = Kind::Null;
                }
            }
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(&format!("{key}[{index}]"), item);
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let path = if key.is_empty() {
                        entry.key.clone()
                    } else {
                        format!("{key}.{}", entry.key)
                    };
                    self.node(&path, &mut entry.value);
                }
            }
        }
    }

    /// `None` when the text could not be made.
    fn scalar(&mut self, key: &str, origin: &ValueOrigin, scalar: &mut Scalar) -> Option<()> {
        if !scalar.text.contains("${") {
            return Some(());
        }
        let mut text = String::new();
        let mut rest = scalar.text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = after;
                continue;
            }
            text.push_str(before);
            let Some((inside, after)) = after.split_once('}') else {
                self.report.problem(
                    origin,
                    key,
                    "has a ${ without }",
                    "close it, or write $${ for the two signs",
                );
                return None;
            };
            text.push_str(&self.variable(key, origin, inside)?);
            rest = after;
        }
        text.push_str(rest);
        scalar.written = Some(std::mem::replace(&mut scalar.text, text));
        Some(())
    }

    fn variable(&mut self, key: &str, origin: &ValueOrigin, inside: &str) -> Option<String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            let remedy =
                "write ${NAME} or ${NAME:-default}, with letters, digits and _ in the name";
            self.report
                .problem(origin, key, "has a ${..} without a variable's name", remedy);
            return None;
        }
        self.done.used.insert(name.to_owned());
        let value = self.environment.get(name).or(default).map(str::to_owned);
        if value.is_none() {
            let remedy = format!("set {name}, or write ${{{name}:-default}}");
            self.report.problem(
                origin,
                key,
                format!("names the variable {name}, which is unset or empty"),
                remedy,
            );
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    fn interpolated(yaml: &str, environment: &Environment) -> (TreeNode, Vec<String>) {
        let mut report = ConfigReport::new(None);
        let mut node = tree::parse(yaml, &mut report).expect("a good document");
        interpolate(&mut node, environment, &mut report);
        (
            node,
            report.problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn text_of(node: &TreeNode, key: &str) -> Option<String> {
        match &node.get(key)?.kind {
            Kind::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        }
    }

    #[test]
    fn variable_with_yaml_signs_stays_one_text() {
        let hostile = "a: b\nadmin: {token: x} # \"'";
        let environment = Environment::from_iter([("KEY", hostile)]);
        let (node, problems) = interpolated("key: ${KEY}\nafter: 1\n", &environment);
        assert_eq!(text_of(&node, "key").as_deref(), Some(hostile));
        assert!(node.get("admin").is_none());
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn default_is_taken_when_unset_or_empty() {
        let environment = Environment::from_iter([("SET", "s"), ("EMPTY", "")]);
        let yaml = "a: x-${SET:-d}-y\nb: ${EMPTY:-d}\nc: ${UNSET:-}\nd: '${SET}${SET}'\n";
        let (node, problems) = interpolated(yaml, &environment);
        let texts = ["a", "b", "c", "d"].map(|key| text_of(&node, key).expect("a text"));
        assert_eq!(texts, ["x-s-y", "d", "", "ss"]);
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn content_of_a_variable_is_not_interpolated_again() {
        let environment = Environment::from_iter([("A", "${B}"), ("B", "secret")]);
        let (node, _) = interpolated("a: ${A}\n", &environment);
        assert_eq!(text_of(&node, "a").as_deref(), Some("${B}"));
    }

    #[test]
    fn two_dollars_stand_for_the_signs_themselves() {
        let (node, problems) = interpolated("a: $${HOME} costs $5\n", &Environment::default());
        assert_eq!(text_of(&node, "a").as_deref(), Some("${HOME} costs $5"));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn bad_variables_are_reported_by_key_and_name() {
        let (_, problems) =
            interpolated("a: [${NO}]\nb: '${x'\nc: ${1}\n", &Environment::default());
        assert_eq!(
            problems,
            [
                "1:5: a[0]: names the variable NO, which is unset or empty; set NO, or write ${NO:-default}",
                "2:4: b: has a ${ without }; close it, or write $${ for the two signs",
                "3:4: c: has a ${..} without a variable's name; write ${NAME} or ${NAME:-default}, \
                 with letters, digits and _ in the name",
            ]
        );
    }

    #[test]
    fn unknown_variable_is_warned_about_with_the_nearest() {
        let names = [
            "GRAPEVINE_REGOIN",
            "GRAPEVINE_ADMIN",
            "GRAPEVINE_LISTEN",
            "GRAPEVINE_PORT_8080_TCP",
            "GRAPEVINE_WORKER_MODE",
            "GRAPEVINE_OWN",
            "HOME",
        ];
        let environment = Environment::from_iter(names.map(|name| (name, "x")));
        let mut report = ConfigReport::new(None);
        warn_of_unknown(
            &environment,
            &BTreeSet::from(["GRAPEVINE_OWN".to_owned()]),
            &mut report,
        );
        let warnings: Vec<_> = report.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "GRAPEVINE_REGOIN: is not a known variable; did you mean GRAPEVINE_REGION?",
                "GRAPEVINE_WORKER_MODE: is not a known variable; did you mean WORKER_MODE?",
            ]
        );
    }

    #[test]
    fn environment_prints_names_alone() {
        let environment = Environment::from_iter([("KEY", "secret")]);
        assert_eq!(format!("{environment:?}"), "{\"KEY\"}");
    }
}
