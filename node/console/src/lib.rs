//! What people look at: the admin port with its dashboard, and the commands that ask a node or help to set one up.
//!
//! Reading order: [`admin`] (the port), [`cli`] (`status`, `top`, `requests`, `explain`, `tasks`, `log`, `drain` and the
//! like, and `init`, `import`, `ca`, `key`, `schema`).
//!
//! What this crate does not know: how requests are routed and served. It reads views, records and metrics.

/// What stands below a command's help: its examples, and its exit codes with their meaning. Manual pages make sections of
/// it.
#[macro_export]
macro_rules! command_help {
    ([$($example:literal),+ $(,)?], [$($code:literal),+ $(,)?]) => {
        concat!(
            "Examples:\n",
            $("  ", $example, "\n",)+
            "\nExit codes:\n",
            $("  ", $code, "\n",)+
            "  2  the command line was not understood",
        )
    };
}

pub mod admin;
pub mod cli;
