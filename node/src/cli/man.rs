//! `grapevine man`: manual pages of all commands, made from the same definitions as the flags.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};

use grapevine_console::cli::fail;

use super::Cli;

/// What `man` takes.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder, made where it is missing; else the first is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the pages.
pub(super) fn run(args: &ManArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let Some(folder) = &args.out else {
        // Made in memory, so that a closed pipe is seen by whoever writes.
        out.write_all(&page(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| write_pages(&all, folder))
        .map_err(|error| format!("{}: {error}", folder.display()));
    match written {
        Ok(()) => {
            writeln!(
                out,
                "wrote the pages to {}; read one with: man -l {0}/grapevine.1",
                folder.display()
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(fail(&error)),
    }
}

/// Writes the page of `command` and of each below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        write_pages(inner, folder)?;
    }
    let name = clap_mangen::Man::new(command.clone()).get_filename();
    std::fs::write(folder.join(name), page(command)?)
}

/// A page, in which the examples and exit codes below the help are sections as `man-pages(7)` names them.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let below = command.get_after_help().map(ToString::to_string);
    let below = below.unwrap_or_default();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().after_help(None::<&'static str>)).render(&mut page)?;
    let (examples, codes) = below.split_once("\n\nExit codes:\n").unwrap_or_default();
    if codes.is_empty() {
        return Ok(page);
    }
    page.extend(b".SH \"EXIT STATUS\"\n");
    for (code, meaning) in codes
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
    {
        writeln!(page, ".TP\n{code}\n{}", escaped(meaning))?;
    }
    page.extend(b".SH EXAMPLES\n.nf\n");
    for line in examples.lines().skip(1) {
        writeln!(page, "{}", escaped(line))?;
    }
    page.extend(b".fi\n");
    Ok(page)
}

/// `text` as roff shows it.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let folder = std::env::temp_dir().join(format!("grapevine-man-{}", std::process::id()));
        let args = ManArgs {
            out: Some(folder.clone()),
        };
        run(&args, &mut Vec::new()).expect("a buffer takes all");
        let names = Cli::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect::<Vec<_>>();
        assert!(names.len() > 10, "{names:?}");
        for name in names.iter().filter(|name| *name != "help") {
            let page = folder.join(format!("grapevine-{name}.1"));
            let text = std::fs::read_to_string(&page).expect("a page");
            assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
            let (codes, examples) = (".SH \"EXIT STATUS\"", ".SH EXAMPLES");
            assert!(text.contains(codes), "{}", page.display());
            assert!(text.contains(examples), "{}", page.display());
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a page");
        let status = read("grapevine-status.1");
        let code = ".TP\n3\nwith \\-\\-check: a node is unreachable\n";
        assert!(status.contains(code), "{status}");
        assert!(
            status.contains("\n  grapevine status \\-\\-check && echo well\n"),
            "{status}"
        );
        assert!(read("grapevine-import-litellm.1").contains(".SH EXAMPLES"));
        assert!(read("grapevine-upstream-disable.1").contains(".SH EXAMPLES"));
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }

    #[test]
    fn first_page_names_the_commands() {
        let mut out = Vec::new();
        run(&ManArgs { out: None }, &mut out).expect("a buffer takes all");
        let text = String::from_utf8(out).expect("the page is text");
        assert!(text.contains("grapevine\\-status(1)"), "{text}");
    }
}
