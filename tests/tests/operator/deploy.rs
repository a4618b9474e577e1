//! What `deploy/` ships, by the tools that will read it: each is the real one, and a missing one fails the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use grapevine_tests::program::{grapevine, workspace};
use grapevine_tests::scratch::Scratch;

/// Overlays of `deploy/kubernetes`.
const OVERLAYS: [&str; 5] = [
    "regions/sgp",
    "regions/usa",
    "regions/eur",
    "split-three",
    "split-four",
];

/// How exposed systemd may think the unit to be, in tenths: 100 is a unit without any fence.
const EXPOSURE_MAX: &str = "30";

#[test]
fn the_dockerfile_is_clean() {
    quiet(tool("hadolint").arg(workspace().join("deploy/docker/Dockerfile")));
}

#[test]
fn the_shell_scripts_are_clean() {
    let scripts = [
        "deploy/compose/prepare",
        "deploy/systemd/install",
        "deploy/geo/refresh",
        "tests/run",
        "tests/deploy/machine/scp",
        "tests/deploy/machine/ssh",
        "tests/deploy/machine/sudo",
    ];
    quiet(tool("shellcheck").args(scripts.map(|script| workspace().join(script))));
}

#[test]
fn the_yaml_is_clean() {
    let rules = workspace().join("tests/deploy/yamllint.yaml");
    let lint = |path: &Path| quiet(tool("yamllint").arg("-s").arg("-c").arg(&rules).arg(path));
    lint(&workspace().join("deploy"));
    let scratch = Scratch::new("yamllint");
    let bad = scratch.path().join("bad.yaml");
    std::fs::write(&bad, "key: 1\nkey: 2\n").expect("a writable scratch directory");
    let done = output(tool("yamllint").arg("-c").arg(&rules).arg(&bad));
    assert!(!done.status.success(), "yamllint is blind");
}

#[test]
fn compose_reads_each_layout() {
    let prepared = script("prepared", &["jetstream"]);
    assert_eq!(lines(&prepared, "ok "), 3, "{prepared}");
}

#[test]
fn each_overlay_is_valid_for_kubernetes() {
    let scratch = Scratch::new("kustomize");
    for overlay in OVERLAYS {
        let folder = workspace().join("deploy/kubernetes/overlays").join(overlay);
        let rendered = run(tool("kubectl").arg("kustomize").arg(folder));
        assert!(rendered.contains("kind: StatefulSet"), "{rendered}");
        let file = scratch.path().join(overlay.replace('/', "-"));
        std::fs::write(&file, rendered).expect("a writable scratch directory");
        run(tool("kubernetes-validate").arg("--strict").arg(&file));
        let misspelt = std::fs::read_to_string(&file).expect("the file is there");
        std::fs::write(&file, misspelt.replace("serviceName:", "serviceNam:"))
            .expect("a writable scratch directory");
        let done = output(tool("kubernetes-validate").arg("--strict").arg(&file));
        assert!(!done.status.success(), "kubernetes-validate is blind");
    }
}

#[test]
fn the_selectors_of_each_overlay_mean_its_own_pods() {
    let printed = script("selected", &[]);
    assert_eq!(lines(&printed, "ok "), OVERLAYS.len(), "{printed}");
}

