//! Lines to copy: requests to try, and things to break.

use super::fleet::{Fleet, Member};

/// The lines, for the nodes of this fleet.
pub(super) fn lines(fleet: &Fleet) -> Vec<String> {
    let members = fleet.members();
    let Some(first) = members
        .iter()
        .find(|member| member.region.name == "usa")
        .or(members.first())
    else {
        return Vec::new();
    };
    let mut lines = ask(
        &first.base_url(),
        &members.iter().map(Member::base_url).collect::<Vec<_>>(),
    );
    lines.push(String::new());
    lines.push("Break something, and watch the table and the headers:".to_owned());
    for member in members {
        lines.push(format!(
            "  kill -9 {:<8}  # node {}; start it again: {} node -c {}",
            member.process.id(),
            member.region.name,
            fleet.program().display(),
            member.config.display()
        ));
    }
    let upstream = format!("http://{}/mock/knobs", first.addresses.upstream);
    for (knobs, meaning) in [
        (r#"{"down": true}"#, "its upstream dies"),
        (r#"{"latency": "900ms"}"#, "or becomes slow"),
        (r#"{"rate_limit": "always"}"#, "or answers 429"),
        (
            r#"{"down": false, "latency": "60ms", "rate_limit": "off"}"#,
            "and is healthy again",
        ),
    ] {
        lines.push(format!(
            "  curl -X PATCH {upstream} -d '{knobs}'  # {meaning}"
        ));
    }
    lines
}

fn ask(base_url: &str, base_urls: &[String]) -> Vec<String> {
    let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}"#;
    let mut lines = vec![
        "Ask any node:".to_owned(),
        format!("  curl -i {base_url}/chat/completions -H 'content-type: application/json' -d '{body}'"),
        "  python3 - <<'END'".to_owned(),
        "  from openai import OpenAI".to_owned(),
        format!("  client = OpenAI(base_url=\"{base_url}\", api_key=\"any\")"),
        "  stream = client.chat.completions.create(model=\"gpt-4o\", stream=True,".to_owned(),
        "      messages=[{\"role\": \"user\", \"content\": \"Hello\"}])".to_owned(),
        "  for event in stream: print(event.choices[0].delta.content or \"\", end=\"\", flush=True)".to_owned(),
        "  END".to_owned(),
    ];
    let others: Vec<&str> = base_urls
        .iter()
        .filter(|url| *url != base_url)
        .map(String::as_str)
        .collect();
    lines.push(format!("The others answer at {}", others.join(", ")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_ask_name_every_node() {
        let urls = ["http://a/v1".to_owned(), "http://b/v1".to_owned()];
        let text = ask(&urls[1], &urls).join("\n");
        assert!(
            text.contains("curl -i http://b/v1/chat/completions "),
            "{text}"
        );
        assert!(text.contains("base_url=\"http://b/v1\""), "{text}");
        assert!(text.ends_with("The others answer at http://a/v1"), "{text}");
    }
}
