//! What engines write on their metrics pages, in Prometheus' text format 0.0.4.
//!
//! | engine | runs | waits | cache in use | ended | read into the cache |
//! | --- | --- | --- | --- | --- | --- |
//! | vLLM | `vllm:num_requests_running` | `vllm:num_requests_waiting` | `vllm:kv_cache_usage_perc`, before 0.10 `vllm:gpu_cache_usage_perc` | `vllm:request_success_total` | `vllm:request_prefill_time_seconds_sum`; `vllm:prefix_cache_queries_total` less `_hits_total`, in tokens |
//! | SGLang | `sglang:num_running_reqs` | `sglang:num_queue_reqs` | `sglang:token_usage` | `sglang:num_requests_total` | |
//! | TGI | `tgi_batch_current_size` | `tgi_queue_size` | | `tgi_request_success` | |
//! | llama.cpp | `llamacpp:requests_processing` | `llamacpp:requests_deferred` | `llamacpp:kv_cache_usage_ratio`, in earlier versions | | `llamacpp:prompt_seconds_total`, `llamacpp:prompt_tokens_total` |
//!
//! Sources: vLLM's `v1/metrics/loggers.py` and its page on production metrics; SGLang's `metrics_collector.py` and its page
//! on production metrics; TGI's reference of metrics; the README of llama.cpp's server.
//!
//! Engines behind one address (vLLM's `engine`, SGLang's `dp_rank`, several models) add up, and of their caches the
//! fullest counts. Ranks that run one model together (`tp_rank`, `pp_rank`, `moe_ep_rank`) report the same requests: the
//! largest of them counts. SGLang's series by `priority` are parts of the one without.
//!
//! What cannot be read is skipped, line by line: a page holds hundreds of other metrics.

use grapevine_core::reported::{EngineMetrics, Prefill};
use grapevine_core::units::Share;

/// Series of one metric that are read: engines and models behind one address.
const SERIES_MAX: usize = 256;

/// Labels of ranks that run one model together.
const RANKS: [&str; 3] = ["tp_rank", "pp_rank", "moe_ep_rank"];

/// A figure that is summed over series.
#[derive(Default)]
struct Sum {
    /// The largest value by the labels that tell engines apart.
    series: Vec<(String, f64)>,
}

#[derive(Default)]
struct Figures {
    running: Sum,
    waiting: Sum,
    usage: Sum,
    ended: Sum,
    prefill_seconds: Sum,
    prefill_tokens: Sum,
    cache_queries: Sum,
    cache_hits: Sum,
}

/// The figures of a page; `None` where it does not say what runs and what waits.
pub(super) fn metrics(page: &str) -> Option<EngineMetrics> {
    let mut figures = Figures::default();
    for line in page.lines() {
        let Some(sample) = Sample::parse(line) else {
            continue;
        };
        if let Some(sum) = figures.of(sample.name) {
            sum.add(&sample);
        }
    }
    figures.metrics()
}

impl Figures {
    fn of(&mut self, name: &str) -> Option<&mut Sum> {
        Some(match name {
            "vllm:num_requests_running"
            | "sglang:num_running_reqs"
            | "tgi_batch_current_size"
            | "llamacpp:requests_processing" => &mut self.running,
            "vllm:num_requests_waiting"
            | "sglang:num_queue_reqs"
            | "tgi_queue_size"
            | "llamacpp:requests_deferred" => &mut self.waiting,
            "vllm:kv_cache_usage_perc"
            | "vllm:gpu_cache_usage_perc"
            | "sglang:token_usage"
            | "llamacpp:kv_cache_usage_ratio" => &mut self.usage,
            "vllm:request_success_total" | "sglang:num_requests_total" | "tgi_request_success" => {
                &mut self.ended
            }
            "vllm:request_prefill_time_seconds_sum" | "llamacpp:prompt_seconds_total" => {
                &mut self.prefill_seconds
            }
            "llamacpp:prompt_tokens_total" => &mut self.prefill_tokens,
            "vllm:prefix_cache_queries_total" => &mut self.cache_queries,
            "vllm:prefix_cache_hits_total" => &mut self.cache_hits,
            _ => return None,
        })
    }

    fn metrics(&self) -> Option<EngineMetrics> {
        let (running, waiting) = (self.running.total()?, self.waiting.total()?);
        let missed = self.cache_queries.total().map(|queries| {
            let hits = self.cache_hits.total().unwrap_or_default();
            (queries - hits).max(0.0)
        });
        let tokens = self.prefill_tokens.total().or(missed);
        // Casts from floats saturate.
        let prefill = self.prefill_seconds.total().zip(tokens);
        Some(EngineMetrics {
            running: running as u32,
            waiting: waiting as u32,
            cache_usage: self.usage.most().map(Share::clamped),
            ended: self.ended.total().map(|ended| ended as u64),
            prefill: prefill.map(|(seconds, tokens)| Prefill {
                seconds,
                tokens: tokens as u64,
            }),
        })
    }
}

impl Sum {
    fn add(&mut self, sample: &Sample<'_>) {
        let mut engine = String::new();
        for (name, value) in labels(sample.labels) {
            if name == "priority" && !value.is_empty() {
                return;
            }
            if !RANKS.contains(&name) {
                engine.extend([name, "=", value, ","]);
            }
        }
        let has_room = self.series.len() < SERIES_MAX;
        match self.series.iter_mut().find(|(known, _)| *known == engine) {
            Some((_, value)) => *value = value.max(sample.value),
            None if has_room => self.series.push((engine, sample.value)),
            None => {}
        }
    }

    fn total(&self) -> Option<f64> {
        let values = self.series.iter().map(|(_, value)| value);
        (!self.series.is_empty()).then(|| values.sum())
    }

    fn most(&self) -> Option<f64> {
        let values = self.series.iter().map(|(_, value)| *value);
        values.reduce(f64::max)
    }
}

/// One line: a metric, the text of its labels, and its value, finite and at least zero.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    /// `None` of comments, and of what is no sample.
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let end = line.find(|it: char| it == '{' || it.is_whitespace())?;
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => {
                let end = labels_end(rest)?;
                (&rest[..end], &rest[end + 1..])
            }
            None => ("", rest),
        };
        // A timestamp may follow.
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        let is_usable = !name.starts_with('#') && value.is_finite() && value >= 0.0;
        is_usable.then_some(Self {
            name,
            labels,
            value,
        })
    }
}

/// Where the brace stands that ends the labels: none within a quoted value.
fn labels_end(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(index),
            _ => {}
        }
    }
    None
}

/// The labels with their values as they are written, escapes and all.
fn labels(mut text: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, rest) = text.split_once('=')?;
        let rest = rest.trim_start().strip_prefix('"')?;
        let mut is_escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        text = &rest[end + 1..];
        let name = name.trim_matches(|it: char| it == ',' || it.is_whitespace());
        Some((name, &rest[..end]))
    })
}

#[cfg(test)]
mod tests;
