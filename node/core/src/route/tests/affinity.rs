//! Where conversations go, and what does not move them.

use super::*;

const SESSIONS: u64 = 1_000;

/// One of several in the region `region`.
fn member(region: &str, name: &str, rtt_ms: u64) -> UpstreamView {
    UpstreamView {
        region: RegionName::new(region).expect("a valid name"),
        place: GeoPoint::new(if region == "sgp" { 1.0 } else { 50.0 }, 0.0),
        ..upstream(name, rtt_ms)
    }
}

/// `count` in the region `sgp`, named `n0`, `n1` and so on.
fn members(count: usize) -> Vec<UpstreamView> {
    (0..count)
        .map(|index| member("sgp", &format!("n{index}"), 1))
        .collect()
}

fn number(session: u64) -> u64 {
    super::super::session(format!("session {session}").as_bytes())
}

/// How a plan is asked for.
#[derive(Clone, Copy)]
enum By {
    Cost,
    /// From latitude 1, which is that of `sgp`.
    Place,
}

fn ask_by<'a>(by: By, session: u64) -> impl FnOnce(&mut RouteQuery<'a>) {
    move |ask| {
        ask.session = Some(number(session));
        if let By::Place = by {
            ask.strategy = Strategy::Geo;
            ask.client_place = GeoPoint::new(1.0, 0.0);
        }
    }
}

/// The plan's nodes for `session`, drawn with `seed`.
fn order(view: &View, by: By, session: u64, seed: u64) -> Vec<String> {
    let plan = plan_with(view, ask_by(by, session), seed).expect("a plan");
    nodes(&plan).into_iter().map(str::to_owned).collect()
}

/// The first choice for each of 1,000 sessions.
fn choices(view: &View, by: By) -> Vec<String> {
    (0..SESSIONS)
        .map(|session| order(view, by, session, session).swap_remove(0))
        .collect()
}

fn moved(before: &[String], after: &[String]) -> usize {
    let pairs = before.iter().zip(after);
    pairs.filter(|(before, after)| before != after).count()
}

fn share(choices: &[String], node: &str) -> f64 {
    let there = choices.iter().filter(|choice| *choice == node).count();
    there as f64 / choices.len() as f64
}

/// Times to first byte for the nodes of a view; all others have 300 ms.
fn set_ttft(view: &mut View, node: &str, ttft_ms: u64) {
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    for candidate in routes.tiers.iter_mut().flat_map(|tier| &mut tier.usable) {
        if candidate.upstream.node.as_str() == node {
            let candidate = Arc::make_mut(candidate);
            candidate.ttft = Duration::from_millis(ttft_ms);
            candidate.ttft_low = candidate.ttft;
        }
    }
}

const BOTH: [By; 2] = [By::Cost, By::Place];

#[test]
fn conversations_spread_over_their_region_and_stay_in_it() {
    let mut all = members(8);
    all.extend((0..8).map(|index| member("eur", &format!("far{index}"), 160)));
    for by in BOTH {
        let choices = choices(&view(all.clone()), by);
        for index in 0..8 {
            let share = share(&choices, &format!("n{index}"));
            assert!((0.09..0.16).contains(&share), "{share}");
        }
    }
}

#[test]
fn conversation_is_the_reason() {
    for by in BOTH {
        let plan = plan_with(&view(members(3)), ask_by(by, 1), 1).expect("a plan");
        assert_eq!(plan.choices[0].reason, RouteReason::Session);
    }
    let alone = view(vec![member("sgp", "n0", 1), member("eur", "n1", 160)]);
    let plan = plan_with(&alone, ask_by(By::Place, 1), 1).expect("a plan");
    assert_eq!(plan.choices[0].reason, RouteReason::Nearest);
}

#[test]
fn choice_under_geo_is_the_same_from_any_entry_node_in_the_world() {
    let from = |sgp: u64, eur: u64, far: usize| {
        let mut all: Vec<_> = (0..40)
            .map(|index: usize| {
                let rtt = sgp + index.abs_diff(far) as u64;
                member("sgp", &format!("n{index}"), rtt)
            })
            .collect();
        all.push(member("eur", "other", eur));
        choices(&view(all), By::Place)
    };
    let near = from(0, 160, 0);
    assert_eq!(moved(&near, &from(160, 0, 17)), 0);
    assert_eq!(moved(&near, &from(220, 90, 39)), 0);
}

