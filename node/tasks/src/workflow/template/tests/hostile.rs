//! Hostile templates: whatever they contain, memory and work stay bounded, and nothing ends the process.
//!
//! The memory is that of the whole process at its worst, so the templates are rendered in a process of their
//! own: this program again, started to run one test and under a limit that would end it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::super::{
    BODY_BYTES_MAX, MADE_BYTES_MAX, Reviewer, TemplateScope, Templates, filters, probe,
};

/// What rendering may add to the process at its worst: three times what values may have.
const GROWTH_MAX: usize = 3 * MADE_BYTES_MAX;

/// Set in the process that renders.
const INSIDE: &str = "GRAPEVINE_TEST_HOSTILE";

/// Texts that would make too much, or take too long, each alone.
const ENDLESS: [&str; 36] = [
    "{{ 'x'|indent(1000000000000) }}",
    "{{ '%1000000000000d'|format(1) }}",
    "{{ 'x' * 1000000000000 }}",
    "{{ 1000000000000 * 'x' }}",
    "{{ trigger.big * trigger.much }}",
    "{{ [1] * 1000000000000 }}",
    "{{ [trigger.big] * trigger.much }}",
    "{{ range(1000000000000) }}",
    "{{ range(0, trigger.much) }}",
    "{{ range(10000) * 10000 }}",
    "{{ 2 ** 1000000000000 }}",
    "{{ trigger.big|indent(trigger.much) }}",
    "{{ trigger.lines|indent(1000, true, true) }}",
    "{{ trigger.big|replace('x', trigger.big)|replace('x', trigger.big) }}",
    "{{ trigger.big|replace('', trigger.big) }}",
    "{{ trigger.big|list|join(trigger.big) }}",
    "{{ range(10000)|join(trigger.big) }}",
    "{{ trigger.big|list|map('indent', 1000, true)|join|list|sort }}",
    "{{ trigger.big|list|batch(10000, trigger.big)|list|tojson * 1000 }}",
    "{{ [1]|batch(1000000000000, 'x') }}",
    "{{ range(5000)|map('string')|unique|list }}",
    "{{ trigger.many|tojson|tojson|tojson|tojson|tojson|tojson|tojson * 100 }}",
    "{{ trigger.many|sort|reverse|sort(reverse=true)|list * 1000 }}",
    "{{ trigger.big|round(1000000000000) }}",
    "{% for i in range(3000) %}{{ trigger.big }}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}.{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% set a = trigger.big ~ trigger.big %}{% endfor %}",
    "{% for i in range(9999) %}{% if trigger.many == trigger.many %}{% endif %}{% endfor %}",
    "{% for i in range(9999) %}{% if 'y' in trigger.big %}{% endif %}{% endfor %}",
    "{% for i in range(9999) %}{{ trigger.big|length }}{{ trigger.many|length }}{% endfor %}",
    "{% for a in trigger.big|list recursive %}{{ loop(trigger.big|list) }}{% endfor %}",
    "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{% filter indent(1000000000000) %}x{% endfilter %}",
    "{% set ns = namespace(a='x') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    "{% include 'x' %}",
    "{% autoescape true %}{{ trigger.big }}{% endautoescape %}",
];

