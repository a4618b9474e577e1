//! Which requests are forwarded.

use super::*;

fn permit(method: &str, path: &str) -> Result<PathScope, NotForwarded> {
    Forwarding::default().permit(method, path, None)
}

fn added(paths: &[(&str, &[&str])]) -> Forwarding {
    let extra = paths.iter().map(|(path, methods)| {
        let methods = Methods::of(methods.iter().copied()).expect("known methods");
        ExtraPath::new(path, methods).expect("a good path")
    });
    Forwarding::new(extra.collect())
}

#[test]
fn inference_paths_take_their_own_methods_alone() {
    for path in INFERENCE {
        assert_eq!(permit("POST", path), Ok(PathScope::Inference), "{path}");
        for method in ["GET", "HEAD", "PUT", "DELETE", "post", "TRACE", "inside/1"] {
            assert_eq!(
                permit(method, path),
                Err(NotForwarded::Method(Methods::POST)),
                "{path}"
            );
        }
    }
}

#[test]
fn what_an_upstream_keeps_is_read_continued_and_deleted_and_never_listed() {
    for (method, path) in [
        ("POST", "/v1/conversations"),
        ("GET", "/v1/conversations/conv_1"),
        ("POST", "/v1/conversations/conv_1"),
        ("DELETE", "/v1/conversations/conv_1"),
        ("GET", "/v1/conversations/conv_1/items"),
        ("POST", "/v1/conversations/conv_1/items"),
        ("DELETE", "/v1/conversations/conv_1/items/msg_1"),
        ("GET", "/v1/containers/cntr_1"),
        ("GET", "/v1/containers/cntr_1/files"),
        ("GET", "/v1/containers/cntr_1/files/cfile_1/content"),
        ("POST", "/v1/files"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/batches/batch_1/cancel"),
    ] {
        assert_eq!(permit(method, path), Ok(PathScope::Inference), "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/containers"),
        ("POST", "/v1/containers"),
        ("GET", "/v1/conversations/conv_1/items/a.b"),
        ("GET", "/v1/conversations/conv_1/items/msg_1/x"),
        ("GET", "/v1/containers/cntr_1/files/cfile_1/other"),
        ("GET", "/v1/files/a b"),
        ("GET", "/v1/files/file-1/content/x"),
        ("GET", "/v1/files//content"),
    ] {
        assert!(permit(method, path).is_err(), "{path}");
    }
    for path in ["/v1/files", "/v1/batches", "/v1/conversations"] {
        let post = Err(NotForwarded::Method(Methods::POST));
        assert_eq!(permit("GET", path), post, "{path} is not listed");
    }
}

#[test]
fn response_is_fetched_cancelled_and_deleted_by_its_id() {
    for (method, path) in [
        ("GET", "/v1/responses/resp_68a-b"),
        ("HEAD", "/v1/responses/resp_68a"),
        ("DELETE", "/v1/responses/resp_68a"),
        ("POST", "/v1/responses/resp_68a/cancel"),
        ("GET", "/v1/responses/resp_68a/input_items"),
    ] {
        assert_eq!(permit(method, path), Ok(PathScope::Inference), "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/responses/"),
        ("GET", "/v1/responses/resp_68a/"),
        ("GET", "/v1/responses/resp_68a/other"),
        ("GET", "/v1/responses/a.b"),
        ("GET", "/v1/responses/a%20b"),
    ] {
        assert_eq!(
            permit(method, path),
            Err(NotForwarded::UnknownPath),
            "{path}"
        );
    }
    let methods = Err(NotForwarded::Method(Methods::POST));
    assert_eq!(
        permit("GET", "/v1/responses"),
        methods,
        "no list of everybody's"
    );
}

#[test]
fn everything_else_is_unknown() {
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/organization/users",
        "/v1/vector_stores/x",
        "/v1/fine_tuning/jobs",
        "/v1/assistants",
        "/v1/realtime",
        "/v1/engines/gpt-4o/completions",
        "/v1/chat/completions/",
        "/v1/chat/Completions",
        "/V1/chat/completions",
        "/v1/models",
        "/v1/vector_stores/vs_1/files",
        "/admin/x",
        "/openai/deployments/x/chat/completions",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(
                permit(method, path),
                Err(NotForwarded::UnknownPath),
                "{path}"
            );
        }
    }
}

#[test]
fn path_in_another_form_is_refused() {
    for path in [
        "",
        "*",
        "v1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/../admin",
        "/v1/./chat/completions",
        "/v1/chat/completions/..",
        "/v1/chat/%2e%2e/admin",
        "/v1/chat/.%2E/admin",
        "/v1/chat%2fcompletions",
        "/v1/chat%5Ccompletions",
        "/v1/chat\\completions",
        "/v1/chat%252fcompletions",
        "/v1/chat/completions;x",
        "/v1/..;/admin",
        "/v1/chat/completions%3bx",
        "/v1/chat/completions%00",
        "/v1/chat/completions%0d%0a",
        "/v1/chat/completions%3f",
        "/v1/chat/completions%23",
        "/v1/%63hat/completions",
        "/v1/chat/%c0%ae%c0%ae/admin",
        "/v1/chat/%e0%80%af",
        "/v1/chat/%ff",
        "/v1/chat/%",
        "/v1/chat/%4",
        "/v1/chat/%+1",
        "/v1/chat/%zz",
        "/v1/chat /completions",
        "/v1/chat\t/completions",
        "/v1/chat\u{e9}",
        "/v1/chat\0",
    ] {
        let refused = added(&[("/v1/*", METHODS.as_slice())]).permit("POST", path, None);
        assert!(
            matches!(refused, Err(NotForwarded::NotPlain(_))),
            "{path:?}: {refused:?}"
        );
    }
    let long = format!("/v1/{}", "a".repeat(2_048));
    assert!(check_form(&long, None).is_err());
    assert_eq!(check_form("/v1/a..b/.c/%C3%A9%20x/@me:1/", None), Ok(()));
}

