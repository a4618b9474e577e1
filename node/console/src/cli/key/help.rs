//! What stands below the help of each `key` command.

pub(super) const HASH: &str = command_help!(
    ["printf %s \"$KEY\" | grapevine key hash"],
    ["0  the hash is printed", "1  there was no key to read"]
);

pub(super) const INIT: &str = command_help!(
    ["grapevine key init --out issuer.key"],
    ["0  the key is made", "1  it is not; nothing is overwritten"]
);

pub(super) const ISSUE: &str = command_help!(
    [
        "grapevine key issue --mesh prod --name app --expires 90d",
        "grapevine key issue --mesh prod --name ops --expires 30d --scope admin:operate"
    ],
    ["0  the token is printed", "1  it is not"]
);

pub(super) const SHOW: &str = command_help!(
    ["grapevine key show < token"],
    [
        "0  it is a token, and what it says is printed",
        "1  it is none"
    ]
);

pub(super) const REVOKE: &str = command_help!(
    ["grapevine key revoke gvk_5b0c1d6a --admin 10.0.0.1:9090"],
    ["0  the node has the statement", "1  it has not"]
);

pub(super) const PUT: &str = command_help!(
    [
        "grapevine key put --name app --hash sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad --models gpt-4o"
    ],
    ["0  the node has the statement", "1  it has not"]
);

pub(super) const REMOVE: &str = command_help!(
    ["grapevine key remove app"],
    ["0  the node has the statement", "1  it has not"]
);

pub(super) const LIST: &str = command_help!(
    ["grapevine key list", "grapevine key list --issued"],
    [
        "0  the list is printed",
        "1  the node did not answer, or the list of issued keys cannot be read"
    ]
);