/// Texts made of so many parts that what reads them would call itself too often.
fn deep() -> Vec<String> {
    let times = |part: &str, count: usize| part.repeat(count);
    vec![
        format!("{{{{ {}1 }}}}", times("1 + ", 50_000)),
        format!("{{{{ {}1 }}}}", times("not ", 50_000)),
        format!("{{{{ {}1 }}}}", times("-", 50_000)),
        format!("{{{{ {}1{} }}}}", times("(", 50_000), times(")", 50_000)),
        format!("{{{{ {}1{} }}}}", times("[", 50_000), times("]", 50_000)),
        format!("{{{{ trigger{} }}}}", times(".a", 50_000)),
        format!("{{{{ trigger{} }}}}", times("|first", 50_000)),
        format!("{{{{ 1{} }}}}", times(" if 1 else 1", 20_000)),
        format!("{{{{ [{}1] }}}}", times("1,", 100_000)),
        format!("{{{{ 1{} }}}}", times(" is number", 20_000)),
        format!("{{% if 1 %}}{}{{% endif %}}", times("{% elif 1 %}", 20_000)),
        times("{% for a in [1] %}", 20_000),
        times("{% if 1 %}", 20_000) + &times("{% endif %}", 20_000),
        times("{{ 1 }}", 50_000),
        // As deep as is let through.
        format!("{{{{ {}1{} }}}}", times("(", 24), times(")", 24)),
        format!("{{{{ {}1 }}}}", times("not ", 500)),
        format!("{{% if 1 %}}{}{{% endif %}}", times("{% elif 1 %}", 120)),
        times("{% if 1 %}", 62) + &times("{% endif %}", 62),
        format!(
            "{{% set x = [1] %}}{}{{{{ x }}}}",
            times("{% set x = [x, x] %}", 120)
        ),
        format!(
            "{{% set x = trigger.big %}}{}{{{{ x }}}}",
            times("{% set x = x ~ x %}", 100)
        ),
        format!(
            "{{% set x = trigger.big %}}{}{{{{ x }}}}",
            times("{% set x %}{{ x }}{{ x }}{% endset %}", 60)
        ),
        format!(
            "{{% set x = trigger.many %}}{}{{{{ x|length }}}}",
            times("{% set x = x + x %}", 100)
        ),
    ]
}

fn trigger() -> Value {
    json!({
        "big": "x".repeat(100_000),
        "lines": "\n".repeat(50_000),
        "many": (0..20_000).collect::<Vec<u32>>(),
        "much": 1_000_000_000_000_u64,
    })
}

/// The most memory that this process has had at its worst, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kibibytes = kibibytes.and_then(|number| number.trim().parse::<usize>().ok());
    kibibytes.expect("a peak in /proc/self/status") * 1_024
}

/// Runs `test`, a test of this file, in a process of its own that may not have two GiB.
fn alone(test: &str) {
    let program = std::env::current_exe().expect("this program");
    let script = "ulimit -v 2097152; exec \"$0\" \"$@\"";
    let (_, module) = module_path!()
        .split_once("::")
        .expect("below the crate's root");
    let name = format!("{module}::{test}");
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program).env(INSIDE, "1");
    let output = command.args(["--exact", &name, "--nocapture"]).output();
    let output = output.expect("a process");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "{printed}");
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn what_hostile_texts_take_is_bounded() {
    if !is_inside() {
        return alone("what_hostile_texts_take_is_bounded");
    }
    let trigger = trigger();
    let step = Arc::new(json!({"output": trigger, "state": "completed"}));
    let scope = TemplateScope::new(&trigger, BTreeMap::from([("one".to_owned(), step)]));
    let before = peak();
    let endless = ENDLESS.map(str::to_owned);
    for text in endless.into_iter().chain(deep()) {
        let shown: String = text.chars().take(120).collect();
        let filled = Templates.fill(&json!({"a": [text, text]}), &scope);
        let length = filled.map(|it| it.to_string().len()).unwrap_or_default();
        assert!(length <= 2 * BODY_BYTES_MAX, "{shown} gave {length}");
        let inner = text.trim_start_matches("{{").trim_end_matches("}}");
        let _ = Templates.value(inner, &scope);
        let _ = Templates.holds(inner, &scope);
        let _ = Reviewer::default().references(&json!(text));
        let growth = peak() - before;
        assert!(growth <= GROWTH_MAX, "{shown} took {growth} bytes");
    }
}

#[test]
fn endless_texts_are_errors_and_not_cut() {
    let trigger = trigger();
    let scope = TemplateScope::new(&trigger, BTreeMap::new());
    for text in ENDLESS {
        let filled = Templates.fill(&json!(text), &scope);
        assert!(filled.is_err(), "{text}");
    }
}