#[test]
fn mapped_region_holds_conversations_wherever_its_nodes_are() {
    let homes = [RegionName::new("eur").expect("a valid name")];
    let eur = |name: &str, latitude| UpstreamView {
        place: GeoPoint::new(latitude, 0.0),
        ..member("eur", name, 9)
    };
    let view = view(vec![
        eur("a", 48.0),
        eur("b", 52.0),
        member("sgp", "near", 1),
    ]);
    let choice = |session| {
        let plan = plan_with(
            &view,
            |ask| {
                ask_by(By::Place, session)(ask);
                ask.home_regions = &homes;
            },
            session,
        );
        nodes(&plan.expect("a plan"))[0].to_owned()
    };
    let choices: Vec<String> = (0..SESSIONS).map(choice).collect();
    assert!((0.4..0.6).contains(&share(&choices, "a")));
    assert_eq!(share(&choices, "near"), 0.0);
}

#[test]
fn client_without_a_place_stays_in_the_region_of_the_entry_node() {
    let from = |jitter: u64| {
        let mut all: Vec<_> = (0..4)
            .map(|index| member("sgp", &format!("n{index}"), index * jitter % 7))
            .collect();
        all.push(member("eur", "far", 160));
        let view = view(all);
        let choice = |session| {
            let plan = plan_with(
                &view,
                |ask| {
                    ask.strategy = Strategy::Geo;
                    ask.session = Some(number(session));
                },
                session,
            );
            nodes(&plan.expect("a plan"))[0].to_owned()
        };
        (0..SESSIONS).map(choice).collect::<Vec<_>>()
    };
    assert_eq!(moved(&from(3), &from(5)), 0);
    assert_eq!(share(&from(3), "far"), 0.0);
}

#[test]
fn entry_nodes_of_one_region_agree_by_cost_and_those_of_another_have_their_own() {
    let from = |sgp: u64, eur: u64, own: usize| {
        let mut all: Vec<_> = (0..20)
            .map(|index| {
                let rtt = if index == own { 0 } else { sgp };
                member("sgp", &format!("n{index}"), rtt + index as u64)
            })
            .collect();
        all.extend((0..3).map(|index| member("eur", &format!("far{index}"), eur)));
        choices(&view(all), By::Cost)
    };
    let first = from(1, 160, 0);
    assert_eq!(moved(&first, &from(2, 170, 19)), 0);
    assert!(
        from(160, 1, 99)
            .iter()
            .all(|choice| choice.starts_with("far"))
    );
}

#[test]
fn leaving_or_coming_candidate_moves_only_its_own_share() {
    for by in BOTH {
        let (eight, seven) = (members(8), members(7));
        let (before, after) = (choices(&view(eight), by), choices(&view(seven), by));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == "n7");
        }
        let share = moved(&before, &after) as f64 / SESSIONS as f64;
        assert!((0.09..0.16).contains(&share), "{share}");
    }
}

#[test]
fn time_to_first_byte_that_wavers_up_to_thrice_the_least_moves_nobody() {
    let calm = view(members(5));
    let before = choices(&calm, By::Cost);
    for ttft in [110, 299, 301, 599, 899] {
        let mut wavering = calm.clone();
        set_ttft(&mut wavering, "n3", ttft);
        assert_eq!(
            moved(&before, &choices(&wavering, By::Cost)),
            0,
            "{ttft} ms"
        );
        assert_eq!(
            moved(&before, &choices(&wavering, By::Place)),
            0,
            "{ttft} ms"
        );
    }
}

#[test]
fn short_times_may_waver_by_a_quarter_of_a_second() {
    let mut view = view(members(3));
    (0..3).for_each(|index| set_ttft(&mut view, &format!("n{index}"), 1));
    let before = choices(&view, By::Cost);
    set_ttft(&mut view, "n1", 250);
    assert_eq!(moved(&before, &choices(&view, By::Cost)), 0);
}

#[test]
fn peak_moves_no_conversation() {
    let mut view = view(members(4));
    let before = choices(&view, By::Cost);
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    Arc::make_mut(&mut routes.tiers[0].usable[2]).ttft = Duration::from_secs(5);
    assert_eq!(moved(&before, &choices(&view, By::Cost)), 0);
}

