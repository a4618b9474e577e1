//! What limits count, and whose they are.

use std::sync::Arc;

use grapevine_core::escrow::spec::{LimitId, LimitSpec};
use grapevine_core::ids::ModelName;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// Requests at once.
    Concurrency,
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
    /// Millionths of a US dollar.
    Money,
}

impl LimitKind {
    /// All of them, in the order in which a request takes from them.
    pub const ALL: [Self; 4] = [Self::Concurrency, Self::Requests, Self::Tokens, Self::Money];

    /// Its name in answers, metrics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Money => "budget",
        }
    }
}

/// The limits of one holder, in the order of [`LimitKind::ALL`]; `None` is no limit.
pub type KeySpecs = [Option<LimitSpec>; LimitKind::ALL.len()];

/// Some limits, and whose.
pub type HolderLimits = (LimitHolder, KeySpecs);

/// Whose limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitHolder {
    /// A static key, by its name.
    Filed(Arc<str>),
    /// An issued key, by its id.
    Issued(Arc<str>),
    /// A static key where it asks for a model.
    FiledModel(Arc<str>, ModelName),
    /// An issued key where it asks for a model.
    IssuedModel(Arc<str>, ModelName),
    /// An account at a provider, by its name.
    Account(Arc<str>),
}

impl LimitHolder {
    /// The key's name, or its id where it was issued; the account's.
    pub fn name(&self) -> &str {
        match self {
            Self::Filed(name) | Self::FiledModel(name, _) | Self::Account(name) => name,
            Self::Issued(id) | Self::IssuedModel(id, _) => id,
        }
    }

    /// The name of its limit of `kind` over `spec`'s window, the same at every node.
    pub fn limit(&self, kind: LimitKind, spec: LimitSpec) -> LimitId {
        let name = self.name();
        let of = match self {
            Self::Filed(_) | Self::FiledModel(..) => "key",
            Self::Issued(_) | Self::IssuedModel(..) => "issued key",
            Self::Account(_) => "account",
        };
        let window = format!("{:?}", spec.window);
        match self.model() {
            None => LimitId::of(&[of, name, kind.as_str(), &window]),
            Some(model) => LimitId::of(&[of, name, model.as_str(), kind.as_str(), &window]),
        }
    }

    /// The model that its limits are for; `None` is every model.
    pub const fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Filed(_) | Self::Issued(_) | Self::Account(_) => None,
            Self::FiledModel(_, model) | Self::IssuedModel(_, model) => Some(model),
        }
    }

    /// The holder of its limits for `model` alone; an account has none.
    pub fn of_model(self, model: &ModelName) -> Self {
        match self {
            Self::Filed(name) | Self::FiledModel(name, _) => Self::FiledModel(name, model.clone()),
            Self::Issued(id) | Self::IssuedModel(id, _) => Self::IssuedModel(id, model.clone()),
            Self::Account(name) => Self::Account(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::escrow::spec::LimitWindow;

    use super::*;

    const SPEC: LimitSpec = LimitSpec {
        amount: 100,
        window: LimitWindow::Minute,
    };

    #[test]
    fn limits_of_two_keys_and_of_two_kinds_are_not_one() {
        let filed = LimitHolder::Filed("app".into());
        let issued = LimitHolder::Issued("app".into());
        let month = LimitSpec {
            window: LimitWindow::Month,
            ..SPEC
        };
        let mut ids = vec![
            filed.limit(LimitKind::Requests, SPEC),
            filed.limit(LimitKind::Tokens, SPEC),
            filed.limit(LimitKind::Requests, month),
            issued.limit(LimitKind::Requests, SPEC),
        ];
        let model = ModelName::new("gpt-4o").expect("a name");
        for holder in [&filed, &issued] {
            ids.push(
                holder
                    .clone()
                    .of_model(&model)
                    .limit(LimitKind::Tokens, SPEC),
            );
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6);
        let raised = LimitSpec {
            amount: 200,
            ..SPEC
        };
        let limit = |spec| filed.limit(LimitKind::Requests, spec);
        assert_eq!(limit(raised), limit(SPEC));
    }
}
