//! Colours on a terminal, for lines that should be seen first.

use std::io::{self, IsTerminal as _};

use grapevine_config::Environment;

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Normal.
    Plain,
    /// Impaired for now.
    Warning,
    /// Broken.
    Bad,
}

/// Paints, or leaves text alone where colours are not wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output: colours on a terminal alone, and none with `NO_COLOR` (<https://no-color.org>).
    pub(super) fn for_stdout(environment: &Environment) -> Self {
        Self(io::stdout().is_terminal() && is_wanted(environment))
    }

    /// `text` in the colour of `tone`.
    pub(super) fn line(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Warning if self.0 => "33",
            Tone::Bad if self.0 => "31",
            Tone::Plain | Tone::Warning | Tone::Bad => return text.to_owned(),
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The columns of a terminal of which nothing is known, and of what is no terminal.
const WIDTH: usize = 80;

/// The columns of standard output: of its terminal, or as many as `COLUMNS` says.
pub(super) fn width(environment: &Environment) -> usize {
    let said = environment
        .get("COLUMNS")
        .and_then(|text| text.parse().ok());
    let terminal = || {
        let size = io::stdout()
            .is_terminal()
            .then(ratatui::crossterm::terminal::size);
        size?.ok().map(|(columns, _)| usize::from(columns))
    };
    said.or_else(terminal)
        .filter(|width| *width > 0)
        .unwrap_or(WIDTH)
}

/// Whether the environment wants colours.
pub(super) fn is_wanted(environment: &Environment) -> bool {
    environment.get("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_end_where_the_line_ends_and_are_left_out_where_not_wanted() {
        assert_eq!(Paint(true).line("x", Tone::Bad), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint(true).line("x", Tone::Plain), "x");
        assert_eq!(Paint(false).line("x", Tone::Bad), "x");
        assert!(is_wanted(&Environment::default()));
        assert!(!is_wanted(&[("NO_COLOR", "1")].into_iter().collect()));
    }
}
