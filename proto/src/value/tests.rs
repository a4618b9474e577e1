use grapevine_core::health::FailureKind;
use proptest::prelude::*;

use std::net::IpAddr;
use std::time::Duration;

use grapevine_core::account::{AccountFact, AccountSpec, QuotaScope};
use grapevine_core::fact::{AnswerFigures, FurtherFigures, NodeFact, Phase, Public};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::{AccountName, RegionName};
use grapevine_core::reported::ReportedLoad;

use super::*;
use crate::value::figure::SPAN_MAX;

fn upstream(name: &str) -> UpstreamName {
    UpstreamName::new(name).expect("a valid name")
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

fn fact() -> UpstreamFact {
    UpstreamFact {
        name: upstream("primary"),
        models: BTreeMap::from([(model("gpt-4o"), millis(310)), (model("o3"), None)]),
        standing: Standing::Ready,
        ttft: millis(310),
        error_rate: Share::clamped(0.02),
        break_rate: Share::clamped(0.03),
        in_flight: 3,
        in_flight_max: 256,
        tier: Tier(2),
        weight: Weight::new(1.5).expect("a valid weight"),
        dialects: grapevine_core::dialect::DialectSet::ALL,
        websocket: false,
        models_out: BTreeMap::new(),
        further: FurtherFigures::default(),
        account: None,
    }
}

fn with_further() -> UpstreamFact {
    let figures = |whole, per_kib| AnswerFigures {
        whole,
        per_kib: Duration::from_millis(per_kib),
    };
    UpstreamFact {
        further: FurtherFigures {
            all: figures(millis(9_000), 40),
            models: BTreeMap::from([(model("o3"), figures(None, 90))]),
            asked_ago: Some(Duration::from_secs(7)),
            load: None,
        },
        ..fact()
    }
}

fn key() -> FactKey {
    FactKey::Upstream(upstream("primary"))
}

fn json_of(fact: &Fact) -> String {
    encode(fact, PAYLOAD_BYTES_MAX).expect("fits").json
}

#[test]
fn payloads_have_these_bytes() {
    let node = NodeFact {
        region: RegionName::new("sgp").expect("a valid name"),
        place: GeoPoint::new(1.29, 103.85),
        protocol: 1,
        build: "0.1.0".to_owned(),
        serves_requests: true,
        public: Public::default(),
    };
    assert_eq!(
        json_of(&Fact::Node(node.clone())),
        r#"{"region":"sgp","place":[1.29,103.85],"protocol":1,"build":"0.1.0","serves":true}"#
    );
    let public = NodeFact {
        public: Public {
            url: Some("https://sgp.example.net".into()),
            addresses: ["203.0.113.5", "2001:db8::5"].map(address).into(),
            answers_dns: true,
        },
        ..node
    };
    assert_eq!(
        json_of(&Fact::Node(public)),
        concat!(
            r#"{"region":"sgp","place":[1.29,103.85],"protocol":1,"build":"0.1.0","serves":true,"#,
            r#""url":"https://sgp.example.net","addresses":["203.0.113.5","2001:db8::5"],"dns":true}"#
        )
    );
    assert_eq!(
        json_of(&Fact::Phase(Phase::Draining)),
        r#"{"phase":"draining"}"#
    );
    assert_eq!(
        json_of(&Fact::Upstream(fact())),
        concat!(
            r#"{"state":"healthy","ttft":310000,"error_rate":0.02,"breaks":3,"in_flight":3,"#,
            r#""in_flight_max":256,"tier":2,"weight":1.5,"models":{"gpt-4o":310000,"o3":0}}"#
        )
    );
    assert_eq!(
        json_of(&Fact::Upstream(with_further())),
        concat!(
            r#"{"state":"healthy","ttft":310000,"error_rate":0.02,"breaks":3,"in_flight":3,"#,
            r#""in_flight_max":256,"tier":2,"weight":1.5,"models":{"gpt-4o":310000,"o3":0},"#,
            r#""more":{"answer":9000000,"per_kib":40000,"age":7,"models":{"o3":[0,90000]}}}"#
        )
    );
    let cooling = UpstreamFact {
        standing: Standing::CoolingDown {
            remaining: Duration::from_secs(2),
        },
        ..fact()
    };
    assert!(
        json_of(&Fact::Upstream(cooling)).starts_with(r#"{"state":"cooldown","cooldown":2000000,"#)
    );
    let ejected = UpstreamFact {
        standing: Standing::Ejected {
            reason: EjectionReason::Failures(FailureKind::Connect),
        },
        ..fact()
    };
    assert!(
        json_of(&Fact::Upstream(ejected)).starts_with(r#"{"state":"ejected","reason":"connect","#)
    );
    assert_eq!(
        json_of(&Fact::UpstreamGone(upstream("primary"))),
        r#"{"gone":true}"#
    );
}

#[test]
fn reported_load_takes_few_bytes_and_comes_back() {
    let loaded = |slot_time| UpstreamFact {
        further: FurtherFigures {
            load: Some(Box::new(ReportedLoad {
                age: Duration::from_secs(1),
                slot_time,
                prefill: millis(100),
            })),
            ..FurtherFigures::default()
        },
        ..fact()
    };
    let slot_time = millis(4_000);
    for (slot_time, json) in [
        (slot_time, r#","more":{"load":[1,4000000,100000]}}"#),
        (None, r#","more":{"load":[1,0,100000]}}"#),
    ] {
        let sent = Fact::Upstream(loaded(slot_time));
        let written = json_of(&sent);
        assert!(written.ends_with(json), "{written}");
        assert_eq!(decode(&key(), &written), Ok(sent));
    }
    let refused = r#"{"state":"healthy","more":{"load":[1,-4,0]}}"#;
    assert_eq!(decode(&key(), refused), Err(ValueError::Field("more.load")));
}

fn with_account(quota: QuotaScope, rests: &[(Option<&str>, u64)]) -> UpstreamFact {
    let rests = rests
        .iter()
        .map(|(name, seconds)| (name.map(model), Duration::from_secs(*seconds)));
    UpstreamFact {
        account: Some(Box::new(AccountFact {
            spec: AccountSpec {
                name: AccountName::new("openai-main").expect("a name"),
                quota,
            },
            rests: rests.collect(),
        })),
        ..fact()
    }
}

#[test]
fn account_and_its_rests_take_few_bytes_and_come_back() {
    let plain = json_of(&Fact::Upstream(fact())).len();
    for (quota, rests, json) in [
        (
            QuotaScope::Account,
            &[][..],
            r#","account":{"name":"openai-main"}"#,
        ),
        (
            QuotaScope::Upstream,
            &[(None, 2)],
            r#","account":{"name":"openai-main","alone":true,"rests":{"":2000000}}"#,
        ),
        (
            QuotaScope::Account,
            &[(Some("gpt-4o"), 59)],
            r#","account":{"name":"openai-main","rests":{"gpt-4o":59000000}}"#,
        ),
    ] {
        let sent = Fact::Upstream(with_account(quota, rests));
        let written = json_of(&sent);
        assert!(written.ends_with(&format!("{json}}}")), "{written}");
        assert_eq!(written.len(), plain + json.len());
        assert_eq!(decode(&key(), &written), Ok(sent));
    }
}

#[test]
fn rests_of_an_account_are_bounded_and_checked() {
    let read = |account: &str| {
        let json = format!(r#"{{"state":"healthy","account":{account}}}"#);
        let Fact::Upstream(fact) = decode(&key(), &json)? else {
            panic!("another kind of fact");
        };
        Ok::<_, ValueError>(fact.account.expect("an account").rests.len())
    };
    let many = (0..30).map(|number| format!(r#""m{number}":1"#));
    let many = many.collect::<Vec<_>>().join(",");
    assert_eq!(
        read(&format!(r#"{{"name":"a","rests":{{{many}}}}}"#)),
        Ok(8)
    );
    assert_eq!(read(r#"{"name":"a","hue":1}"#), Ok(0));
    let negative = read(r#"{"name":"a","rests":{"m":-1}}"#);
    assert_eq!(negative, Err(ValueError::Field("account.rests")));
    assert!(matches!(
        read(r#"{"name":"a b"}"#),
        Err(ValueError::Name(_))
    ));
    assert!(matches!(read("{}"), Err(ValueError::Name(_))));
    assert!(matches!(read(r#"{"name":7}"#), Err(ValueError::Malformed)));
}

#[test]
fn rests_go_before_models_where_a_value_is_too_long() {
    let long = |number: usize| format!("{number}{}", "x".repeat(90));
    let names: Vec<String> = (0..5).map(long).collect();
    let rests: Vec<_> = names.iter().map(|name| (Some(name.as_str()), 1)).collect();
    let sent = UpstreamFact {
        models: names.iter().map(|name| (model(name), None)).collect(),
        ..with_account(QuotaScope::Account, &rests)
    };
    let payload = encode(&Fact::Upstream(sent), PAYLOAD_BYTES_MAX).expect("fits");
    let Ok(Fact::Upstream(fact)) = decode(&key(), &payload.json) else {
        panic!("not read");
    };
    let account = fact.account.expect("an account");
    assert_eq!((account.rests.len(), fact.models.len()), (0, 5));
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let json = r#"{"state":"healthy","models":{"o3":null},"hue":{"deep":[1,2]},"ttft":1500.5}"#;
    let Fact::Upstream(fact) = decode(&key(), json).expect("a fact") else {
        panic!("another kind of fact");
    };
    assert_eq!(fact.ttft, Some(Duration::from_micros(1_500)));
    assert_eq!(fact.in_flight_max, IN_FLIGHT_MAX_ASSUMED);
    assert_eq!(fact.models, BTreeMap::from([(model("o3"), None)]));
}

#[test]
fn fields_of_an_earlier_version_are_done_without() {
    let fact = decode(&FactKey::Node, r#"{"region":"sgp","protocol":1}"#).expect("a fact");
    let Fact::Node(fact) = fact else {
        panic!("another kind of fact");
    };
    assert_eq!((fact.place, fact.public), (None, Public::default()));
    assert!(fact.serves_requests);
    assert!(decode(&key(), r#"{"state":"probing"}"#).is_ok());
    let part = r#"{"state":"healthy","more":{"hue":1,"answer":2000000}}"#;
    let Ok(Fact::Upstream(fact)) = decode(&key(), part) else {
        panic!("not read");
    };
    assert_eq!(fact.further.all.whole, millis(2_000));
    assert_eq!((fact.ttft, fact.further.asked_ago), (None, None));
}

#[test]
fn share_of_breaks_is_a_whole_number_of_percents() {
    let read = |breaks: &str| {
        let json = format!(r#"{{"state":"healthy"{breaks}}}"#);
        let fact = decode(&key(), &json)?;
        let Fact::Upstream(fact) = fact else {
            panic!("another kind of fact");
        };
        Ok(fact.break_rate.get())
    };
    let earlier = read("");
    assert_eq!(earlier, Ok(0.0), "a build that publishes none");
    assert_eq!(read(r#","breaks":7"#), Ok(0.07));
    assert_eq!(read(r#","breaks":1e300"#), Ok(1.0));
    assert_eq!(read(r#","breaks":-1"#), Err(ValueError::Field("breaks")));
    for percent in 0..=100 {
        let sent = UpstreamFact {
            break_rate: Share::of(percent, 100),
            ..fact()
        };
        let json = json_of(&Fact::Upstream(sent.clone()));
        assert_eq!(json.contains("breaks"), percent > 0);
        assert_eq!(decode(&key(), &json), Ok(Fact::Upstream(sent)));
    }
}

#[test]
fn reason_of_a_later_version_still_ejects() {
    let json = r#"{"state":"ejected","reason":"moonlight"}"#;
    let Fact::Upstream(fact) = decode(&key(), json).expect("a fact") else {
        panic!("another kind of fact");
    };
    assert_eq!(fact.standing.as_str(), "ejected");
}

#[test]
fn models_of_any_name_are_published_as_far_as_they_fit() {
    let names = ["two words", "通义千问", "a\"b\\c", &"ä".repeat(128)];
    let published = |names: &[&str]| {
        let named = names.iter().map(|name| (model(name), millis(310)));
        let fact = UpstreamFact {
            models: named.collect(),
            ..fact()
        };
        let payload = encode(&Fact::Upstream(fact), PAYLOAD_BYTES_MAX).expect("fits");
        assert!(payload.json.len() <= PAYLOAD_BYTES_MAX);
        let Fact::Upstream(fact) = decode(&key(), &payload.json).expect("a fact") else {
            panic!("another kind of fact");
        };
        (fact.models, payload.models_left_out)
    };
    let (models, left_out) = published(&names);
    let named = names.iter().map(|name| (model(name), millis(310)));
    assert_eq!((models, left_out), (named.collect(), 0));
    // Each quote takes two bytes there.
    let quotes = [1, 2, 3].map(|number| format!("{number}{}", "\"".repeat(255)));
    let (models, left_out) = published(&quotes.each_ref().map(String::as_str));
    assert_eq!((models.len(), left_out), (1, 2));
}

#[test]
fn hostile_payloads_are_refused() {
    for json in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"state":"open"}"#,
        r#"{"state":"healthy","ttft":-1}"#,
        r#"{"state":"healthy","more":{"answer":-1}}"#,
        r#"{"state":"healthy","more":{"per_kib":-0.5}}"#,
        r#"{"state":"healthy","more":{"age":-1}}"#,
        r#"{"state":"healthy","more":{"models":{"":[1,1]}}}"#,
        r#"{"state":"healthy","more":{"models":{"m":[1]}}}"#,
        r#"{"state":"healthy","more":7}"#,
        r#"{"state":"healthy","ttft":1e400}"#,
        r#"{"state":"healthy","ttft":NaN}"#,
        r#"{"state":"healthy","ttft":"3"}"#,
        r#"{"state":"healthy","in_flight":-3}"#,
        r#"{"state":"healthy","weight":0}"#,
        r#"{"state":"healthy","weight":-1}"#,
        r#"{"state":"healthy","tier":-1}"#,
        r#"{"state":"healthy","models":{" o3":1}}"#,
        r#"{"state":"healthy","models":{"o3\u001b[2J":1}}"#,
        r#"{"state":"healthy","models":{"":1}}"#,
        r#"{"state":"healthy","models":{"o3":-1}}"#,
        r#"{"state":"healthy","models":["o3"]}"#,
        r#"{"state":"healthy","state":"ejected"}"#,
    ] {
        assert!(decode(&key(), json).is_err(), "{json}");
    }
    for json in [
        r#"{"protocol":1}"#,
        r#"{"region":"a b","protocol":1}"#,
        r#"{"region":"sgp","protocol":65536}"#,
        r#"{"region":"sgp","protocol":1,"place":[91,0]}"#,
        r#"{"region":"sgp","protocol":1,"place":[1]}"#,
        r#"{"region":"sgp","protocol":1,"build":"\u001b[2J"}"#,
        r#"{"region":"sgp","protocol":1,"url":"ftp://h"}"#,
        r#"{"region":"sgp","protocol":1,"url":"http://h/a b"}"#,
        r#"{"region":"sgp","protocol":1,"url":7}"#,
        r#"{"region":"sgp","protocol":1,"addresses":["h"]}"#,
        r#"{"region":"sgp","protocol":1,"addresses":"203.0.113.5"}"#,
        r#"{"region":"sgp","protocol":1,"dns":1}"#,
        r#"{"region":"sgp","protocol":1,"addresses":["::1","::1","::1","::1","::1","::1","::1","::1","::1"]}"#,
    ] {
        assert!(decode(&FactKey::Node, json).is_err(), "{json}");
    }
    assert!(decode(&FactKey::Phase, r#"{"phase":"asleep"}"#).is_err());
}

#[test]
fn huge_numbers_are_clamped() {
    let json = r#"{"state":"cooldown","cooldown":1e300,"ttft":1e300,"error_rate":9,
        "in_flight":1e300,"in_flight_max":0,"tier":1e300,"weight":1e300,"models":{"o3":1e300}}"#;
    let Fact::Upstream(fact) = decode(&key(), json).expect("a fact") else {
        panic!("another kind of fact");
    };
    assert_eq!(
        fact.standing,
        Standing::CoolingDown {
            remaining: SPAN_MAX
        }
    );
    assert_eq!(fact.ttft, Some(SPAN_MAX));
    assert_eq!(fact.error_rate.get(), 1.0);
    assert_eq!((fact.in_flight, fact.in_flight_max), (u32::MAX, 1));
    assert_eq!(
        (fact.tier, fact.weight.get()),
        (Tier(u16::MAX), Weight::MAX)
    );
}

#[test]
fn payload_over_the_limit_is_refused() {
    let padded = |length: usize| {
        let json = r#"{"phase":"ready"}"#;
        format!("{json}{}", " ".repeat(length - json.len()))
    };
    assert!(decode(&FactKey::Phase, &padded(PAYLOAD_BYTES_MAX)).is_ok());
    let error = decode(&FactKey::Phase, &padded(PAYLOAD_BYTES_MAX + 1)).expect_err("too long");
    assert_eq!(
        error,
        ValueError::TooLong {
            max: PAYLOAD_BYTES_MAX
        }
    );
}

fn with_models(count: usize) -> UpstreamFact {
    UpstreamFact {
        models: (0..count)
            .map(|number| (model(&format!("vendor/model-{number:03}")), millis(900)))
            .collect(),
        ..fact()
    }
}

fn decoded(payload: &Payload) -> UpstreamFact {
    match decode(&key(), &payload.json).expect("a fact") {
        Fact::Upstream(fact) => fact,
        other => panic!("another kind of fact: {other:?}"),
    }
}

#[test]
fn times_of_models_go_before_models() {
    let payload = encode(&Fact::Upstream(with_models(30)), PAYLOAD_BYTES_MAX).expect("fits");
    assert_eq!(payload.models_left_out, 0);
    let fact = decoded(&payload);
    assert_eq!(fact.models.len(), 30);
    assert!(fact.models.values().all(Option::is_none));
    assert_eq!(fact.ttft, millis(310));
}

#[test]
fn models_that_do_not_fit_are_counted_and_any_model_stays() {
    let mut fact = with_models(200);
    fact.models.insert(model("!first"), None);
    fact.models.insert(model(ModelName::ANY), None);
    let payload = encode(&Fact::Upstream(fact), PAYLOAD_BYTES_MAX).expect("fits");
    let kept = decoded(&payload).models;
    assert!(payload.json.len() > PAYLOAD_BYTES_MAX - 32, "wastes space");
    assert_eq!(kept.len() + payload.models_left_out, 202);
    assert!(kept.keys().any(ModelName::is_any));
}

#[test]
fn further_figures_go_before_anything_else() {
    let complete = json_of(&Fact::Upstream(with_further())).len();
    let mut seen = Vec::new();
    for bytes in (json_of(&Fact::Upstream(fact())).len()..=complete).rev() {
        let payload = encode(&Fact::Upstream(with_further()), bytes).expect("fits");
        let read = decoded(&payload);
        assert_eq!((&read.models, payload.models_left_out), (&fact().models, 0));
        let kept = (read.further.models.len(), read.further.asked_ago.is_some());
        if seen.last() != Some(&kept) {
            seen.push(kept);
        }
    }
    assert_eq!(seen, [(1, true), (0, true), (0, false)]);
}

#[test]
fn fact_without_room_is_an_error() {
    let error = encode(&Fact::Upstream(fact()), 40).expect_err("no room");
    assert_eq!(error, ValueError::TooLong { max: 40 });
}

#[test]
fn keys_are_distinguished() {
    assert_eq!(parse_key("node"), Ok(StateKey::Fact(FactKey::Node)));
    assert_eq!(parse_key("phase"), Ok(StateKey::Fact(FactKey::Phase)));
    assert_eq!(parse_key("up.primary"), Ok(StateKey::Fact(key())));
    assert_eq!(parse_key("cert"), Ok(StateKey::Certificate));
    assert_eq!(parse_key("svc"), Ok(StateKey::Fact(FactKey::Services)));
    assert_eq!(parse_key("lim"), Ok(StateKey::Unknown));
    assert!(parse_key("up.").is_err());
    assert!(parse_key("up.a b").is_err());
}

fn standings() -> impl Strategy<Value = Standing> {
    let words = [
        "connect",
        "timeout",
        "reset",
        "status",
        "error_rate",
        "credential",
    ];
    let reason = proptest::sample::select(words.to_vec())
        .prop_map(|word| EjectionReason::from_word(word).expect("a reason"));
    prop_oneof![
        Just(Standing::Ready),
        (0..4_000_000_000u64).prop_map(|micros| Standing::CoolingDown {
            remaining: Duration::from_micros(micros).min(SPAN_MAX),
        }),
        reason
            .clone()
            .prop_map(|reason| Standing::Ejected { reason }),
        reason.prop_map(|reason| Standing::Probing { reason }),
    ]
}

fn spans() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((1..3_600_000_000u64).prop_map(Duration::from_micros))
}

fn further_figures() -> impl Strategy<Value = FurtherFigures> {
    let figures = || {
        let per_kib = (0..1_000_000u64).prop_map(Duration::from_micros);
        (spans(), per_kib).prop_map(|(whole, per_kib)| AnswerFigures { whole, per_kib })
    };
    let models = proptest::collection::btree_map("[!-~]{1,20}", figures(), 0..3);
    let age_of = || (0..=u32::MAX).prop_map(|age| Duration::from_secs(age.into()));
    let load = (age_of(), spans(), spans()).prop_map(|(age, slot_time, prefill)| ReportedLoad {
        age,
        slot_time,
        prefill,
    });
    let load = proptest::option::of(load);
    let parts = (figures(), models, proptest::option::of(age_of()), load);
    parts.prop_map(|(all, models, asked_ago, load)| FurtherFigures {
        load: load.map(Box::new),
        all,
        models: { models.into_iter() }
            .map(|(name, figures)| (model(&name), figures))
            .collect(),
        asked_ago,
    })
}

fn upstream_facts() -> impl Strategy<Value = UpstreamFact> {
    let models = proptest::collection::btree_map("[!-~]{1,40}", spans(), 0..5);
    let numbers = (
        0..=1_000u32,
        any::<u32>(),
        1..=u32::MAX,
        any::<u16>(),
        1..=1_000_000u32,
    );
    let all = (models, standings(), spans(), numbers, further_figures());
    all.prop_map(|(models, standing, ttft, numbers, further)| {
        let (errors, in_flight, in_flight_max, tier, weight) = numbers;
        UpstreamFact {
            models: models
                .into_iter()
                .map(|(name, ttft)| (model(&name), ttft))
                .collect(),
            standing,
            ttft,
            error_rate: Share::clamped(f64::from(errors) / 1_000.0),
            in_flight,
            in_flight_max,
            tier: Tier(tier),
            weight: Weight::new(f64::from(weight) / 1_000.0).expect("a valid weight"),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: weight % 2 == 0,
            models_out: BTreeMap::new(),
            further,
            ..fact()
        }
    })
}

#[test]
fn upstream_without_websockets_says_nothing_of_them() {
    let text = |fact| {
        encode(&Fact::Upstream(fact), PAYLOAD_BYTES_MAX)
            .expect("fits")
            .json
    };
    assert!(
        !text(fact()).contains("websocket"),
        "as earlier versions write it"
    );
    let takes = UpstreamFact {
        websocket: true,
        ..fact()
    };
    assert!(text(takes).contains(r#""websocket":true"#));
}

proptest! {
    #[test]
    fn upstream_fact_comes_back(fact in upstream_facts()) {
        let fact = Fact::Upstream(fact);
        let payload = encode(&fact, PAYLOAD_BYTES_MAX).expect("fits");
        prop_assert_eq!(decode(&key(), &payload.json), Ok(fact));
    }

    #[test]
    fn any_upstream_fact_fits_its_limit(
        fact in upstream_facts(),
        extra in proptest::collection::btree_set("[!-~]{1,128}", 0..60),
        bytes_max in 300..PAYLOAD_BYTES_MAX,
    ) {
        let mut fact = fact;
        fact.models.extend(extra.iter().map(|name| (model(name), millis(1))));
        let total = fact.models.len();
        let payload = encode(&Fact::Upstream(fact), bytes_max).expect("fits");
        prop_assert!(payload.json.len() <= bytes_max);
        prop_assert_eq!(decoded(&payload).models.len() + payload.models_left_out, total);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", word in "[a-z_]{1,13}", number: f64) {
        for key in [FactKey::Node, FactKey::Phase, key()] {
            let _ = decode(&key, &text);
            let _ = decode(&key, &format!(r#"{{"state":"healthy","{word}":{number}}}"#));
        }
        let _ = parse_key(&text);
    }
}

#[test]
fn models_that_stand_otherwise_and_doubts_come_back_as_they_were() {
    let reason = EjectionReason::Stall;
    let model = |name: &str| ModelName::new(name).expect("a valid name");
    let out = BTreeMap::from([
        (
            model("gone"),
            Standing::Ejected {
                reason: EjectionReason::Missing,
            },
        ),
        (
            model("resting"),
            Standing::CoolingDown {
                remaining: Duration::from_secs(3),
            },
        ),
        (model("slow"), Standing::Suspect { reason }),
    ]);
    for standing in [Standing::Untested, Standing::Suspect { reason }] {
        let fact = UpstreamFact {
            standing,
            models_out: out.clone(),
            ..fact()
        };
        let fact = Fact::Upstream(fact);
        let payload = encode(&fact, PAYLOAD_BYTES_MAX).expect("it fits");
        assert_eq!(decode(&fact.key(), &payload.json), Ok(fact));
        assert!(
            payload.json.contains(r#""state":"healthy""#),
            "earlier versions read it"
        );
    }
}

#[test]
fn long_names_of_models_that_clients_made_up_displace_nothing() {
    let made_up = |number: usize| {
        let name = format!("{number}{}", "x".repeat(120));
        (
            ModelName::new(&name).expect("a valid name"),
            Standing::Ejected {
                reason: EjectionReason::Missing,
            },
        )
    };
    let listed = fact().models.keys().next().cloned().expect("one model");
    let mut out: BTreeMap<_, _> = (0..7).map(made_up).collect();
    out.insert(
        listed.clone(),
        Standing::Ejected {
            reason: EjectionReason::Missing,
        },
    );
    let sent = Fact::Upstream(UpstreamFact {
        models_out: out,
        ..fact()
    });
    let payload = encode(&sent, PAYLOAD_BYTES_MAX).expect("it fits");
    let Ok(Fact::Upstream(read)) = decode(&sent.key(), &payload.json) else {
        panic!("not read: {}", payload.json);
    };
    assert_eq!(read.models_out.keys().collect::<Vec<_>>(), [&listed]);
    assert_eq!((read.models, payload.models_left_out), (fact().models, 0));
}
