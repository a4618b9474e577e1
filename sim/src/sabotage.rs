//! Deliberate breaks of what core returned, to show that each checker can fire.

/// What is broken. Anything but `None` exists in tests alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// Some answers never come, and deadlines are ignored.
    #[cfg(test)]
    LosesAnswers,
    /// The limit of attempts is three times the scenario's.
    #[cfg(test)]
    TriesTooOften,
    /// Forwarded requests count two hops.
    #[cfg(test)]
    ForwardsTwice,
    /// No node checks fences.
    #[cfg(test)]
    IgnoresResidency,
    /// Owners do not check fences, and entries do.
    #[cfg(test)]
    ServesAnything,
    /// Everything counts as healthy when a request is planned.
    #[cfg(test)]
    IgnoresEjection,
    /// One node drops what another publishes.
    #[cfg(test)]
    DropsFacts,
    /// Calls that ended are kept.
    #[cfg(test)]
    Hoards,
    /// All requests go to the same node.
    #[cfg(test)]
    Herds,
}

#[cfg(not(test))]
mod asked {
    use super::Sabotage;
    use crate::membership::NodeIndex;

    impl Sabotage {
        pub(crate) const fn loses_answer(self, _request: u64) -> bool {
            false
        }

        pub(crate) const fn attempts_max(self, max: u32) -> u32 {
            max
        }

        pub(crate) const fn hops(self) -> u8 {
            1
        }

        pub(crate) const fn ignores_residency(self) -> bool {
            false
        }

        pub(crate) const fn serves_anything(self) -> bool {
            false
        }

        pub(crate) const fn ignores_ejection(self) -> bool {
            false
        }

        pub(crate) const fn loses_fact(self, _node: NodeIndex, _author: NodeIndex) -> bool {
            false
        }

        pub(crate) const fn hoards(self) -> bool {
            false
        }

        pub(crate) const fn herds(self) -> bool {
            false
        }
    }
}

#[cfg(test)]
mod asked {
    use super::Sabotage;
    use crate::membership::NodeIndex;

    impl Sabotage {
        pub(crate) fn loses_answer(self, request: u64) -> bool {
            self == Self::LosesAnswers && request.is_multiple_of(50)
        }

        pub(crate) fn attempts_max(self, max: u32) -> u32 {
            if self == Self::TriesTooOften {
                max * 3
            } else {
                max
            }
        }

        pub(crate) fn hops(self) -> u8 {
            if self == Self::ForwardsTwice { 2 } else { 1 }
        }

        pub(crate) fn ignores_residency(self) -> bool {
            self == Self::IgnoresResidency
        }

        pub(crate) fn serves_anything(self) -> bool {
            self.ignores_residency() || self == Self::ServesAnything
        }

        pub(crate) fn ignores_ejection(self) -> bool {
            self == Self::IgnoresEjection
        }

        pub(crate) fn loses_fact(self, node: NodeIndex, author: NodeIndex) -> bool {
            self == Self::DropsFacts && node.0 == 1 && author.0 == 2
        }

        pub(crate) fn hoards(self) -> bool {
            self == Self::Hoards
        }

        pub(crate) fn herds(self) -> bool {
            self == Self::Herds
        }
    }
}
