//! `grapevine top`: the mesh as a node sees it, live in the terminal.
//!
//! A thread of its own asks the admin port every second ([`feed`]); this one waits for keys, takes what came,
//! and draws ([`state`], [`draw`], [`rows`]). The terminal is given back on every way out: the end of the loop, an error,
//! a signal, and a panic.

mod draw;
mod feed;
mod grid;
mod rows;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use grapevine_base::causes;
use grapevine_config::Environment;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::feed::{Feed, FeedUpdate};
use self::state::{Press, Top};
use super::admin_port::AdminArgs;
use super::{fail, paint};

/// How long the loop waits for a key before it looks for updates.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// What `top` takes.
///
/// The exit code is 0 when somebody ended it, and 1 when there was nothing to show or no terminal to show it on.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows the mesh until somebody ends it.
pub fn run(args: &TopArgs, environment: &Environment) -> ExitCode {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return fail(
            "top needs a terminal; elsewhere use `grapevine status`, or `grapevine status --json`",
        );
    }
    let port = args.admin.port(environment);
    // Asked once before the screen is taken, so that an error goes to stderr as usual.
    let first = match feed::first(&port) {
        Ok(first) => first,
        Err(error) => return fail(&causes::joined(&error)),
    };
    let mut top = Top::new(port.url(), paint::is_wanted(environment));
    top.take(FeedUpdate::Page(Box::new(first)), Instant::now());
    let feed = match Feed::start(port) {
        Ok(feed) => feed,
        Err(error) => return fail(&format!("cannot start a thread: {error}")),
    };
    // Takes the screen, and gives it back from a panic.
    let ended = match ratatui::try_init() {
        Ok(mut terminal) => show(&mut terminal, &mut top, &feed),
        Err(error) => Err(error),
    };
    ratatui::restore();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the terminal cannot be used: {error}")),
    }
}

fn show(terminal: &mut DefaultTerminal, top: &mut Top, feed: &Feed) -> io::Result<()> {
    loop {
        let now = Instant::now();
        while let Some(update) = feed.poll() {
            if matches!(update, FeedUpdate::End) {
                return Ok(());
            }
            top.take(update, now);
        }
        terminal.draw(|frame| draw::draw(frame, top, now))?;
        if !event::poll(KEY_WAIT)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && let Some(press) = press(key)
            && top.press(press)
        {
            return Ok(());
        }
    }
}

/// The meaning of a key.
fn press(key: KeyEvent) -> Option<Press> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if is_control => Press::Quit,
        KeyCode::Char(letter) if !is_control => Press::Letter(letter),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Escape,
        KeyCode::Backspace => Press::Erase,
        KeyCode::Tab => Press::Next,
        KeyCode::BackTab => Press::Before,
        KeyCode::Down => Press::Down(1),
        KeyCode::Up => Press::Up(1),
        KeyCode::PageDown => Press::Down(10),
        KeyCode::PageUp => Press::Up(10),
        KeyCode::Home => Press::Up(usize::MAX),
        _ => return None,
    })
}
