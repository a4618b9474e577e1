//! Checks of what translations may lose.

use grapevine_core::dialect::PermittedLoss;

use super::super::file::{LossyFile, LossyWord, RoutingFile};
use super::{Checker, items};

/// Paths that may be listed.
const PATHS_MAX: usize = 64;

const FORM: &str = "write the path as x-grapevine-lost names it, without indexes, such as top_k or tools.web_search";

impl Checker<'_> {
    /// What holds for upstreams that say nothing of it.
    pub(super) fn lossy_by_default(&mut self, file: Option<&RoutingFile>) -> PermittedLoss {
        let written = file.and_then(|routing| routing.lossy.as_ref());
        self.lossy("routing.lossy", written, &PermittedLoss::Nothing)
    }

    /// `default` where nothing is written.
    pub(super) fn lossy(
        &mut self,
        key: &str,
        written: Option<&LossyFile>,
        default: &PermittedLoss,
    ) -> PermittedLoss {
        let paths = match written {
            None => return default.clone(),
            Some(LossyFile::Word(LossyWord::Allow)) => return PermittedLoss::Anything,
            Some(LossyFile::Word(LossyWord::Refuse)) => return PermittedLoss::Nothing,
            Some(LossyFile::Paths(paths)) => Some(paths.clone()),
        };
        let count = paths.as_ref().map_or(0, Vec::len);
        if count == 0 {
            self.problem(key, "is empty", "write refuse, or list paths");
        }
        if count > PATHS_MAX {
            let problem = format!("has {count} paths, and may have {PATHS_MAX}");
            self.problem(
                key,
                problem,
                "name what they have in common, or write allow",
            );
        }
        let listed =
            items(key, &paths).filter_map(|(key, text)| self.parse(&key, Some(text), FORM));
        PermittedLoss::Listed(listed.collect())
    }
}
