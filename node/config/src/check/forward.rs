//! Checks of the paths to forward in addition to the built-in list.

use grapevine_core::forwarding::{EXTRA_PATHS_MAX, ExtraPath, Forwarding, Methods};

use super::super::file::{ForwardFile, Item};
use super::{Checker, items};

const PATH_FORM: &str =
    "write a path such as /v1/vector_stores, or /v1/vector_stores/* for all below it";

const METHODS_FORM: &str =
    "write GET, POST, PUT, PATCH or DELETE, or remove the key for all of them";

impl Checker<'_> {
    pub(super) fn forwarding(&mut self, list: &Option<Vec<Item<ForwardFile>>>) -> Forwarding {
        let count = list.as_ref().map_or(0, Vec::len);
        if count > EXTRA_PATHS_MAX {
            let problem = format!("has {count} paths, and may have {EXTRA_PATHS_MAX}");
            self.problem(
                "forward",
                problem,
                "name what they have in common with a final /*",
            );
            return Forwarding::default();
        }
        let paths = items("forward", list).filter_map(|(key, file)| self.extra_path(&key, file));
        Forwarding::new(paths.collect())
    }

    fn extra_path(&mut self, key: &str, file: &ForwardFile) -> Option<ExtraPath> {
        let (path_key, path, methods) = match file {
            ForwardFile::Path(path) => (key.to_owned(), path, Methods::ALL),
            ForwardFile::Limited(file) => {
                let methods = self.methods(&format!("{key}.methods"), &file.methods);
                (format!("{key}.path"), file.path.as_ref()?, methods)
            }
        };
        match ExtraPath::new(path, methods) {
            Ok(path) => Some(path),
            Err(error) => {
                let problem = format!("{} {error}", self.shown(&path_key));
                self.problem(&path_key, problem, PATH_FORM);
                None
            }
        }
    }

    fn methods(&mut self, key: &str, list: &Option<Vec<Item<String>>>) -> Methods {
        if list.is_none() {
            return Methods::ALL;
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.problem(key, "is empty", METHODS_FORM);
        }
        let mut names = Vec::new();
        for (key, name) in items(key, list) {
            if Methods::of([name.as_str()]).is_some() {
                names.push(name.as_str());
            } else {
                let problem = format!("{} is no method that is forwarded", self.shown(&key));
                self.problem(&key, problem, METHODS_FORM);
            }
        }
        Methods::of(names).unwrap_or_default()
    }
}
