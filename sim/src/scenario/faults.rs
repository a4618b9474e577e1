//! Faults, from as written to as checked.

use grapevine_core::ids::{ModelName, UpstreamName};

use super::checked::Checker;
use super::file::{FaultFile, WhatFile};
use super::{ErrorAnswer, Fault, UpstreamFault, What, Which};

impl Checker {
    pub(super) fn fault(&mut self, key: &str, file: &FaultFile) -> Fault {
        let lasts = file.lasts.as_deref().unwrap_or("5s");
        Fault {
            at: self.span(&format!("{key}.at"), &file.at),
            lasts: self.span(&format!("{key}.for"), lasts),
            what: self.what(key, file),
        }
    }

    fn what(&mut self, key: &str, file: &FaultFile) -> What {
        let all = [String::from("all")];
        let who = self.group(
            &format!("{key}.who"),
            if file.who.is_empty() { &all } else { &file.who },
        );
        let to = match file.to.is_empty() {
            // The nodes that are not in `who`.
            true => who.iter().map(|is_in| !is_in).collect(),
            false => self.group(&format!("{key}.to"), &file.to),
        };
        self.misplaced(key, file);
        let every = || file.every.as_deref();
        let share = file.share.unwrap_or(0.5);
        match file.what {
            WhatFile::Crash => What::Crash(who),
            WhatFile::Flap => What::Flap {
                who,
                every: self.span_or(&format!("{key}.every"), every(), "2s"),
            },
            WhatFile::Drain | WhatFile::Rolling => What::Rolling {
                who,
                every: self.span_or(&format!("{key}.every"), every(), "2s"),
            },
            WhatFile::Stall => What::Stall(who),
            WhatFile::Rules => self.new_rules(key, file, who),
            WhatFile::ClockBack => What::ClockBack {
                who,
                back: self.span_or(&format!("{key}.back"), file.back.as_deref(), "1h"),
            },
            WhatFile::Partition | WhatFile::OneWay => What::Cut {
                who,
                to,
                both_ways: matches!(file.what, WhatFile::Partition),
            },
            WhatFile::Loss => What::Loss {
                to: if file.to.is_empty() {
                    vec![true; who.len()]
                } else {
                    to
                },
                who,
                share: self.share(&format!("{key}.share"), share),
            },
            WhatFile::SlowLink => What::SlowLink {
                to: if file.to.is_empty() {
                    vec![true; who.len()]
                } else {
                    to
                },
                who,
                delay: self.span_or(&format!("{key}.delay"), file.delay.as_deref(), "200ms"),
            },
            _ => What::Upstream {
                how: self.upstream_fault(key, file),
                which: Which {
                    nodes: who,
                    upstream: file
                        .upstream
                        .as_deref()
                        .and_then(|name| UpstreamName::new(name).ok()),
                    provider: file.provider.clone(),
                    model: self.model_of(key, file),
                },
            },
        }
    }

    fn upstream_fault(&mut self, key: &str, file: &FaultFile) -> UpstreamFault {
        match file.what {
            WhatFile::UpstreamHangs => UpstreamFault::Hangs,
            WhatFile::UpstreamPauses => UpstreamFault::Pauses,
            WhatFile::UpstreamSlow => UpstreamFault::Slow(file.factor.unwrap_or(10.0).max(0.01)),
            WhatFile::UpstreamErrors => UpstreamFault::Errors(
                self.share(&format!("{key}.share"), file.share.unwrap_or(0.5)),
            ),
            WhatFile::UpstreamLimits => UpstreamFault::Limits(file.factor.unwrap_or(1.0).max(0.0)),
            WhatFile::UpstreamAnswers => UpstreamFault::Answers {
                share: self.share(&format!("{key}.share"), file.share.unwrap_or(1.0)),
                answer: self.error_answer(key, file),
                in_probes: file.probes.unwrap_or(false),
            },
            WhatFile::UpstreamBreaks => UpstreamFault::Breaks(
                self.share(&format!("{key}.share"), file.share.unwrap_or(0.1)),
            ),
            _ => UpstreamFault::Down,
        }
    }

    fn error_answer(&mut self, key: &str, file: &FaultFile) -> ErrorAnswer {
        let status = file.status.unwrap_or_default();
        if !(200..=599).contains(&status) {
            self.problem(
                &format!("{key}.status"),
                "must be the status of its answers, 200 to 599",
            );
        }
        let retry_after = file.retry_after.as_deref();
        ErrorAnswer {
            status,
            code: file.code.as_deref().map(Into::into),
            retry_after: retry_after.map(|text| self.span(&format!("{key}.retry_after"), text)),
        }
    }

    /// The one model that a fault affects.
    fn model_of(&mut self, key: &str, file: &FaultFile) -> Option<ModelName> {
        let text = file.model.as_deref()?;
        let key = format!("{key}.model");
        let model = ModelName::new(text).ok();
        if model.is_none() {
            self.problem(&key, format!("{text:?} is not the name of a model"));
        }
        model
    }

    /// Keys that do nothing in this fault.
    fn misplaced(&mut self, key: &str, file: &FaultFile) {
        if file.rules.is_some() && !matches!(file.what, WhatFile::Rules) {
            self.problem(&format!("{key}.rules"), "applies to `what: rules` only");
        }
        if file.model.is_some() && !is_of_models(file.what) {
            let text = "does not apply: this fault affects every model";
            self.problem(&format!("{key}.model"), text);
        }
        let given = [
            ("status", file.status.is_some()),
            ("code", file.code.is_some()),
            ("retry_after", file.retry_after.is_some()),
            ("probes", file.probes.is_some()),
        ];
        let is_of_answers = matches!(file.what, WhatFile::UpstreamAnswers);
        for (name, _) in given.iter().filter(|(_, given)| *given && !is_of_answers) {
            let text = "applies to `what: upstream_answers` only";
            self.problem(&format!("{key}.{name}"), text);
        }
    }
}

/// Whether a fault can affect one model alone.
const fn is_of_models(what: WhatFile) -> bool {
    matches!(
        what,
        WhatFile::UpstreamHangs
            | WhatFile::UpstreamSlow
            | WhatFile::UpstreamErrors
            | WhatFile::UpstreamAnswers
            | WhatFile::UpstreamBreaks
    )
}
