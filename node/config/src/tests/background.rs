//! `tasks.batch_lines` and `tasks.webhooks`: what is accepted, what is refused with which message, what is shown.

use super::super::checked::TasksConfig;
use super::*;

const SECRET: &str = "whsec_cGxlYXNlLXdyaXRlLXlvdXItb3duLXNlY3JldA==";

fn webhooks(rest: &str) -> String {
    format!("tasks: {{webhooks: {{{rest}}}}}\n")
}

#[test]
fn batch_lines_and_webhooks_are_taken_as_written() {
    let config = good(&format!(
        "tasks: {{batch_lines: 3, webhooks: {{secret: {SECRET}, hosts: [a.example, '*.b.example', '10.0.0.0/8:8080']}}}}\n"
    ));
    assert_eq!(config.tasks.batch_lines, 3);
    let webhooks = config.tasks.webhooks.expect("webhooks");
    let hosts: Vec<&str> = webhooks.hosts.written().collect();
    assert_eq!(hosts, ["a.example", "*.b.example", "10.0.0.0/8:8080"]);
    assert_eq!(webhooks.key.expose(), b"please-write-your-own-secret");
}

#[test]
fn by_default_lines_are_sixteen_and_there_are_no_webhooks() {
    let tasks = good("").tasks;
    assert_eq!((tasks.batch_lines, tasks.webhooks), (16, None));
}

#[test]
fn batch_lines_have_a_range() {
    for (lines, is_good) in [(0, false), (1, true), (1_024, true), (1_025, false)] {
        let yaml = format!("tasks: {{batch_lines: {lines}}}\n");
        if is_good {
            assert_eq!(good(&yaml).tasks.batch_lines, lines);
            continue;
        }
        assert_eq!(
            problems(&yaml),
            [format!(
                "1:22: tasks.batch_lines: {lines} must be from 1 to 1024; write a number in that range"
            )]
        );
    }
}

#[test]
fn concurrency_is_one_number_or_one_for_each_service() {
    let of = |tasks: &TasksConfig, text: &str| tasks.concurrency.of(&text.parse().expect("a key"));
    let tasks = good("tasks: {concurrency: 3}\n").tasks;
    assert_eq!(of(&tasks, "a:x"), Some(3));
    let each = "tasks: {concurrency: {default: 4, 'workflow:process': 16, plain: 1}}\n";
    let config = good(each);
    let found = ["workflow:process", "plain", "a:x"].map(|key| of(&config.tasks, key));
    assert_eq!(found, [Some(16), Some(1), Some(4)]);
    assert_eq!(
        config.dump()["tasks"]["concurrency"],
        serde_json::json!({"default": 4, "plain": 1, "workflow:process": 16})
    );
    let tasks = good("tasks: {concurrency: {'a:x': 2}}\n").tasks;
    assert_eq!((of(&tasks, "a:x"), of(&tasks, "b:y")), (Some(2), None));
    assert_eq!(of(&good("").tasks, "a:x"), None);
}

#[test]
fn wrong_concurrency_is_named_by_its_service() {
    let found =
        problems("tasks: {concurrency: {default: 0, 'a x': 3, 'b:y': many, 'c:z': 1025}}\n");
    let range = "must be from 1 to 1024; write a number in that range";
    assert_eq!(found.len(), 4, "{found:?}");
    for wanted in [
        format!("tasks.concurrency.default: 0 {range}"),
        format!("tasks.concurrency.c:z: 1025 {range}"),
        "tasks.concurrency.b:y: many is not a whole number; write digits, such as 8".to_owned(),
    ] {
        assert!(
            found.iter().any(|it| it.ends_with(&wanted)),
            "{wanted}: {found:?}"
        );
    }
    let odd = found.iter().find(|it| it.contains("tasks.concurrency.a x"));
    let odd = odd.expect("the odd key");
    assert!(
        odd.contains("\"a x\" is no service key")
            && odd.ends_with("write a key such as workflow:process, or default for all others"),
        "{odd}"
    );
    let found = problems("tasks: {concurrency: [3]}\n");
    assert!(
        found[0].contains("tasks.concurrency: must be a number, not a list"),
        "{found:?}"
    );
}

