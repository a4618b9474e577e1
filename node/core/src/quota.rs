//! What one client may have waiting and stored, so that none fills a node's store for all.

/// What the holder of one key may have in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tasks that wait.
    pub waiting: u64,
    /// Stored files.
    pub files: u64,
    /// Their bytes together.
    pub file_bytes: u64,
}

/// Which of them would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaExceeded {
    /// That of waiting tasks.
    Waiting,
    /// That of files.
    Files,
    /// That of their bytes.
    FileBytes,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            waiting: 10_000,
            files: 1_000,
            file_bytes: 4 << 30,
        }
    }
}

impl Quota {
    /// Whether one who has `waiting` tasks may add one.
    ///
    /// # Errors
    /// When not.
    pub fn admit_task(&self, waiting: u64) -> Result<(), QuotaExceeded> {
        match waiting < self.waiting {
            true => Ok(()),
            false => Err(QuotaExceeded::Waiting),
        }
    }

    /// Whether one who has so many files with so many bytes may add one of `more` bytes.
    ///
    /// # Errors
    /// When not.
    pub fn admit_file(&self, files: u64, bytes: u64, more: u64) -> Result<(), QuotaExceeded> {
        if files >= self.files {
            Err(QuotaExceeded::Files)
        } else if bytes.saturating_add(more) > self.file_bytes {
            Err(QuotaExceeded::FileBytes)
        } else {
            Ok(())
        }
    }
}

impl QuotaExceeded {
    /// One word, as the configuration and metrics call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Files => "files",
            Self::FileBytes => "file_bytes",
        }
    }
}

/// Whether a poll may wait where `all` do, `own` of them of the same client: one client may have half of the slots,
/// so that it never takes all.
pub fn admits_poll(slots: u32, all: u32, own: u32) -> bool {
    all < slots && own < slots.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_what_one_may_have_and_not_more() {
        let quota = Quota {
            waiting: 2,
            files: 2,
            file_bytes: 10,
        };
        assert_eq!(quota.admit_task(1), Ok(()));
        assert_eq!(quota.admit_task(2), Err(QuotaExceeded::Waiting));
        assert_eq!(quota.admit_file(1, 4, 6), Ok(()));
        assert_eq!(quota.admit_file(1, 4, 7), Err(QuotaExceeded::FileBytes));
        assert_eq!(quota.admit_file(2, 0, 0), Err(QuotaExceeded::Files));
        assert_eq!(
            quota.admit_file(0, u64::MAX, 1),
            Err(QuotaExceeded::FileBytes)
        );
    }

    #[test]
    fn one_clients_polls_leave_slots_for_others() {
        assert!(admits_poll(4, 1, 1));
        assert!(!admits_poll(4, 2, 2));
        assert!(admits_poll(4, 3, 0));
        assert!(!admits_poll(4, 4, 0));
    }
}