#[test]
fn every_configuration_passes_check() {
    let printed = script("configurations", &[]);
    let counted = |prefix| lines(&printed, prefix);
    assert_eq!(counted("ok vm/"), 3, "{printed}");
    // Three layouts with three, three and four nodes, for each of three queues.
    assert_eq!(counted("ok compose/"), 30, "{printed}");
    // A node of each StatefulSet: three regions, three kinds, two kinds.
    assert_eq!(counted("ok kubernetes/"), 8, "{printed}");
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_fenced() {
    let scratch = Scratch::new("systemd");
    let unit = workspace().join("deploy/systemd/grapevine.service");
    let text = std::fs::read_to_string(unit).expect("the unit is there");
    // The program is not installed here; everything else is as shipped.
    let program = grapevine().display().to_string();
    let file = scratch.path().join("grapevine.service");
    std::fs::write(&file, text.replace("/usr/local/bin/grapevine", &program))
        .expect("a writable scratch directory");
    // An unknown key is only a warning, so nothing at all may be printed.
    quiet(Command::new("systemd-analyze").arg("verify").arg(&file));
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", &threshold];
    run(Command::new("systemd-analyze").args(security).arg(&file));
}

#[test]
fn prometheus_accepts_its_configuration() {
    let file = workspace().join("deploy/prometheus/prometheus.yml");
    run(Command::new("promtool")
        .args(["check", "config", "--syntax-only"])
        .arg(file));
}

#[test]
fn nats_accepts_its_configurations_and_syncs_always() {
    let files = [
        "nats/single.conf",
        "nats/hub.conf",
        "nats/leaf.conf",
        "kubernetes/components/jetstream/nats.conf",
    ];
    let server = workspace().join("tests/.env/python/bin/nats-server");
    for file in files {
        let path = workspace().join("deploy").join(file);
        let text = std::fs::read_to_string(&path).expect("the configuration is there");
        assert!(text.contains("\n  sync_interval: always\n"), "{file}");
        let mut test = Command::new(&server);
        test.arg("-t").arg("-c").arg(&path);
        for name in ["NATS_NAME", "NATS_USER", "NATS_PASSWORD", "NATS_DOMAIN"] {
            test.env(name, "a-name");
        }
        for name in ["LEAF_USER", "LEAF_PASSWORD", "POD_NAME", "QUEUE_PASSWORD"] {
            test.env(name, "a-name");
        }
        for name in ["ROUTE_0", "ROUTE_1", "ROUTE_2"] {
            let host = name.to_lowercase().replace('_', "-");
            test.env(name, format!("nats://route:a-name@{host}.invalid:6222"));
        }
        test.env("HUB_URL", "nats-leaf://leaf:a-name@hub.invalid:7422");
        run(&mut test);
    }
}

#[test]
fn the_commands_of_every_guide_are_clean() {
    let guides = [
        "vm/README.md",
        "compose/README.md",
        "kubernetes/README.md",
        "runbooks/rolling-upgrade.md",
        "runbooks/backup.md",
        "runbooks/certificates.md",
        "runbooks/regions.md",
    ];
    let guides = guides.map(|guide| workspace().join("deploy").join(guide));
    quiet(runbooks().arg("--check").args(guides));
}

#[test]
fn the_runbook_of_rolling_upgrades_runs() {
    run_after_installing("rolling-upgrade");
}

#[test]
fn the_runbook_of_backups_runs() {
    run_after_installing("backup");
}

#[test]
fn the_runbook_of_certificates_runs() {
    run_after_installing("certificates");
}

#[test]
fn the_runbook_of_regions_runs() {
    run_after_installing("regions");
}

#[test]
fn the_commands_of_the_readme_and_the_guide_run() {
    let mut guide = Command::new(workspace().join("tests/deploy/guide"));
    let printed = run(guide.env("GRAPEVINE_BIN", grapevine()));
    // The batch of the Python example: all three lines.
    assert!(printed.contains("completed 3"), "{printed}");
}

#[test]
fn a_command_of_a_runbook_that_fails_is_noticed() {
    let scratch = Scratch::new("runbook");
    let file = scratch.path().join("bad.md");
    std::fs::write(&file, "```sh\ngrapevine tasks lost\n```\n")
        .expect("a writable scratch directory");
    let done = output(runbooks().arg(&file));
    assert!(!done.status.success(), "the runner is blind");
    assert!(
        text(&done).contains("grapevine tasks lost"),
        "{}",
        text(&done)
    );
}

/// Runs a runbook on machines that the guide for virtual machines has installed.
fn run_after_installing(name: &str) {
    let deploy = workspace().join("deploy");
    let (guide, runbook) = (
        deploy.join("vm/README.md"),
        deploy.join("runbooks").join(name).with_extension("md"),
    );
    run(runbooks().arg("--after").arg(guide).arg(runbook));
}

fn runbooks() -> Command {
    let mut command = Command::new(workspace().join("tests/deploy/runbooks"));
    command.env("GRAPEVINE_BIN", grapevine());
    command
}

/// What one of the scripts of `tests/deploy` prints.
fn script(name: &str, arguments: &[&str]) -> String {
    let file = workspace().join("tests/deploy").join(name);
    let mut python = tool("python");
    python.env("GRAPEVINE_BIN", grapevine());
    // No compiled files beside the sources.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    run(python.arg(file.with_extension("py")).args(arguments))
}

/// A tool that `tests/run` has installed for these tests.
pub(crate) fn tool(name: &str) -> Command {
    let path: PathBuf = workspace().join("tests/.env/deploy/bin").join(name);
    assert!(
        path.exists(),
        "there is no {}: tests/run installs it",
        path.display()
    );
    Command::new(path)
}

/// Runs a command that must succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let done = output(command);
    assert!(done.status.success(), "{command:?}:\n{}", text(&done));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Runs a command that must succeed and print nothing.
pub(crate) fn quiet(command: &mut Command) {
    let done = output(command);
    assert!(
        done.status.success() && text(&done).trim().is_empty(),
        "{command:?}:\n{}",
        text(&done)
    );
}

pub(crate) fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()))
}

pub(crate) fn text(done: &Output) -> String {
    let both = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

pub(crate) fn lines(printed: &str, prefix: &str) -> usize {
    printed
        .lines()
        .filter(|line| line.starts_with(prefix))
        .count()
}
