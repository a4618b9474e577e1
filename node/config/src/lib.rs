//! The configuration: read from flags, the environment and a file, and checked.
//!
//! ```text
//! text --tree--> values with positions --env, flags--> overridden, interpolated
//!      --shape--> what fits the schema --file--> as written --check--> Config
//! ```
//!
//! Every stage reports into one list and continues with what it understood, so that an operator sees all
//! problems of a file at once. Precedence: flag, environment, file, default.
//!
//! Reading order: [`mod@file`] (as written), [`checked`] (as checked), [`load`], [`watch`].

pub mod address;
mod check;
pub mod checked;
pub mod destinations;
pub mod domain;
mod dump;
pub mod env;
pub mod file;
pub mod flags;
pub mod foreign;
pub mod nearest;
pub mod path_template;
pub mod prices;
pub mod problem;
pub mod secret;
mod shape;
mod shield;
pub mod signing;
mod source_map;
pub mod text;
mod tree;
pub mod watch;
mod written;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use check::is_log_filter;
pub use checked::{Config, LogConfig, LogFormat, MeshConfig};
pub use dump::yaml_of;
pub use env::Environment;
pub use flags::Flags;
pub use grapevine_keys::hash;
pub use problem::{ConfigProblem, Problems};
pub use secret::Secret;

use file::ConfigFile;
use problem::{ConfigReport, ValueOrigin};
use tree::{Kind, TreeNode};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None` when there is none.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// The command line.
    pub flags: Flags,
}

/// A valid configuration, and its warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Not wrong, but perhaps not intended.
    pub warnings: Vec<ConfigProblem>,
    /// Keys that cannot change while the node runs, and keep their values until a restart; after a reload alone.
    pub pending_restart: Vec<String>,
}

/// Reads and checks the configuration.
///
/// # Errors
/// With everything that is wrong with it, each with its key, its position and a remedy.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let Some(path) = &sources.file else {
        return read("", None, Path::new(""), sources);
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.display().to_string();
    match read_text(path) {
        Ok(text) => read(&text, Some(name), folder, sources),
        Err((problem, remedy)) => {
            let mut report = ConfigReport::new(Some(name));
            report.problem(&ValueOrigin::Nowhere, "", problem, remedy);
            finish(report, None)
        }
    }
}

/// Reads and checks a configuration that is a text already; its paths are relative to the working folder.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, sources: &Sources) -> Result<Loaded, Problems> {
    read(text, None, Path::new(""), sources)
}

/// The JSON Schema of the file.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(ConfigFile).into();
    drop_null_defaults(&mut schema);
    schema
}

/// "Default: null" is meaningless, and hides the default that the description states.
fn drop_null_defaults(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(map) => {
            map.retain(|key, value| !(key == "default" && value.is_null()));
            map.values_mut().for_each(drop_null_defaults);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_null_defaults),
        _ => {}
    }
}

fn read_text(path: &Path) -> Result<String, (String, &'static str)> {
    let check_path = "check the path given with -c or GRAPEVINE_CONFIG, and its permissions";
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), check_path);
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_MAX {
        return Err((
            format!("has {length} bytes, over {FILE_MAX}"),
            "name a configuration file",
        ));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| ("is not UTF-8 text".to_owned(), "save it as UTF-8"))
}

fn read(
    text: &str,
    name: Option<String>,
    folder: &Path,
    sources: &Sources,
) -> Result<Loaded, Problems> {
    let hash = name.is_some().then(|| short_hash(text.as_bytes()));
    let mut report = ConfigReport::new(name);
    report.file_hash = hash;
    let config = tree::parse(text, &mut report)
        .and_then(|tree| assemble(tree, folder, sources, &mut report));
    finish(report, config)
}

fn finish(report: ConfigReport, config: Option<Config>) -> Result<Loaded, Problems> {
    let (config, warnings) = report.finish(config)?;
    Ok(Loaded {
        config,
        warnings,
        pending_restart: Vec::new(),
    })
}

/// The first twelve digits of what `sha256sum` prints of a file: enough to compare two by eye.
fn short_hash(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digits = digest.as_ref().iter().take(6);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

fn assemble(
    mut tree: TreeNode,
    folder: &Path,
    sources: &Sources,
    report: &mut ConfigReport,
) -> Option<Config> {
    if matches!(tree.kind, Kind::Null) {
        tree.kind = Kind::Map(Vec::new());
    }
    if !matches!(tree.kind, Kind::Map(_)) {
        report.problem(
            &tree.origin,
            "",
            "is not a map of keys and values",
            "write keys, such as listen: 0.0.0.0:8080",
        );
        return None;
    }
    env::apply_overrides(&mut tree, &sources.environment);
    sources.flags.apply(&mut tree, report);
    let interpolated = env::interpolate(&mut tree, &sources.environment, report);
    env::warn_of_unknown(&sources.environment, &interpolated.used, report);
    let (value, source_map) = shape::fit(&tree, &schema(), interpolated.refused, report);
    match serde_json::from_value::<ConfigFile>(value) {
        Ok(file) => check::check(&file, &source_map, folder, &sources.environment, report),
        Err(_) => {
            // The schema accepts what its own types refuse: a bug of this program. The error's text is left out,
            // since it may quote a secret.
            report.problem(
                &ValueOrigin::Nowhere,
                "",
                "fits the schema and was not understood",
                "please report this",
            );
            None
        }
    }
}

/// The files that a configuration depends on, itself included.
pub fn files(sources: &Sources, config: &Config) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = sources.file.iter().cloned().collect();
    files.extend(
        config
            .tls
            .iter()
            .flat_map(|tls| [tls.cert.clone(), tls.key.clone()]),
    );
    let mesh = config.mesh.iter().map(|mesh| &mesh.tls);
    files.extend(mesh.flat_map(|tls| [tls.ca.clone(), tls.cert.clone(), tls.key.clone()]));
    let upstreams = config.upstreams.iter();
    files.extend(upstreams.flat_map(|upstream| upstream.auth.files()));
    files
}

#[cfg(test)]
mod tests;
