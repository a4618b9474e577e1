//! `grapevine man`: manual pages of all commands, made from the same definitions as the flags.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

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
    let Some(folder) = &args.out else {
        // Made in memory, so that a closed pipe is seen by whoever writes.
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        out.write_all(&page)?;
        return Ok(ExitCode::SUCCESS);
    };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
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
        }
        assert!(folder.join("grapevine-import-litellm.1").is_file());
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
