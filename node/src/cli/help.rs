//! What stands below the help of the program and of each of its commands.

use grapevine_console::command_help;

pub(super) const NODE: &str = command_help!(
    [
        "grapevine node -c grapevine.yaml",
        "grapevine node --name sgp-1 --upstream openai=https://api.openai.com/v1"
    ],
    [
        "0  it was asked to end, and has",
        "1  it could not start, or a vital part of it ended"
    ]
);

pub(super) const DEMO: &str = command_help!(
    ["grapevine demo", "grapevine demo --once --seconds 20"],
    [
        "0  it was ended; with --once, no request was lost",
        "1  it could not start; with --once, a request was lost"
    ]
);

pub(super) const CHECK: &str = command_help!(
    [
        "grapevine check -c grapevine.yaml",
        "grapevine check -c grapevine.yaml --dump"
    ],
    [
        "0  the configuration is good, maybe with warnings",
        "1  it has problems"
    ]
);

pub(super) const STATUS: &str = command_help!(
    [
        "grapevine status --admin 10.0.0.1:9090",
        "grapevine status --check && echo well",
        "grapevine status --upstream sgp-1/openai   # all that is known of one",
        "watch grapevine status"
    ],
    [
        "0  the node answered; with --check, every node is reachable and every model served",
        "1  the node did not answer",
        "3  with --check: a node is unreachable",
        "4  with --check: no upstream of some model may be used, whether or not a node is unreachable"
    ]
);

pub(super) const LOG: &str = command_help!(
    ["grapevine log", "grapevine log info,grapevine_mesh=debug"],
    [
        "0  the level is printed, or set",
        "1  the node did not answer, or the level is none"
    ]
);

pub(super) const TOP: &str = command_help!(
    ["grapevine top --admin 10.0.0.1:9090"],
    [
        "0  somebody ended it",
        "1  there was nothing to show, or no terminal to show it on"
    ]
);

pub(super) const REQUESTS: &str = command_help!(
    [
        "grapevine requests --follow --status failed",
        "grapevine requests --key app --upstream sgp-1/openai -n 100"
    ],
    ["0  the node answered", "1  it did not"]
);

pub(super) const USAGE: &str = command_help!(
    [
        "grapevine usage --by key,model --since 7d",
        "grapevine usage --by day --node --csv"
    ],
    ["0  the node answered", "1  it did not"]
);

pub(super) const DRAIN: &str = command_help!(
    ["grapevine drain --admin 10.0.0.1:9090"],
    ["0  the node drains", "1  it did not answer"]
);

pub(super) const RELOAD: &str = command_help!(
    ["grapevine reload"],
    [
        "0  the new configuration is in use",
        "1  the node did not answer, or the new configuration has problems and the old one stays"
    ]
);

pub(super) const CONFIG: &str = command_help!(
    [
        "grapevine config --admin 10.0.0.1:9090",
        "grapevine config | diff - <(grapevine check -c grapevine.yaml --dump | tail -n +2)"
    ],
    ["0  the node answered", "1  it did not"]
);

pub(super) const EXPLAIN: &str = command_help!(
    [
        "grapevine explain --client 165.21.83.88 --model gpt-4o",
        "grapevine explain --client 165.21.83.88 --model gpt-4o --allow-regions eur"
    ],
    [
        "0  the node explained, whatever its plan",
        "1  it did not answer, or no node knows the model"
    ]
);

pub(super) const SCHEMA: &str = command_help!(
    ["grapevine schema > grapevine.schema.json"],
    ["0  the schema is printed"]
);

pub(super) const MOCK: &str = command_help!(
    ["grapevine mock --listen 127.0.0.1:8081 --name near"],
    ["0  it was ended", "1  it could not start"]
);

pub(super) const COMPLETIONS: &str = command_help!(
    ["grapevine completions bash > /etc/bash_completion.d/grapevine"],
    ["0  the completions are printed"]
);

pub(super) const MAN: &str = command_help!(
    [
        "grapevine man | man -l -",
        "grapevine man --out /usr/local/share/man/man1"
    ],
    ["0  the pages are written", "1  they are not"]
);

pub(super) const PROGRAM: &str = command_help!(
    [
        "grapevine demo",
        "grapevine node -c grapevine.yaml",
        "grapevine status"
    ],
    [
        "0  what was asked for was done",
        "1  it was not; the error is on standard error",
        "3  see status --check and import",
        "4  see status --check"
    ]
);

pub(super) const UPSTREAM: &str = command_help!(
    [
        "grapevine upstream disable openai",
        "grapevine upstream enable openai"
    ],
    [
        "0  it is out of use, or in use again",
        "1  the node did not answer, or has no such upstream"
    ]
);

pub(super) const TASKS: &str = command_help!(
    [
        "grapevine tasks list --state dead",
        "grapevine tasks requeue task_01hx"
    ],
    ["0  the node did what was asked", "1  it did not"]
);

pub(super) const INIT: &str = command_help!(
    [
        "grapevine init mesh   # asks for everything",
        "grapevine init mesh --for local --region sgp --region usa --provider openai",
        "grapevine init mesh --for systemd --region sgp=sgp.example.net --provider own=http://gpu-1:8000/v1 --key-from own=OWN_API_KEY"
    ],
    ["0  everything is written", "1  nothing is, and why"]
);

pub(super) const IMPORT: &str = command_help!(
    ["grapevine import litellm config.yaml -o grapevine.yaml"],
    [
        "0  everything was carried over",
        "1  nothing was written",
        "3  something was lost, has changed its meaning, or is left to do"
    ]
);

pub(super) const CA: &str = command_help!(
    [
        "grapevine ca init --out ca --mesh prod",
        "grapevine ca issue --ca ca --name sgp-1 --out certificates"
    ],
    ["0  the files are written", "1  they are not"]
);

pub(super) const KEY: &str = command_help!(
    [
        "grapevine key init --out issuer.key",
        "grapevine key issue --mesh prod --name app --expires 90d",
        "grapevine key list"
    ],
    ["0  what was asked for was done", "1  it was not"]
);