/// Parts that texts are made of: names, constants, filters with sizes, loops.
fn part() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "trigger.text",
        "trigger.list",
        "trigger.number",
        "'x'",
        "1000000000000",
        "3",
        "2.5",
        "none",
        "x",
        "[1, 'a']",
        "{'a': 1}",
        "range(9)",
        "range(10000)",
        "loop.index",
        "item",
        "steps",
        "'\\n'",
    ])
    .prop_map(str::to_owned);
    let operator = prop::sample::select(vec![
        "~", "+", "*", "-", "/", "//", "%", "**", "==", "<", "in", "and", "or", ".", "if", "is",
    ]);
    let mut filters = filters::FILTERS.to_vec();
    filters.extend(["format", "slice", "groupby", "pprint"]);
    let filter = prop::sample::select(filters);
    let expression = atom.prop_recursive(5, 24, 3, move |inner| {
        prop_oneof![
            (inner.clone(), operator.clone(), inner.clone())
                .prop_map(|(left, op, right)| format!("({left} {op} {right})")),
            (inner.clone(), filter.clone()).prop_map(|(value, filter)| format!("{value}|{filter}")),
            (inner.clone(), filter.clone(), inner.clone())
                .prop_map(|(value, filter, with)| format!("({value})|{filter}({with})")),
            (inner.clone(), filter.clone(), inner.clone(), inner.clone())
                .prop_map(|(value, filter, a, b)| format!("({value})|{filter}({a}, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(value, at)| format!("({value})[{at}]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(value, from, to)| format!("({value})[{from}:{to}:-1]")),
            (inner.clone(), inner).prop_map(|(one, two)| format!("[{one}, {two}]")),
        ]
    });
    prop_oneof![
        4 => expression.clone().prop_map(|it| format!("{{{{ {it} }}}}")),
        2 => expression.clone().prop_map(|it| format!("{{% set x = {it} %}}")),
        1 => expression.clone().prop_map(|it| format!("{{% for x in {it} %}}{{{{ x ~ x }}}}{{% endfor %}}")),
        1 => expression.prop_map(|it| format!("{{% if {it} %}}a{{% else %}}{{{{ x }}}}{{% endif %}}")),
        1 => "[ -~]{0,12}",
        1 => "(\\{\\{|%\\}|\\{%|\\}\\}|\\|| |x|1|'){0,8}",
    ]
}