#[test]
fn query_names_no_model_and_no_method() {
    let query = |query| Forwarding::default().permit("POST", INFERENCE[0], Some(query));
    for refused in [
        "model=gpt-4o",
        "a=b&Model=x",
        "a=b;model=x",
        "%6dodel=x",
        "model[]=x",
        "model%5B%5D=x",
        "+model=x",
        "model%00=x",
        "model",
        "deployment_id=x",
        "_method=DELETE",
    ] {
        assert!(
            matches!(query(refused), Err(NotForwarded::Query(_))),
            "{refused}"
        );
    }
    assert!(matches!(query("%zz=1"), Err(NotForwarded::NotPlain(_))));
    for good in [
        "",
        "api-version=2024-10-21",
        "models=x",
        "include[]=a&stream=true",
        "a=model",
    ] {
        assert_eq!(query(good), Ok(PathScope::Inference), "{good}");
    }
}

#[test]
fn operator_adds_paths_and_methods() {
    let forwarding = added(&[
        ("/v1/vector_stores/*", &["GET"]),
        ("/v1/organization/usage", &["GET", "POST"]),
        ("/v1/chat/completions", &["GET"]),
    ]);
    let permit = |method, path| forwarding.permit(method, path, None);
    assert_eq!(
        permit("GET", "/v1/vector_stores/a/files"),
        Ok(PathScope::Extra)
    );
    assert_eq!(permit("HEAD", "/v1/vector_stores/a"), Ok(PathScope::Extra));
    assert_eq!(
        permit("POST", "/v1/organization/usage"),
        Ok(PathScope::Extra)
    );
    assert_eq!(permit("GET", "/v1/chat/completions"), Ok(PathScope::Extra));
    assert_eq!(
        permit("POST", "/v1/chat/completions"),
        Ok(PathScope::Inference)
    );
    for path in [
        "/v1/vector_stores",
        "/v1/vector_stores/",
        "/v1/vector_storesx/a",
        "/v1/organization/usage/x",
    ] {
        assert_eq!(
            permit("GET", path),
            Err(NotForwarded::UnknownPath),
            "{path}"
        );
    }
    let refused = permit("DELETE", "/v1/vector_stores/a").expect_err("not added");
    assert_eq!(refused.to_string(), "the path takes GET, HEAD only");
    let refused = permit("PUT", "/v1/chat/completions").expect_err("not added");
    assert_eq!(refused.to_string(), "the path takes GET, HEAD, POST only");
}

#[test]
fn paths_of_the_node_itself_are_never_forwarded() {
    let all = added(&[("/v1/*", METHODS.as_slice())]);
    for path in [
        "/v1/files/x/other",
        "/v1/workflows/x",
        "/v1/tasks",
        "/v1/models/m",
        "/v1/mesh/nearest",
    ] {
        assert_eq!(
            all.permit("GET", path, None),
            Err(NotForwarded::UnknownPath),
            "{path}"
        );
    }
    assert_eq!(
        all.permit("DELETE", "/v1/assistants/x", None),
        Ok(PathScope::Extra)
    );
    assert!(all.permit("CONNECT", "/v1/assistants/x", None).is_err());
}

#[test]
fn path_to_add_is_below_v1_plain_and_not_the_nodes_own() {
    let refusal = |text| ExtraPath::new(text, Methods::ALL).expect_err(text);
    for text in ["", "/", "*", "/v1", "/v1/", "/*", "/admin/*", "v1/x"] {
        assert!(
            matches!(
                refusal(text),
                ExtraPathError::NotBelowV1 | ExtraPathError::Star
            ),
            "{text}"
        );
    }
    for text in ["/v1/*/x", "/v1/x*", "/v1/**", "/v1/x/*/*"] {
        assert_eq!(refusal(text), ExtraPathError::Star, "{text}");
    }
    for text in ["/v1/../x", "/v1/a//b", "/v1/%2e", "/v1/a;b"] {
        assert!(
            matches!(refusal(text), ExtraPathError::NotPlain(_)),
            "{text}"
        );
    }
    for text in ["/v1/files", "/v1/files/*", "/v1/models/x"] {
        assert_eq!(refusal(text), ExtraPathError::Own, "{text}");
    }
    let shown = ExtraPath::new("/v1/x/*", Methods::ALL).expect("a good path");
    assert_eq!(shown.to_string(), "/v1/x/*");
    assert_eq!(Methods::of(["GET", "TRACE"]), None);
}

#[test]
fn what_an_added_path_answers_counts_for_nobody() {
    let ended = [
        Outcome::status(200),
        Outcome::status(401),
        Outcome::status(429),
        Outcome::status(500),
        Outcome::Reset,
        Outcome::BrokenOff,
        Outcome::TimedOut(Stage::FirstByte),
    ];
    for outcome in ended {
        assert_eq!(PathScope::Extra.counted(outcome), Outcome::Cancelled);
        assert_eq!(PathScope::Inference.counted(outcome), outcome);
    }
    for outcome in [
        Outcome::ConnectFailed,
        Outcome::TimedOut(Stage::Connect),
        Outcome::PeerLost,
        Outcome::PeerUnreached,
    ] {
        assert_eq!(PathScope::Extra.counted(outcome), outcome);
    }
}
