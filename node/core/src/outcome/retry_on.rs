//! Which failures the operator has tried elsewhere.

/// Which failures lead to the next candidate. The default is all of them but one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// Connections that could not be opened or broke before the head.
    pub connect: bool,
    /// Waits for a connection or for the first byte of a stream that ran out.
    pub timeout: bool,
    /// Waits for a whole answer that ran out. Off by default: the upstream took all of the request, and may have
    /// billed it.
    pub answer_timeout: bool,
    /// Single statuses.
    pub statuses: Vec<u16>,
    /// Every status of 500 and above.
    pub server_errors: bool,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self {
            connect: true,
            timeout: true,
            answer_timeout: false,
            statuses: vec![408, 429],
            server_errors: true,
        }
    }
}

impl RetryOn {
    /// Nothing that the operator can choose.
    pub const fn nothing() -> Self {
        Self {
            connect: false,
            timeout: false,
            answer_timeout: false,
            statuses: Vec::new(),
            server_errors: false,
        }
    }
}
