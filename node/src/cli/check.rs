//! `grapevine check`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use grapevine_base::clock;
use grapevine_base::listener::descriptors;
use grapevine_config::checked::{IssuedKeysConfig, Provider};
use grapevine_config::{Config, ConfigProblem, Environment, Loaded, Problems};
use grapevine_core::mode::{Mode, ServedServices};
use grapevine_keys::issuer::IssuerPublicKey;
use grapevine_keys::statement::StatementSubject;
use grapevine_keys::statement_file;
use serde_json::json;

use super::node::NodeArgs;
use crate::app::{capacity, own_files, startable};

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object: ok, problems, warnings, config.
    #[arg(long)]
    json: bool,
    /// Print the whole configuration that would be in force, without its secrets.
    #[arg(long)]
    dump: bool,
}

/// Prints every problem, or `ok` with warnings and what would be in force.
pub(super) fn run(
    args: CheckArgs,
    environment: Environment,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    run_with(args, environment, descriptors::attainable(), out)
}

/// The same for a process with this descriptor limit.
fn run_with(
    args: CheckArgs,
    environment: Environment,
    descriptors: u64,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let checked = grapevine_config::load(&args.node.sources(environment));
    let checked = checked.and_then(|mut loaded| {
        let shortage = capacity::shortage(&loaded.config, descriptors);
        loaded.warnings.extend(shortage);
        startable::judge(loaded, clock::wall())
    });
    let code = if checked.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    match (args.json, checked) {
        (true, checked) => write_json(&checked, out)?,
        (false, Ok(loaded)) => write_good(&loaded, args.dump, out)?,
        (false, Err(problems)) => {
            writeln!(out, "{problems}")?;
            write_warnings(problems.warnings(), out)?;
            let count = problems.iter().count();
            writeln!(out, "{count} problem{}", if count == 1 { "" } else { "s" })?;
        }
    }
    Ok(code)
}

