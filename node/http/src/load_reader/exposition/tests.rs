use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use super::*;

/// As vLLM 0.11 writes it, shortened.
const VLLM: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a \"model\" {x}, y"} 7.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a \"model\" {x}, y"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1.0e+06
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 400000.0
vllm:prefix_cache_hits_created{engine="0",model_name="m"} 1.7e+09
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 40.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 2.0
vllm:request_prefill_time_seconds_bucket{engine="0",le="0.3",model_name="m"} 9.0
vllm:request_prefill_time_seconds_sum{engine="0",model_name="m"} 61.5
"#;

const SGLANG: &str = r#"
sglang:num_running_reqs{engine_type="unified",model_name="m",moe_ep_rank="0",pp_rank="0",tp_rank="0"} 4.0
sglang:num_running_reqs{engine_type="unified",model_name="m",moe_ep_rank="0",pp_rank="0",tp_rank="1"} 4.0
sglang:num_queue_reqs{engine_type="unified",model_name="m",priority="",tp_rank="0"} 2.0
sglang:num_queue_reqs{engine_type="unified",model_name="m",priority="7",tp_rank="0"} 1.0
sglang:token_usage{model_name="m",tp_rank="0"} 0.28
sglang:num_requests_total{model_name="m"} 120
sglang:cache_hit_rate{model_name="m"} 0.0075
"#;

const TGI: &str = "tgi_batch_current_size 3\ntgi_queue_size 12\ntgi_request_success{kind=\"generate\"} 5\n\
    tgi_request_success{kind=\"generate_stream\"} 6\n";

const LLAMA_CPP: &str = "llamacpp:prompt_tokens_total 33065\nllamacpp:prompt_seconds_total 235.743\n\
    llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:kv_cache_usage_ratio 0.5 1700000000000\n";

fn read(page: &str) -> EngineMetrics {
    metrics(page).expect("figures")
}

#[test]
fn figures_of_each_engine_are_found() {
    assert_eq!(
        read(VLLM),
        EngineMetrics {
            running: 7,
            waiting: 3,
            cache_usage: Some(Share::clamped(0.25)),
            ended: Some(42),
            prefill: Some(Prefill {
                seconds: 61.5,
                tokens: 600_000
            }),
        }
    );
    assert_eq!(
        read(SGLANG),
        EngineMetrics {
            running: 4,
            waiting: 2,
            cache_usage: Some(Share::clamped(0.28)),
            ended: Some(120),
            prefill: None,
        }
    );
    assert_eq!(
        read(TGI),
        EngineMetrics {
            running: 3,
            waiting: 12,
            cache_usage: None,
            ended: Some(11),
            prefill: None,
        }
    );
    assert_eq!(
        read(LLAMA_CPP),
        EngineMetrics {
            running: 2,
            waiting: 1,
            cache_usage: Some(Share::clamped(0.5)),
            ended: None,
            prefill: Some(Prefill {
                seconds: 235.743,
                tokens: 33_065
            }),
        }
    );
}

#[test]
fn engines_behind_one_address_add_up_and_the_fullest_cache_counts() {
    let page = r#"
vllm:num_requests_running{engine="0"} 7
vllm:num_requests_running{engine="1"} 5
vllm:num_requests_waiting{engine="0"} 0
vllm:num_requests_waiting{engine="1"} 4
vllm:gpu_cache_usage_perc{engine="0"} 0.2
vllm:gpu_cache_usage_perc{engine="1"} 0.9
"#;
    let it = read(page);
    assert_eq!((it.running, it.waiting), (12, 4));
    assert_eq!(it.cache_usage, Some(Share::clamped(0.9)));
}

#[test]
fn a_page_that_does_not_say_what_runs_and_waits_has_no_figures() {
    for page in [
        "",
        "<html>",
        "vllm:num_requests_running 7",
        "vllm:num_requests_running 7\nvllm:num_requests_waiting NaN",
        "vllm:num_requests_running 7\nvllm:num_requests_waiting -1",
        "vllm:num_requests_running 7\nvllm:num_requests_waiting{engine=\"0\" 1",
        "go_goroutines 12\nprocess_open_fds 3",
    ] {
        assert_eq!(metrics(page), None, "{page}");
    }
}

#[test]
fn figures_beyond_all_bounds_are_bounded() {
    let page = "tgi_batch_current_size 1e300\ntgi_queue_size 1e300\nvllm:kv_cache_usage_perc 12";
    let it = read(page);
    assert_eq!((it.running, it.waiting), (u32::MAX, u32::MAX));
    assert_eq!(it.cache_usage, Some(Share::clamped(1.0)));
    let many = |count: usize| {
        let line = |index| format!("tgi_batch_current_size{{engine=\"{index}\"}} 1\n");
        let lines: String = (0..count).map(line).collect();
        read(&format!("{lines}tgi_queue_size 0")).running as usize
    };
    assert_eq!((many(9), many(1_000)), (9, SERIES_MAX));
}

/// Pieces that such pages are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("vllm:num_requests_running".to_owned()),
        Just("vllm:num_requests_waiting".to_owned()),
        Just("vllm:prefix_cache_queries_total".to_owned()),
        Just("tgi_queue_size".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("=".to_owned()),
        Just(",".to_owned()),
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("tp_rank".to_owned()),
        Just("é".to_owned()),
        any::<f64>().prop_map(|value| value.to_string()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_page_panics(page in any::<String>(), pieces in pieces()) {
        metrics(&page);
        metrics(&pieces);
        metrics(&format!("{VLLM}{pieces}"));
    }

    #[test]
    fn what_is_written_is_read(running: u32, waiting: u32, label in "[^\n]{0,20}") {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"");
        let page = format!(
            "vllm:num_requests_running{{model_name=\"{label}\"}} {running}\n\
             vllm:num_requests_waiting{{model_name=\"{label}\"}} {waiting}.0\n"
        );
        let it = read(&page);
        assert_eq!((it.running, it.waiting), (running, waiting));
    }
}