#[test]
fn clearly_slower_one_is_left_and_looked_at_now_and_then_by_its_own() {
    let mut slow = view(members(4));
    let before = choices(&slow, By::Cost);
    set_ttft(&mut slow, "n2", 1_500);
    let mut looks = 0;
    for seed in 0..10 {
        for (session, before) in (0..SESSIONS).zip(&before) {
            let now = order(&slow, By::Cost, session, seed * SESSIONS + session).swap_remove(0);
            looks += usize::from(now == "n2");
            assert!(
                now == *before || before == "n2",
                "only its own move or look"
            );
        }
    }
    // A quarter of 10,000 belong there, and one in 200 of them looks.
    assert!((2..40).contains(&looks), "{looks}");
}

#[test]
fn load_up_to_the_limit_moves_no_conversation() {
    let before = choices(&view(members(5)), By::Cost);
    for in_flight in [1, 40, 86, 99] {
        let mut loaded = members(5);
        loaded[2].others_in_flight = in_flight;
        for by in BOTH {
            let after = choices(&view(loaded.clone()), by);
            assert_eq!(moved(&before, &after), 0, "{in_flight}");
        }
    }
}

#[test]
fn old_figures_and_a_new_incumbent_move_no_conversation() {
    let before = choices(&view(members(5)), By::Cost);
    let mut old = members(5);
    old[2].figures_at = Instant::from_start(Duration::from_secs(40));
    let mut old = view(old);
    let routes = old.models.get_mut(&*MODEL).expect("the model");
    Arc::make_mut(&mut routes.tiers[0].usable[3]).incumbent = true;
    assert_eq!(moved(&before, &choices(&old, By::Cost)), 0);
}

#[test]
fn full_one_sends_its_conversations_to_the_next_in_their_own_order() {
    for by in BOTH {
        let calm = view(members(5));
        let mut full = members(5);
        full[1].others_in_flight = 100;
        let mut limiting = members(5);
        limiting[1].hot_until = Some(NOW + Duration::from_millis(300));
        let (full, limiting) = (view(full), view(limiting));
        for session in 0..SESSIONS {
            let before = order(&calm, by, session, 1);
            let expected = &before[usize::from(before[0] == "n1")];
            assert_eq!(order(&full, by, session, 1)[0], *expected);
            assert_eq!(order(&limiting, by, session, 1)[0], *expected);
        }
    }
}

#[test]
fn conversation_falls_back_where_it_goes_when_its_own_upstream_is_gone() {
    for by in BOTH {
        let (all, fewer) = (view(members(5)), view(members(5).split_off(1)));
        for session in 0..SESSIONS {
            let order_before = order(&all, by, session, 1);
            if order_before[0] == "n0" {
                assert_eq!(order(&fewer, by, session, 1)[0], order_before[1]);
            }
        }
    }
}

#[test]
fn full_region_spills_to_the_next() {
    let mut all = members(2);
    all.iter_mut().for_each(|one| one.others_in_flight = 100);
    all.extend((0..2).map(|index| member("eur", &format!("far{index}"), 160)));
    for by in BOTH {
        let choices = choices(&view(all.clone()), by);
        assert!((0.4..0.6).contains(&share(&choices, "far0")));
        assert!((0.4..0.6).contains(&share(&choices, "far1")));
    }
}

#[test]
fn conversations_follow_one_by_one_when_their_upstream_comes_back_and_stay() {
    for by in BOTH {
        let after = |milliseconds: u64| {
            let returned_at = Instant::from_start(Duration::from_millis(100_000 - milliseconds));
            let mut all = members(4);
            all[0].returned_at = Some(returned_at);
            choices(&view(all), by)
        };
        let settled = choices(&view(members(4)), by);
        assert_eq!(share(&after(0), "n0"), 0.0);
        let half = share(&after(5_000), "n0") / share(&settled, "n0");
        assert!((0.4..0.6).contains(&half), "{half}");
        let mut before = after(0);
        for milliseconds in (500..=10_000).step_by(500) {
            let now = after(milliseconds);
            for (before, now) in before.iter().zip(&now) {
                assert!(before == now || now == "n0", "moved, and not back");
            }
            before = now;
        }
        assert_eq!(moved(&settled, &before), 0);
    }
}

