//! Numbers with a meaning and a range.

/// A share between 0 and 1, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);

    /// Clamps `value` into the range; NaN becomes zero.
    pub fn clamped(value: f64) -> Self {
        if value.is_nan() {
            Self::ZERO
        } else {
            Self(value.clamp(0.0, 1.0))
        }
    }

    /// `part` of `whole`; zero when the whole is zero.
    pub fn of(part: u32, whole: u32) -> Self {
        if whole == 0 {
            Self::ZERO
        } else {
            Self::clamped(f64::from(part) / f64::from(whole))
        }
    }

    /// The share as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A relative weight: finite, above zero, at most 1,000.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Weight(f64);

impl Weight {
    /// The largest weight.
    pub const MAX: f64 = 1_000.0;

    /// `None` unless `value` is above zero and at most [`Weight::MAX`].
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value <= Self::MAX).then_some(Self(value))
    }

    /// The weight as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1.0)
    }
}

/// A tier of upstreams: a lower one is tried first, the next only when it has no healthy member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tier(pub u16);

impl Default for Tier {
    fn default() -> Self {
        Self(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_never_outside_its_range() {
        assert_eq!(Share::clamped(f64::NAN), Share::ZERO);
        assert_eq!(Share::clamped(7.0).get(), 1.0);
        assert_eq!(Share::clamped(-1.0), Share::ZERO);
        assert_eq!(Share::of(3, 0), Share::ZERO);
    }

    #[test]
    fn weight_refuses_zero_and_nan() {
        assert!(Weight::new(0.0).is_none());
        assert!(Weight::new(f64::NAN).is_none());
        assert!(Weight::new(1_000.0).is_some());
        assert!(Weight::new(1_000.1).is_none());
    }
}
