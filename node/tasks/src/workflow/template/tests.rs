mod hostile;

use serde_json::json;

use super::*;

fn trigger() -> Value {
    json!({"items": [1, {"a": null}], "name": "Ada", "big": "x".repeat(1_000)})
}

fn scope(trigger: &Value) -> TemplateScope<'_> {
    let draft = json!({"state": "completed", "output": {"text": "hi", "score": 0.75}});
    TemplateScope::new(
        trigger,
        BTreeMap::from([("draft".to_owned(), Arc::new(draft))]),
    )
}

fn fill(template: &Value) -> Result<Value, TemplateError> {
    Templates.fill(template, &scope(&trigger()))
}

#[test]
fn sole_expression_keeps_its_kind() {
    let template = json!({
        "list": "{{ trigger.items }}",
        "half": " {{- steps.draft.output.score -}} ",
        "text": "{{ steps.draft.output.text }}, {{ trigger.name }}!",
        "none": "{{ trigger.items[1].a }}",
        "plain": "{ not } a template",
        "brace": "{{ '{{' }}",
    });
    assert_eq!(
        fill(&template).expect("filled"),
        json!({
            "list": [1, {"a": null}],
            "half": 0.75,
            "text": "hi, Ada!",
            "none": null,
            "plain": "{ not } a template",
            "brace": "{{",
        })
    );
}

#[test]
fn markup_in_values_is_left_alone() {
    let templates = Templates;
    let trigger = json!({"text": "<b> {{ trigger.text }} & \"q\""});
    let scope = TemplateScope::new(&trigger, BTreeMap::new());
    let filled = templates.fill(&json!("say {{ trigger.text }}"), &scope);
    assert_eq!(
        filled.expect("filled"),
        json!("say <b> {{ trigger.text }} & \"q\"")
    );
}

#[test]
fn what_is_not_there_is_an_error_with_its_path() {
    let error = fill(&json!({"messages": [{"content": "{{ trigger.nobody.name }}"}]}));
    let error = error.expect_err("not there");
    assert_eq!(error.path, "messages[0].content");
    assert_eq!(error.detail, "refers to a value that does not exist");
    assert!(fill(&json!("{{ trigger.nobody }}")).is_err());
    let filled = fill(&json!("{{ trigger.nobody | default('no') }}"));
    assert_eq!(filled.expect("filled"), json!("no"));
}

#[test]
fn endless_work_and_endless_texts_are_broken_off() {
    let error = fill(&json!(
        "{% for a in range(9999) %}{% for b in range(9999) %}.{% endfor %}{% endfor %}"
    ));
    let error = error.expect_err("too long");
    assert!(error.detail.contains("takes too long"), "{error}");
    let many: Vec<Value> = vec![json!("{{ trigger.big * 1000 }}"); 20];
    let error = fill(&json!(many)).expect_err("too much");
    assert!(error.detail.contains("gives more than"), "{error}");
}

#[test]
fn references_are_known_before_a_run() {
    let templates = Reviewer::default();
    let found = templates.references(&json!({
        "a": "{{ steps.draft.output.text }} and {{ trigger.name }}",
        "b": ["{{ item }}"],
        "c": "{% set x = steps.other.output %}{{ x.y }}",
    }));
    let found = found.expect("readable");
    let names: BTreeSet<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert!(names.contains("steps.draft.output.text"));
    assert!(names.contains("trigger.name") && names.contains("item"));
    assert!(names.iter().any(|name| name.starts_with("steps.other")));
    let errors = templates.references(&json!({"x": "{{ a b }}", "y": "{% if %}"}));
    assert_eq!(errors.expect_err("unreadable").len(), 2);
}

#[test]
fn item_is_seen_beside_the_rest() {
    let (trigger, item) = (trigger(), json!({"id": 7}));
    let scope = scope(&trigger);
    let scope = scope.with_item(&item, 2);
    let filled = Templates.fill(
        &json!("{{ index }}: {{ item.id }} {{ trigger.name }}"),
        &scope,
    );
    assert_eq!(filled.expect("filled"), json!("2: 7 Ada"));
}

#[test]
fn conditions_hold_or_not() {
    let templates = Templates;
    let trigger = trigger();
    let holds = |text| templates.holds(text, &scope(&trigger));
    assert_eq!(holds("steps.draft.output.score > 0.5"), Ok(true));
    assert_eq!(
        holds("'hi' in steps.draft.output.text and trigger.items | length == 3"),
        Ok(false)
    );
    assert!(holds("nobody.x").is_err());
}