#[test]
fn numbers_of_background_work_come_from_variables_too() {
    let variables = [
        ("GRAPEVINE_TASKS_CONCURRENCY", "7"),
        ("GRAPEVINE_TASKS_BATCH_LINES", "9"),
    ];
    let sources = Sources {
        environment: variables.into_iter().collect(),
        ..Sources::default()
    };
    let loaded = load_text("", &sources).unwrap_or_else(|problems| panic!("{problems}"));
    let tasks = loaded.config.tasks;
    assert_eq!(tasks.concurrency.default, Some(7));
    assert_eq!(tasks.batch_lines, 9);
}

#[test]
fn webhooks_need_a_secret_and_hosts() {
    let remedy = "write whsec_ and at least 24 bytes in base64, as in `openssl rand -base64 32`";
    assert_eq!(
        problems(&webhooks("")),
        [
            "1:19: tasks.webhooks.hosts: is missing; write hosts: and its value",
            "1:19: tasks.webhooks.secret: is missing; write secret: and its value",
        ]
    );
    let found = problems(&webhooks(&format!("secret: {SECRET}, hosts: []")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with(
            "tasks.webhooks.hosts: must name from 1 to 64 hosts; name the hosts that webhooks may be sent to, or \"*\" for all"
        ),
        "{found:?}"
    );
    for (secret, why) in [
        ("short", "holds fewer than 24 bytes"),
        ("whsec_!", "is not base64 behind whsec_"),
    ] {
        let found = problems(&webhooks(&format!("secret: {secret}, hosts: [a]")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].ends_with(&format!("tasks.webhooks.secret: {why}; {remedy}")),
            "{found:?}"
        );
        assert!(!found[0].contains(&format!(": {secret}")), "{found:?}");
    }
}

#[test]
fn host_that_is_a_url_is_refused() {
    let found = problems(&webhooks(&format!(
        "secret: {SECRET}, hosts: [a.example, 'https://b.example/x', '*.']"
    )));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("tasks.webhooks.hosts[1]: \"https://b.example/x\" is not a host name"),
        "{found:?}"
    );
    assert!(found[1].contains("tasks.webhooks.hosts[2]"), "{found:?}");
}

#[test]
fn secret_of_webhooks_is_never_shown() {
    let shown = good(&webhooks(&format!("secret: {SECRET}, hosts: ['*']"))).dump();
    assert_eq!(
        shown["tasks"]["webhooks"]["hosts"],
        serde_json::json!(["*"])
    );
    let text = shown.to_string();
    assert!(!text.contains(SECRET) && !text.contains("please"), "{text}");
    let debugged = format!(
        "{:?}",
        good(&webhooks(&format!("secret: {SECRET}, hosts: ['*']")))
    );
    assert!(!debugged.contains("cGxlYXNl"), "{debugged}");
}

#[test]
fn services_and_quotas_are_taken_as_written() {
    let config = good(
        "tasks: {services: ['my-plugin:process', plain], quota: {waiting: 5, files: 6, file_bytes: 7MiB}}\n",
    );
    let tasks = &config.tasks;
    let services: Vec<&str> = tasks.services.iter().map(|key| key.as_str()).collect();
    assert_eq!(services, ["my-plugin:process", "plain"]);
    let quota = tasks.quota;
    assert_eq!(
        (quota.waiting, quota.files, quota.file_bytes),
        (5, 6, 7 << 20)
    );
    let dump = config.dump();
    assert_eq!(
        dump["tasks"]["quota"],
        serde_json::json!({"waiting": 5, "files": 6, "file_bytes": "7MiB"})
    );
    assert_eq!(
        dump["tasks"]["services"],
        serde_json::json!(["my-plugin:process", "plain"])
    );
    let quota = good("").tasks.quota;
    assert_eq!(quota, grapevine_core::quota::Quota::default());
}

#[test]
fn wrong_services_and_quotas_are_named() {
    let found = problems("tasks: {services: ['a b'], quota: {waiting: 0, file_bytes: 1KiB}}\n");
    for wanted in [
        "tasks.services[0]",
        "tasks.quota.waiting",
        "tasks.quota.file_bytes",
    ] {
        assert!(
            found.iter().any(|it| it.contains(wanted)),
            "{wanted}: {found:?}"
        );
    }
}
