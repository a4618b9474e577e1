//! `grapevine import`: the configuration of another program as grapevine's.
//!
//! The new file goes to standard output or into a file, and what was not carried over goes to standard error:
//! with its line, its key and what to do instead. The exit code shows whether somebody should look at that.

mod finding;
mod litellm;
mod section;

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use self::litellm::Imported;
use super::fail;

pub(super) use self::litellm::known_endpoint;

/// The exit code of an import that left something to look at.
const ATTENTION: u8 = 3;

/// The largest file that is read, in bytes, as for a configuration of our own.
const FILE_MAX: u64 = 1_024 * 1_024;

/// What `import` takes.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Clone, Debug, Subcommand)]
enum From {
    /// LiteLLM's proxy: its config.yaml
    ///
    /// Secrets in the file are not copied: the new file names variables instead. What cannot be carried
    /// over is listed on standard error and in comments of the new file, with its line and what to do instead.
    #[command(after_help = LITELLM)]
    Litellm(LitellmArgs),
}

const LITELLM: &str = command_help!(
    ["grapevine import litellm config.yaml -o grapevine.yaml"],
    [
        "0  everything was carried over",
        "1  nothing was written",
        "3  the new file was written, and something was lost, has changed its meaning, or is left to do",
    ]
);

#[derive(Clone, Debug, Args)]
struct LitellmArgs {
    /// LiteLLM's file; - is standard input
    #[arg(value_name = "CONFIG.yaml")]
    file: PathBuf,
    /// Write the new file here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long, requires = "output")]
    force: bool,
    /// Print one JSON object: config, findings, variables
    #[arg(long)]
    json: bool,
}

/// Imports, and reports the outcome.
pub fn run(args: &ImportArgs, out: &mut impl Write) -> io::Result<ExitCode> {
    let From::Litellm(args) = &args.from;
    let (name, text) = match read(&args.file) {
        Ok(read) => read,
        Err(error) => return Ok(fail(&format!("{}: {error}", args.file.display()))),
    };
    let imported = match litellm::import(&text, &name) {
        Ok(imported) => imported,
        Err(error) => return Ok(fail(&error.to_string())),
    };
    if let Some(path) = &args.output
        && let Err(error) = write(path, &imported.config, args.force)
    {
        let hint = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                "is there already; add --force to overwrite it".to_owned()
            }
            _ => error.to_string(),
        };
        return Ok(fail(&format!("{}: {hint}", path.display())));
    }
    if args.json {
        write_json(&imported, args.output.is_none(), out)?;
    } else {
        if args.output.is_none() {
            out.write_all(imported.config.as_bytes())?;
        }
        write_findings(&imported, args.output.as_deref(), &mut io::stderr().lock())?;
    }
    Ok(code(&imported))
}

fn read(path: &Path) -> io::Result<(String, String)> {
    let mut text = String::new();
    let name = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(FILE_MAX + 1)
            .read_to_string(&mut text)?;
        "standard input".to_owned()
    } else {
        std::fs::File::open(path)?
            .take(FILE_MAX + 1)
            .read_to_string(&mut text)?;
        path.display().to_string()
    };
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("is larger than {FILE_MAX} bytes")));
    }
    Ok((name, text))
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    options.open(path)?.write_all(text.as_bytes())
}

fn attention(imported: &Imported) -> usize {
    let findings = imported.findings.iter();
    findings
        .filter(|finding| finding.kind.needs_attention())
        .count()
}

fn code(imported: &Imported) -> ExitCode {
    match attention(imported) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(ATTENTION),
    }
}

fn write_json(imported: &Imported, with_config: bool, out: &mut impl Write) -> io::Result<()> {
    let report = json!({
        "ok": attention(imported) == 0,
        "config": with_config.then_some(&imported.config),
        "findings": imported.findings,
        "variables": imported.variables,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn write_findings(
    imported: &Imported,
    path: Option<&Path>,
    out: &mut impl Write,
) -> io::Result<()> {
    for finding in &imported.findings {
        writeln!(out, "{finding}")?;
    }
    let names: Vec<&str> = imported
        .variables
        .iter()
        .map(|variable| variable.name.as_str())
        .collect();
    if !names.is_empty() {
        writeln!(
            out,
            "variables that the new file names: {}",
            names.join(", ")
        )?;
    }
    let file = path.map_or("FILE".into(), Path::to_string_lossy);
    let count = attention(imported);
    let things = if count == 1 {
        "thing needs"
    } else {
        "things need"
    };
    writeln!(
        out,
        "{count} {things} attention; then: grapevine check -c {file}"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: ImportArgs,
    }

    /// What `grapevine import ARGS` prints to standard output, and its exit code.
    fn import(args: &[&str]) -> (String, ExitCode) {
        let all = ["import", "litellm"].iter().chain(args);
        let Alone { args } = Alone::parse_from(all);
        let mut out = Vec::new();
        let code = run(&args, &mut out).expect("a buffer takes all");
        (String::from_utf8(out).expect("the output is text"), code)
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("grapevine-import-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    #[test]
    fn new_file_is_written_once_and_exit_codes_show_what_is_left() {
        let folder = folder("codes");
        let path = |name: &str| folder.join(name).display().to_string();
        let (good, bad, new) = (path("good.yaml"), path("bad.yaml"), path("new.yaml"));
        let model = "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n";
        std::fs::write(&good, model).expect("a file can be written");
        let cached = format!("{model}litellm_settings: {{cache: true}}\n");
        std::fs::write(&bad, cached).expect("a file can be written");
        let is = |code: ExitCode, number: u8| {
            format!("{code:?}") == format!("{:?}", ExitCode::from(number))
        };
        let (text, code) = import(&[&good]);
        assert!(is(code, 0) && text.contains("api.openai.com"), "{text}");
        let (text, code) = import(&[&bad, "-o", &new]);
        assert!(is(code, 3) && text.is_empty());
        let (_, code) = import(&[&good, "-o", &new]);
        assert!(is(code, 1), "overwritten without --force");
        let (text, code) = import(&[&good, "-o", &new, "--force", "--json"]);
        assert!(is(code, 0));
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&report["ok"], &report["config"]),
            (&json!(true), &json!(null))
        );
        assert_eq!(report["variables"][0]["name"], "OPENAI_API_KEY");
        let (_, code) = import(&[&path("nowhere.yaml")]);
        assert!(is(code, 1));
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
}