#[test]
fn preferred_region_holds_for_conversations_too() {
    let preferred = RegionName::new("eur").expect("a valid name");
    let mut all = members(20);
    all.extend((0..3).map(|index| member("eur", &format!("far{index}"), 160)));
    let view = view(all);
    for by in BOTH {
        let choice = |session| {
            let plan = plan_with(
                &view,
                |ask| {
                    ask_by(by, session)(ask);
                    ask.prefer_region = Some(&preferred);
                },
                session,
            );
            nodes(&plan.expect("a plan"))[0].to_owned()
        };
        let choices: Vec<String> = (0..SESSIONS).map(choice).collect();
        for index in 0..3 {
            let share = share(&choices, &format!("far{index}"));
            assert!((0.25..0.42).contains(&share), "{share}");
        }
    }
}

/// What an entry node may see otherwise than another: way, load below the limit, age of figures.
fn any_noise() -> impl Generate<Value = Vec<(u64, u32, u64, u64)>> {
    prop::collection::vec((0u64..300_000, 0u32..100, 0u64..100, 1u64..2_000), 60)
}

fn seen(known: &[(u8, bool)], noise: &[(u64, u32, u64, u64)]) -> View {
    let upstreams = known.iter().zip(noise).enumerate();
    let upstreams = upstreams.map(|(index, ((region, is_full), noise))| {
        let name = format!("n{index}");
        UpstreamView {
            region: RegionName::new(&format!("r{region}")).expect("a valid name"),
            place: GeoPoint::new(f64::from(*region) * 10.0, 0.0),
            rtt: Duration::from_micros(noise.0),
            others_in_flight: if *is_full { 100 } else { noise.1 },
            figures_at: Instant::from_start(Duration::from_secs(noise.2)),
            ..upstream(&name, 0)
        }
    });
    let mut view = view(upstreams.collect());
    for (index, noise) in noise.iter().enumerate() {
        set_ttft(&mut view, &format!("n{index}"), noise.3);
    }
    view
}

proptest! {
    /// Whatever two entry nodes measure: under geo a conversation has one candidate, in the nearest region that is
    /// not full; and when any one candidate leaves, only its own conversations move.
    #[test]
    fn choice_under_geo_follows_from_what_all_nodes_know(
        known in prop::collection::vec((0u8..5, any::<bool>()), 2..50),
        here in any_noise(),
        there in any_noise(),
        leaves in any::<prop::sample::Index>(),
        sessions in prop::collection::vec(any::<u64>(), 8),
    ) {
        let mut fewer = known.clone();
        let leaver = leaves.index(known.len());
        // Full and in no region of its own: as good as gone, and the names of the others stay.
        fewer[leaver] = (200, true);
        let (here, there, fewer) = (seen(&known, &here), seen(&known, &there), seen(&fewer, &there));
        let nearest = known.iter().filter(|(_, is_full)| !is_full).map(|(region, _)| *region).min();
        for session in sessions {
            let first = |view: &View| {
                let plan = plan_with(view, ask_by(By::Place, session), session).expect("a plan");
                let upstream = &plan.choices[0].candidate.upstream;
                (upstream.node.to_string(), upstream.region.to_string())
            };
            let (choice, region) = first(&here);
            prop_assert_eq!(&choice, &first(&there).0);
            if let Some(nearest) = nearest {
                prop_assert_eq!(region, format!("r{nearest}"));
            }
            if choice != format!("n{leaver}") {
                prop_assert_eq!(choice, first(&fewer).0);
            }
        }
    }
}

/// The first choice of each of 1,000 sessions under a strategy that looks at no distance.
fn choices_under(strategy: Strategy, view: &View) -> Vec<String> {
    let first = |session: u64| {
        let ask = |ask: &mut RouteQuery<'_>| {
            (ask.strategy, ask.session) = (strategy, Some(number(session)));
        };
        let plan = plan_with(view, ask, session).expect("a plan");
        assert_eq!(plan.choices[0].reason, RouteReason::Session);
        nodes(&plan)[0].to_owned()
    };
    (0..SESSIONS).map(first).collect()
}

#[test]
fn weighted_and_least_busy_keep_conversations_whatever_the_way() {
    for strategy in [Strategy::Weighted, Strategy::LeastBusy] {
        let from = |rtts: [u64; 3]| {
            let all = ["eur", "sgp", "usa"].into_iter().zip(rtts);
            let all = all.map(|(region, rtt)| member(region, region, rtt));
            choices_under(strategy, &view(all.collect()))
        };
        let (eur, sgp, usa) = (from([0, 160, 90]), from([160, 0, 220]), from([90, 220, 0]));
        assert_eq!((moved(&eur, &sgp), moved(&eur, &usa)), (0, 0));
        for region in ["eur", "sgp", "usa"] {
            let share = share(&eur, region);
            assert!((0.28..0.39).contains(&share), "{share} at {region}");
        }
    }
}

