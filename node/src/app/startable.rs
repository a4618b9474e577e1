//! What is wrong with a checked configuration that only its parts know: what a start would find.

use std::time::Duration;

use grapevine_config::{Config, ConfigProblem, Loaded, Problems};
use grapevine_geo::Database;

use super::{own_files, regions, reload};

/// `loaded` with further warnings as of `wall`, or what would keep a node from starting.
pub(crate) fn judge(loaded: Loaded, wall: Duration) -> Result<Loaded, Problems> {
    let mut loaded = loaded;
    loaded.warnings.extend(regions::unknown(&loaded.config));
    let certificates = own_files::certificates(&loaded.config);
    loaded
        .warnings
        .extend(own_files::ending(&certificates, wall));
    let problems = obstacles(&loaded.config);
    match problems.is_empty() {
        true => Ok(loaded),
        false => Err(Problems::of(problems, loaded)),
    }
}

/// Only opening a file shows whether it is a location database, or a key that the mesh can use.
fn obstacles(config: &Config) -> Vec<ConfigProblem> {
    let database = config.geo.database.as_deref();
    let database = database.and_then(|path| Database::open(path).err());
    let database = database.map(|error| ("geo.database", error.to_string()));
    let mesh = config.mesh.as_ref();
    let mesh = mesh.and_then(|mesh| reload::credentials(mesh).err());
    let mesh = mesh.map(|error| ("mesh.tls", error.to_string()));
    let public = config.tls.as_ref();
    let public = public.and_then(|tls| reload::public_tls(tls).err());
    let public = public.map(|error| ("tls", error.to_string()));
    let found = [database, mesh, public].into_iter().flatten();
    found.map(|(key, error)| problem(key, &error)).collect()
}

fn problem(key: &str, error: &str) -> ConfigProblem {
    // The errors of parts begin with their key, and end with a remedy where there is one.
    let text = error.strip_prefix(key).unwrap_or(error);
    let text = text.trim_start_matches([':', ' ']);
    let (problem, remedy) = text
        .split_once("; ")
        .unwrap_or((text, "a node would not start with it"));
    ConfigProblem::of_value(key, problem.to_owned(), remedy.to_owned())
}