fn write_json(checked: &Result<Loaded, Problems>, out: &mut impl Write) -> io::Result<()> {
    let report = match checked {
        Ok(loaded) => {
            json!({"ok": true, "problems": [], "warnings": loaded.warnings, "config": loaded.config.dump()})
        }
        Err(problems) => {
            json!({"ok": false, "problems": problems.iter().collect::<Vec<_>>(), "warnings": problems.warnings()})
        }
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn write_good(loaded: &Loaded, dump: bool, out: &mut impl Write) -> io::Result<()> {
    let config = &loaded.config;
    writeln!(out, "ok")?;
    write_warnings(&loaded.warnings, out)?;
    if dump {
        write!(out, "{}", config.dump_yaml())
    } else {
        write_summary(config, out)
    }
}

fn write_warnings(warnings: &[ConfigProblem], out: &mut impl Write) -> io::Result<()> {
    warnings
        .iter()
        .try_for_each(|warning| writeln!(out, "warning: {warning}"))
}

/// What a mode means, in words.
fn words(mode: &Mode) -> String {
    let services = match mode.services() {
        ServedServices::All => "all services".to_owned(),
        ServedServices::Only(keys) if keys.is_empty() => "no services".to_owned(),
        ServedServices::Only(keys) => {
            let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
            keys.join(", ")
        }
    };
    let requests = match mode.serves_requests() {
        true => "requests",
        false => "no requests",
    };
    format!("{requests}, {services}")
}

fn write_summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    writeln!(
        out,
        "node      {} in {}",
        config.node.name, config.node.region
    )?;
    match config.worker_mode.serves_requests() {
        true => writeln!(out, "api       {scheme}://{}", config.listen)?,
        false => writeln!(out, "api       closed by worker_mode")?,
    }
    writeln!(out, "serves    {}", words(&config.worker_mode))?;
    writeln!(out, "admin     http://{}", config.admin.listen)?;
    match &config.mesh {
        Some(mesh) => {
            let seeds: Vec<_> = mesh.seeds.iter().map(ToString::to_string).collect();
            let seeds = if seeds.is_empty() {
                "none".to_owned()
            } else {
                seeds.join(", ")
            };
            writeln!(
                out,
                "mesh      {} on {}, seeds {seeds}",
                mesh.name, mesh.listen
            )?;
        }
        None => writeln!(out, "mesh      none")?,
    }
    for certificate in own_files::certificates(config) {
        let text = certificate.describe(clock::wall());
        writeln!(out, "cert      {text}")?;
    }
    if let Some(dns) = &config.dns {
        writeln!(out, "dns       {} on {}", dns.zone, dns.listen)?;
    }
    for upstream in &config.upstreams {
        let (provider, auth) = (upstream.provider.provider, upstream.auth.as_str());
        let how = match provider {
            Provider::OpenAi => String::new(),
            provider => format!(" ({}, {auth})", provider.as_str()),
        };
        writeln!(
            out,
            "upstream  {} at {}{how}",
            upstream.name, upstream.base_url
        )?;
    }
    writeln!(out, "keys      {}", config.keys.len())?;
    if let Some(issued) = &config.issued_keys {
        issued_keys(config, issued, out)?;
    }
    if let Some(oidc) = &config.oidc {
        let (issuer, rules) = (&oidc.rules.issuer, oidc.rules.clients.len());
        writeln!(out, "oidc      {issuer}, rules for clients: {rules}")?;
    }
    match &config.ledger {
        Some(ledger) => writeln!(out, "ledger    {}", ledger.file.display()),
        None => Ok(()),
    }
}

/// Who issues keys, and which keys of the file a statement overrides.
fn issued_keys(config: &Config, issued: &IssuedKeysConfig, out: &mut impl Write) -> io::Result<()> {
    let issuers = &issued.issuers;
    let keys = issuers.public_keys.iter();
    let ids: Vec<String> = keys.map(IssuerPublicKey::id).collect();
    let mesh = &issuers.mesh;
    writeln!(out, "issuers   {} for {mesh}", ids.join(", "))?;
    let kept = match statement_file::load(&issued.file, &issuers.public_keys) {
        Ok(kept) => kept.statements,
        Err(error) => return writeln!(out, "          {}: {error}", issued.file.display()),
    };
    for key in &config.keys {
        let subject = StatementSubject::Static(key.name.as_str().into());
        if kept.iter().any(|kept| kept.said.subject() == subject) {
            writeln!(
                out,
                "          a statement about {} holds, not this file",
                key.name
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    /// What `grapevine check ARGS` prints, and whether it is good.
    fn check(args: &[&str], variables: &[(&str, &str)]) -> (String, bool) {
        check_with(args, variables, 1 << 20)
    }

    /// The same for a process with this descriptor limit.
    fn check_with(args: &[&str], variables: &[(&str, &str)], descriptors: u64) -> (String, bool) {
        let args = ["grapevine", "check"].iter().chain(args);
        let Command::Check(args) = Cli::parse_from(args).command else {
            panic!("not check")
        };
        let mut out = Vec::new();
        let environment = variables.iter().copied().collect();
        let code = run_with(args, environment, descriptors, &mut out).expect("a buffer takes all");
        let is_good = format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS);
        (String::from_utf8(out).expect("the output is text"), is_good)
    }

    #[test]
    fn good_configuration_is_summed_up() {
        let args = [
            "--listen",
            "127.0.0.1:1",
            "--name",
            "a",
            "--region",
            "sgp",
            "--upstream",
            "u=http://h/v1",
        ];
        let (text, is_good) = check(&args, &[]);
        assert!(is_good);
        assert_eq!(
            text,
            "ok\n\
             node      a in sgp\n\
             api       http://127.0.0.1:1\n\
             serves    requests, all services\n\
             admin     http://127.0.0.1:9090\n\
             mesh      none\n\
             upstream  u at http://h/v1\n\
             keys      0\n"
        );
    }

    #[test]
    fn region_that_is_mistyped_is_warned_of_where_geography_is_used() {
        let variables = [("GRAPEVINE_STRATEGY", "geo")];
        let (text, is_good) = check(&["--region", "singapur"], &variables);
        assert!(is_good, "{text}");
        assert!(text.contains("did you mean sgp (Singapore)?"), "{text}");
    }

    #[test]
    fn upstream_given_twice_is_refused_with_both() {
        let upstreams = [
            "--upstream",
            "a=http://one/v1",
            "--upstream",
            "a=http://two/v1",
        ];
        let (text, is_good) = check(&upstreams, &[]);
        assert!(!is_good);
        assert_eq!(
            text.lines().next(),
            Some(
                "--upstream: upstreams: a is given twice, as http://one/v1 and as http://two/v1; \
                 give each upstream a name of its own"
            ),
            "{text}"
        );
        let secret = [
            "--upstream",
            "a=http://u:hunter2@h/v1",
            "--upstream",
            "a=http://h/v1",
        ];
        let (text, _) = check(&secret, &[]);
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn node_without_keys_is_for_its_own_machine_unless_it_is_open() {
        let (text, is_good) = check(&[], &[]);
        assert!(is_good, "{text}");
        assert!(text.contains("api       http://127.0.0.1:8080\n"), "{text}");
        assert!(
            text.contains("warning: listen: is 127.0.0.1:8080, which"),
            "{text}"
        );
        for (args, variables) in [
            (&["--open"][..], &[][..]),
            (&[], &[("GRAPEVINE_OPEN", "true")]),
        ] {
            let (text, is_good) = check(args, variables);
            assert!(is_good, "{text}");
            assert!(text.contains("api       http://0.0.0.0:8080\n"), "{text}");
            assert!(!text.contains("warning: listen"), "{text}");
        }
    }

    #[test]
    fn few_descriptors_are_a_warning_with_what_to_do() {
        let (text, is_good) = check_with(&[], &[], 256);
        assert!(is_good, "{text}");
        let warning = "warning: limits.connections: 16384 connections need ";
        assert!(text.contains(warning), "{text}");
        assert!(text.contains("the process may have 256: "), "{text}");
        assert!(text.contains("ulimit -Hn"), "{text}");
    }

    #[test]
    fn every_flag_reaches_its_key() {
        let args = [
            "--listen",
            "l",
            "--admin-listen",
            "l",
            "--name",
            "/",
            "--region",
            "/",
            "--upstream",
            "/=x",
            "--seed",
            "s",
            "--mesh-name",
            "/",
            "--mesh-listen",
            "l",
            "--advertise",
            "a",
            "--ca",
            "/no",
            "--cert",
            "/no",
            "--key",
            "/no",
            "--log",
            "loud",
            "--log-format",
            "f",
            "--worker-mode",
            "!,*",
        ];
        let (text, is_good) = check(&args, &[]);
        assert!(!is_good);
        for flag in args
            .iter()
            .filter(|arg| arg.starts_with("--") && **arg != "--key")
        {
            assert!(
                text.contains(&format!("{flag}: ")),
                "{flag} is not in\n{text}"
            );
        }
    }

    #[test]
    fn problems_come_with_warnings_and_a_count() {
        let variables = [("GRAPEVINE_LISTEN", "x"), ("GRAPEVINE_REGOIN", "sgp")];
        let (text, is_good) = check(&[], &variables);
        assert!(!is_good);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("GRAPEVINE_LISTEN: listen: x is not valid"),
            "{text}"
        );
        assert!(lines.contains(
            &"warning: GRAPEVINE_REGOIN: is not a known variable; did you mean GRAPEVINE_REGION?"
        ));
        assert_eq!(lines.last(), Some(&"1 problem"));
    }

    #[test]
    fn json_has_problems_by_key_and_the_redacted_configuration() {
        let (text, _) = check(&["--json"], &[("GRAPEVINE_ADMIN_TOKEN", "hunter2")]);
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&report["ok"], &report["config"]["admin"]["token"]),
            (&json!(true), &json!("***"))
        );
        let (text, _) = check(&["--json", "--listen", "x"], &[]);
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&report["ok"], &report["problems"][0]["key"]),
            (&json!(false), &json!("listen"))
        );
    }

    #[test]
    fn dump_has_no_secret() {
        let (text, is_good) = check(&["--dump"], &[("GRAPEVINE_ADMIN_TOKEN", "hunter2")]);
        assert!(
            is_good && text.contains("strategy: latency") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn file_is_named_by_flag_or_variable_alone() {
        let (text, is_good) = check(&[], &[("GRAPEVINE_CONFIG", "/nowhere.yaml")]);
        assert!(
            !is_good && text.starts_with("/nowhere.yaml: cannot be read"),
            "{text}"
        );
        let (text, _) = check(
            &["-c", "/flag.yaml"],
            &[("GRAPEVINE_CONFIG", "/nowhere.yaml")],
        );
        assert!(text.starts_with("/flag.yaml: cannot be read"), "{text}");
    }

    #[test]
    fn certificates_of_the_ca_command_are_good() {
        use grapevine_base::authority::{Authority, create};
        use grapevine_core::ids::MeshName;

        let folder = std::env::temp_dir().join(format!("grapevine-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let path = |name: &str| folder.join(name).display().to_string();
        let write = |name: &str, text: &str| {
            std::fs::write(path(name), text).expect("a file can be written")
        };
        let ca = create(&MeshName::new("production").expect("a good name")).expect("an authority");
        let authority = Authority::from_pem(&ca.certificate, &ca.key).expect("an authority");
        let name = "sgp-1".parse().expect("a good name");
        let issued = authority
            .issue(&name, &[], std::time::Duration::from_secs(60))
            .expect("a certificate");
        write("ca.pem", &ca.certificate);
        write("node.pem", &issued.certificate);
        write("node.key", &issued.key);
        let (ca, cert, key) = (path("ca.pem"), path("node.pem"), path("node.key"));
        let (text, is_good) = check(
            &[
                "--ca", &ca, "--cert", &cert, "--key", &key, "--seed", "jpn:7171",
            ],
            &[],
        );
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
        assert!(is_good, "{text}");
        assert!(
            text.contains("mesh      production on 0.0.0.0:7171, seeds jpn:7171"),
            "{text}"
        );
        assert!(text.contains("node      sgp-1 in local"), "{text}");
        assert!(text.contains("cert      mesh expires on "), "{text}");
        assert!(text.contains("cert      mesh_ca expires on "), "{text}");
        let warning = "warning: mesh.tls.cert: holds a certificate that expires on ";
        assert!(
            text.contains(warning)
                && text.contains("; renew it; a node reads the new file by itself"),
            "{text}"
        );
        assert!(!text.contains("warning: mesh.tls.ca"), "{text}");
    }
}