#[test]
fn weights_hold_for_conversations_too() {
    let mut all = members(2);
    all[1].weight = Weight::new(3.0).expect("above zero");
    let choices = choices_under(Strategy::Weighted, &view(all));
    let share = share(&choices, "n1");
    assert!((0.70..0.80).contains(&share), "{share}");
}

#[test]
fn one_in_five_moves_when_one_of_five_leaves_under_weights() {
    let before = choices_under(Strategy::Weighted, &view(members(5)));
    let after = choices_under(Strategy::Weighted, &view(members(4)));
    let moved = moved(&before, &after) as f64 / SESSIONS as f64;
    assert!((0.16..0.24).contains(&moved), "{moved}");
    let stayed = before.iter().zip(&after).filter(|(one, _)| *one != "n4");
    assert!(stayed.into_iter().all(|(one, other)| one == other));
}

/// Two regions, the far one 40 ms away, whose prompts of 200 KiB take about 2 s.
fn far_and_near(cached: u64) -> View {
    let all = vec![member("sgp", "near", 1), member("eur", "far", 40)];
    let mut view = view(all);
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    for one in routes.tiers.iter_mut().flat_map(|tier| &mut tier.usable) {
        let one = Arc::make_mut(one);
        one.per_kib = Duration::from_millis(10);
        one.upstream.cache.record(100, cached);
    }
    view
}

#[test]
fn warm_cache_counts_against_a_nearer_upstream_by_its_weight() {
    let far = |cached: u64, weight: f64, body_bytes: usize| {
        let view = far_and_near(cached);
        let shape = RequestShape::new(true, body_bytes);
        let first = |session: u64| {
            let ask = |ask: &mut RouteQuery<'_>| {
                (ask.session, ask.shape) = (Some(number(session)), shape);
                ask.cache_weight = weight;
            };
            nodes(&plan_with(&view, ask, session).expect("a plan"))[0] == "far"
        };
        (0..SESSIONS).filter(|session| first(*session)).count()
    };
    const LONG: usize = 200 * 1_024;
    // A look at what is left now and then is no more than that.
    assert!(far(90, 0.0, LONG) < 20);
    assert!(far(0, 1.0, LONG) < 20);
    assert!(far(90, 1.0, 1_024) < 20);
    let half = far(90, 1.0, LONG);
    assert!((430..570).contains(&half), "{half}");
}

/// The number of a conversation that only its opening tells: one system prompt for all.
fn opening(index: u64) -> u64 {
    let mut hash = OpeningHash::default();
    hash.add(b"You are a helpful assistant.");
    hash.next_part();
    hash.add(format!("Tell me of island {index}.").as_bytes());
    hash.session().expect("it says enough").number
}

#[test]
fn thousand_openings_meet_the_same_upstream_from_three_entries_and_a_fifth_moves_when_one_of_five_leaves()
 {
    for strategy in [
        Strategy::Latency,
        Strategy::Geo,
        Strategy::Weighted,
        Strategy::LeastBusy,
    ] {
        let from = |entry: usize, count: usize| {
            let all = members(count).into_iter().enumerate();
            // Each entry node has one of them beside it, and another way to the rest.
            let all = all.map(|(index, upstream)| UpstreamView {
                rtt: Duration::from_millis(((index + entry) % 3) as u64),
                ..upstream
            });
            let view = view(all.collect());
            let first = |index: u64| {
                let ask = |ask: &mut RouteQuery<'_>| {
                    (ask.strategy, ask.session) = (strategy, Some(opening(index)));
                };
                let plan = plan_with(&view, ask, 1_000 * entry as u64 + index).expect("a plan");
                nodes(&plan)[0].to_owned()
            };
            (0..SESSIONS).map(first).collect::<Vec<_>>()
        };
        let whole = [0, 1, 2].map(|entry| from(entry, 5));
        for other in &whole[1..] {
            assert!(moved(&whole[0], other) <= 1, "{strategy:?}");
        }
        for entry in 0..3 {
            let left = moved(&whole[0], &from(entry, 4)) as f64 / SESSIONS as f64;
            assert!((0.15..0.25).contains(&left), "{strategy:?}: {left}");
        }
    }
}
