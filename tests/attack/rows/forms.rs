//! Attacks by bodies that two readers read differently: one finds the permitted model, the other another.

use grapevine_tests::client::http;

use super::Tally;
use super::requests::send_all;
use crate::world::{MODEL, World};

const EDGE: &str = "boundary=edge";
const END: &str = "--edge--\r\n";

/// A boundary of a form, and the form.
type Form = (&'static str, String);

/// Objects with two models.
pub(crate) async fn objects(world: &World) -> Tally {
    let client = http();
    let objects = [
        format!(r#"{{"model": "{MODEL}", "model": "other"}}"#),
        format!(r#"{{"model": "{MODEL}", "Model": "other"}}"#),
        format!(r#"{{"model": "{MODEL}", "mod\u0065l": "other"}}"#),
        format!(r#"{{"model": "{MODEL}"}} {{"model": "other"}}"#),
        format!("\u{feff}{{\"model\": \"{MODEL}\", \"model\": \"other\"}}"),
        format!(
            r#"{{"messages": {}, "model": "{MODEL}"}}"#,
            "[".repeat(20_000)
        ),
    ];
    let chats = objects.into_iter().map(|body| {
        let chat = client.post(world.url("/chat/completions"));
        chat.header("content-type", "application/json").body(body)
    });
    send_all(chats.collect()).await
}

/// Forms with two models.
pub(crate) async fn forms(world: &World) -> Tally {
    let mut tally = post_forms(world, two_models()).await;
    let one = part("content-disposition: form-data; name=\"model\"", MODEL) + END;
    let good = post_forms(world, vec![(EDGE, one)]).await;
    // The upstream has no such path, and answers that.
    let is_forwarded = good.ends.contains_key("404 unknown_url");
    tally.check(is_forwarded, format!("a good form: {:?}", good.ends));
    tally
}

async fn post_forms(world: &World, forms: Vec<Form>) -> Tally {
    let client = http();
    let transcriptions = forms.into_iter().map(|(boundary, form)| {
        let post = client.post(world.url("/audio/transcriptions"));
        let content_type = format!("multipart/form-data; {boundary}");
        post.header("content-type", content_type).body(form)
    });
    send_all(transcriptions.collect()).await
}

fn part(head: &str, value: &str) -> String {
    format!("--edge\r\n{head}\r\n\r\n{value}\r\n")
}

fn two_models() -> Vec<Form> {
    let named = |name: &str| format!("content-disposition: form-data; name={name}");
    let good = part(&named("\"model\""), MODEL);
    // Beside the good part, each is a part that only some readers take for the model.
    let beside = [
        named("\"model\""),
        named("model"),
        named("\"Model\""),
        named("\"model[]\""),
        named("\" model\""),
        named("\"mod\\el\""),
        named("\"m%6fdel\""),
        named("\"x\"; name=\"model\""),
        named("\"x\"; name*=utf-8''model"),
        named("\"x\"; filename=\"a;name=model\""),
        format!("{}\r\n{}", named("\"x\""), named("\"model\"")),
        format!("{}\r\ncontent-transfer-encoding: base64", named("\"x\"")),
        format!(
            "content-disposition: form-data;\r\n name=\"model\"\r\n{}",
            named("\"x\"")
        ),
    ];
    let mut forms: Vec<Form> = beside
        .iter()
        .map(|head| (EDGE, format!("{good}{}{END}", part(head, "other"))))
        .collect();
    let other = part(&named("\"model\""), "other");
    forms.extend([
        (EDGE, format!("{other}{good}{END}")),
        // Before the first boundary, behind the last, and with ends of lines that are none.
        (EDGE, format!("\r\n{good}{END}")),
        (EDGE, format!("{good}{END}{other}{END}")),
        (EDGE, format!("{}{good}{END}", other.replace("\r\n", "\n"))),
        ("boundary=edge; boundary=ridge", format!("{good}{END}")),
        (
            "boundary=edge; boundary*=utf-8''ridge",
            format!("{good}{END}"),
        ),
        ("boundary*0=ridge; boundary=edge", format!("{good}{END}")),
    ]);
    forms
}
