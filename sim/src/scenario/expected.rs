//! What must hold at the end, from as written to as checked.

use grapevine_core::ids::{ModelName, UpstreamName};

use super::Expect;
use super::checked::Checker;
use super::file::{ElsewhereFile, ExpectFile, UpstreamFile};

impl Checker {
    pub(super) fn expect(&mut self, file: &ExpectFile, upstreams: &[UpstreamFile]) -> Expect {
        let shares = file.upstream_share_min.iter();
        let upstream_share_min = shares
            .filter_map(|(name, least)| self.least_share(name, *least, upstreams))
            .collect();
        let broken = file.broken_share_max;
        Expect {
            failed_share_max: file.failed_share_max.unwrap_or(0.0),
            regret_max: file.regret_max,
            peak_to_mean_max: file.peak_to_mean_max,
            converges: file.converges.unwrap_or(true),
            fault_bites: file.fault_bites.unwrap_or(true),
            at_least: file.at_least,
            at_most: file.at_most,
            elsewhere: file.elsewhere.as_ref().map(|it| self.elsewhere(it)),
            broken_share_max: broken.map(|share| self.share("expect.broken_share_max", share)),
            short_prompts_regret_max: file.short_prompts_regret_max,
            upstream_share_min,
        }
    }

    fn elsewhere(&mut self, file: &ElsewhereFile) -> (Option<ModelName>, f64) {
        let text = file.model.as_deref();
        let model = text.and_then(|text| ModelName::new(text).ok());
        if model.is_none() && text.is_some() {
            self.problem("expect.elsewhere.model", "must be the name of a model");
        }
        let share = self.share("expect.elsewhere.share_max", file.share_max);
        (model, share)
    }

    fn least_share(
        &mut self,
        name: &str,
        least: f64,
        upstreams: &[UpstreamFile],
    ) -> Option<(UpstreamName, f64)> {
        let key = format!("expect.upstream_share_min.{name}");
        if !upstreams.iter().any(|one| one.name == name) {
            self.problem(&key, "must be one of upstreams");
        }
        let least = self.share(&key, least);
        Some((UpstreamName::new(name).ok()?, least))
    }
}
