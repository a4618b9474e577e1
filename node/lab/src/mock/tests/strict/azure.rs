//! Azure.

use http::Method;
use serde_json::{Value, json};

use super::anthropic::message;
use super::{ask, strict, with};
use crate::mock::{MockHandle, MockProvider, StrictConfig, answer_text};

const KEY: &[(&str, &str)] = &[("api-key", "right")];

async fn azure() -> MockHandle {
    let config = StrictConfig {
        azure_deployments: vec!["mine".to_owned()],
        ..StrictConfig::default()
    };
    strict(MockProvider::Azure, config).await
}

fn chat() -> Value {
    json!({"model": "mine", "messages": [{"role": "user", "content": "say hello"}]})
}

#[tokio::test]
async fn each_path_answers_for_a_deployment() {
    let mock = azure().await;
    let expected = answer_text("sgp", "say hello", 16);
    for path in [
        "/openai/v1/chat/completions",
        "/openai/deployments/mine/chat/completions?api-version=2024-10-21",
    ] {
        let answer = ask(&mock, Method::POST, path, KEY, &chat()).await.json();
        assert_eq!(
            answer["choices"][0]["message"]["content"],
            expected.as_str(),
            "{path}"
        );
        assert_eq!(
            answer["choices"][0]["content_filter_results"]["hate"]["filtered"],
            false
        );
        let stream = ask(
            &mock,
            Method::POST,
            path,
            KEY,
            &with(&chat(), "stream", json!(true)),
        )
        .await;
        assert_eq!(
            stream.events()[0]["choices"],
            json!([]),
            "the first chunk has no choice"
        );
        assert_eq!(stream.chat_text(), expected);
    }
    let response = ask(
        &mock,
        Method::POST,
        "/openai/v1/responses",
        KEY,
        &json!({"model": "mine", "input": "say hello"}),
    )
    .await;
    assert_eq!(
        response.json()["output"][0]["content"][0]["text"],
        expected.as_str()
    );
    let headers = [KEY[0], ("anthropic-version", "2023-06-01")];
    let body = with(&message(json!("say hello")), "model", json!("mine"));
    let answer = ask(
        &mock,
        Method::POST,
        "/anthropic/v1/messages",
        &headers,
        &body,
    )
    .await;
    assert_eq!(answer.json()["content"][0]["text"], expected.as_str());
    assert_eq!(
        ask(&mock, Method::GET, "/openai/v1/models", KEY, &Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_gateway_refuses_in_its_own_shape() {
    let mock = azure().await;
    let cases = [
        (
            "/openai/deployments/mine/chat/completions",
            "right",
            404,
            "404",
        ),
        (
            "/openai/deployments/other/chat/completions?api-version=2024-10-21",
            "right",
            404,
            "DeploymentNotFound",
        ),
        ("/openai/v1/chat/completions", "wrong", 401, "401"),
        ("/v1/chat/completions", "right", 404, "404"),
    ];
    for (path, key, status, code) in cases {
        let answer = ask(&mock, Method::POST, path, &[("api-key", key)], &chat()).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status, error["code"].as_str()),
            (status, Some(code)),
            "{path}"
        );
        assert!(error.get("type").is_none());
    }
    let other = with(&chat(), "model", json!("other"));
    let answer = ask(
        &mock,
        Method::POST,
        "/openai/v1/chat/completions",
        KEY,
        &other,
    )
    .await;
    assert_eq!(answer.json()["error"]["code"], "DeploymentNotFound");
    let unknown = with(&chat(), "foo", json!(1));
    let answer = ask(
        &mock,
        Method::POST,
        "/openai/v1/chat/completions",
        KEY,
        &unknown,
    )
    .await;
    assert_eq!(answer.json()["error"]["code"], "unknown_parameter");
}