#[test]
fn what_any_text_takes_is_bounded() {
    if !is_inside() {
        return alone("what_any_text_takes_is_bounded");
    }
    let before = peak();
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    });
    let texts = prop::collection::vec(part(), 1..8);
    let outcome = runner.run(&texts, |parts| {
        let text = parts.concat();
        prop_assert!(probe(&text) <= 2 * BODY_BYTES_MAX);
        let growth = peak() - before;
        prop_assert!(growth <= GROWTH_MAX, "{} bytes", growth);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn each_bound_names_the_number_and_what_to_write() {
    let trigger = trigger();
    let scope = TemplateScope::new(&trigger, BTreeMap::new());
    for (text, parts) in [
        (
            "{{ 'x'|indent(1000000000000) }}",
            ["width 1000000000000", "0 to 1000"],
        ),
        (
            "{{ range(1000000000000) }}",
            ["1000000000000 numbers", "at most 10000"],
        ),
        (
            "{{ 'x' * 1000000000000 }}",
            ["1000000000000 times", "8388608 bytes"],
        ),
        (
            "{{ '%9d'|format(1) }}",
            ["\"format\"", "not offered; there are abs"],
        ),
        ("{{ dict(a=1) }}", ["not offered", "range"]),
        (
            "{% filter upper %}x{% endfilter %}",
            ["statement", "for, if, set and with"],
        ),
    ] {
        let at_run = Templates.fill(&json!(text), &scope).expect_err(text).detail;
        let before = Reviewer::default()
            .references(&json!([text]))
            .expect_err(text);
        assert_eq!(before[0].path, "[0]");
        for part in parts {
            assert!(at_run.contains(part), "{text}: {at_run}");
            assert!(before[0].detail.contains(part), "{text}: {:?}", before[0]);
        }
    }
}

#[test]
fn size_that_is_written_down_is_refused_before_a_run_wherever_it_stands() {
    for text in [
        "{{ trigger.a|indent(1000000000000) }}",
        "{{ trigger.a|indent(width=1001) }}",
        "{% for a in range(10 ** 12) %}{% endfor %}",
        "{% set x = trigger.a %}{{ x|batch(1000000000000) }}",
        "{{ trigger.a|default('x' * 1000000000000) }}",
        "{{ trigger.a if trigger.b else [0] * 1000000000000 }}",
    ] {
        assert!(
            Reviewer::default().references(&json!(text)).is_err(),
            "{text}"
        );
    }
    let inner = "trigger.a|indent(1000000000000)";
    assert!(Reviewer::default().expression_references(inner).is_err());
}

#[test]
fn what_is_offered_gives_what_jinja_gives() {
    let trigger = json!({"list": [3, 1, 2], "text": "a b,c", "people": [
        {"name": "Ada", "age": 36}, {"name": "Bob", "age": 20}], "map": {"b": 1, "a": [true, null, 1.5, "it's"]}});
    let scope = TemplateScope::new(&trigger, BTreeMap::new());
    for (text, wanted) in [
        ("{{ trigger.list|sort|join('-') }}", json!("1-2-3")),
        (
            "{{ trigger.list|map('string')|list }}",
            json!(["3", "1", "2"]),
        ),
        (
            "{{ trigger.people|map(attribute='name')|join(', ') }}",
            json!("Ada, Bob"),
        ),
        (
            "{{ trigger.people|selectattr('age', 'gt', 30)|first }}",
            json!({"name": "Ada", "age": 36}),
        ),
        (
            "{{ trigger.people|sort(attribute='age')|map(attribute='name')|list }}",
            json!(["Bob", "Ada"]),
        ),
        ("{{ trigger.people|sum('age') / 2 }}", json!(28.0)),
        ("{{ trigger.text|split(',') }}", json!(["a b", "c"])),
        (
            "{{ trigger.text|upper|replace('A', 'xx') }}",
            json!("xx B,C"),
        ),
        ("{{ trigger.text[1:3] }}", json!(" b")),
        ("{{ trigger.list[::-1] }}", json!([2, 1, 3])),
        ("{{ trigger.list[-1] + 7 // 2 - 2 ** 3 % 5 }}", json!(2)),
        ("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}", json!("-4 2 3.5")),
        (
            "{{ trigger.map }}|",
            json!("{'a': [True, None, 1.5, \"it's\"], 'b': 1}|"),
        ),
        (
            "{{ trigger.map|tojson }}|",
            json!("{\"a\":[true,null,1.5,\"it's\"],\"b\":1}|"),
        ),
        (
            "{% for k, v in trigger.map|items %}{{ loop.index }}{{ k }}{{ v is number }} {% endfor %}",
            json!("1aFalse 2bTrue "),
        ),
        (
            "{% for x in [] %}a{% else %}none{% endfor %}",
            json!("none"),
        ),
        (
            "{% for x in trigger.list if x > 1 %}{{ x }}{{ '' if loop.last else ',' }}{% endfor %}",
            json!("3,2"),
        ),
        (
            "{% with a = 1, b = a + 1 %}{{ a ~ b }}{% endwith %}",
            json!("12"),
        ),
        (
            "{% set t %}<{{ trigger.text }}>{% endset %}{{ t }}",
            json!("<a b,c>"),
        ),
        (
            "{{ 'a' in trigger.map and not ('z' in trigger.map) }}",
            json!(true),
        ),
        ("{{ 1 < 2 <= 2 != 3 }}", json!(true)),
        ("{{ 'a\nb'|indent(2) }}", json!("a\n  b")),
        (
            "{{ [1, 2, 3, 4, 5]|batch(2)|list }}",
            json!([[1, 2], [3, 4], [5]]),
        ),
        ("{{ 2.4681|round(2) }}", json!(2.47)),
        ("{{ ('x' * 3) ~ [0] * 2 }}", json!("xxx[0, 0]")),
        ("{{ 'abc'|reverse|title }}", json!("Cba")),
        (
            "{{ {'k': trigger.list|length}|dictsort }}",
            json!([["k", 3]]),
        ),
    ] {
        let filled = Templates.fill(&json!(text), &scope);
        assert_eq!(filled.as_ref(), Ok(&wanted), "{text}");
    }
}
