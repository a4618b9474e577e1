//! The command line of `grapevine mock`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    AccessKey, EngineConfig, Knobs, Mock, MockConfig, MockError, MockProvider, RateLimit,
    StrictConfig, TokenFault, duration,
};

/// Run an OpenAI- and Anthropic-compatible upstream with fault knobs.
///
/// Durations carry a unit: 250ms, 1.5s, 2m. Every knob can be changed at run time: GET, PUT or PATCH /mock/knobs. GET
/// /mock/stats counts the outcomes of requests.
///
/// With --provider it refuses what that API refuses, and issues tokens under /mock/token. In every dialect, a last text
/// of the user with `call NAME {json}` makes it call the client's tool NAME.
#[derive(Debug, Clone, Args)]
pub struct MockArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Name of the mock: part of every answer and id
    #[arg(long, default_value = "mock")]
    pub name: String,
    /// Model to serve, may be repeated or separated by commas; * serves any [default: some of the provider]
    #[arg(long = "model", value_name = "MODEL", value_delimiter = ',')]
    pub models: Vec<String>,
    /// Key that clients must send, as bearer token or x-api-key [default: none is needed]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Whose API to stand for, as strictly as that [default: OpenAI's and Anthropic's, leniently]
    #[arg(long, value_enum, value_name = "PROVIDER")]
    pub provider: Option<MockProvider>,
    /// Deployment of Azure, may be repeated or separated by commas [default: one for each model]
    #[arg(long = "azure-deployments", value_name = "NAME", value_delimiter = ',')]
    pub azure_deployments: Vec<String>,
    /// Region of Bedrock: signatures for another are refused
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub aws_region: String,
    /// Key that may sign requests to Bedrock, may be repeated: ID:SECRET or ID:SECRET:SESSION_TOKEN
    #[arg(long = "access-key", value_name = "KEY")]
    pub access_keys: Vec<AccessKey>,
    /// File with the RSA key, PEM or a service account's JSON, that verifies the assertions of Google's service accounts
    #[arg(long, value_name = "FILE")]
    pub google_key: Option<PathBuf>,
    /// Client to which Entra's token endpoint issues tokens
    #[arg(
        long,
        value_name = "ID:SECRET",
        default_value = "mock-client:mock-secret"
    )]
    pub token_client: AccessKey,
    /// How long tokens of /mock/token are good (duration)
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub token_lifetime: Duration,
    /// Requests that the engine of a vLLM server runs at once; others wait [default: all run, and no prompt takes time]
    #[arg(long, value_name = "SLOTS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub engine_slots: Option<u32>,
    /// What the engine takes to read 1000 tokens that are not in its cache (duration)
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = duration::parse)]
    pub engine_prefill: Duration,
    /// Blocks of 16 tokens that the engine's cache of prefixes holds
    #[arg(long, value_name = "BLOCKS", default_value_t = 8_192)]
    pub engine_cache_blocks: u32,
    /// Seed of the draws behind jitter and the probabilities
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Time before the head of an answer or an injected error (duration)
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    pub latency: Duration,
    /// Added to the latency, drawn evenly from zero to this (duration)
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    pub jitter: Duration,
    /// Time between two chunks of a stream (duration)
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    pub chunk_interval: Duration,
    /// Words in an answer, each a chunk of a stream (1 to 10000)
    #[arg(long, default_value_t = 16)]
    pub chunks: u32,
    /// Share of requests answered with the error status (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub error_rate: f64,
    /// Status of an injected error (400 to 599)
    #[arg(long, value_name = "STATUS", default_value_t = 500)]
    pub error_status: u16,
    /// When to answer 429: off, always, or above a rate of requests per second such as 5/s
    #[arg(long, value_name = "LIMIT", default_value_t = RateLimit::Off)]
    pub rate_limit: RateLimit,
    /// Retry-After of injected 429, 503 and 529 (duration) [default: only 429, until the limit frees a slot]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub retry_after: Option<Duration>,
    /// Accept every request and never answer
    #[arg(long)]
    pub hang: bool,
    /// Share of requests that are accepted and never answered (0 to 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub hang_probability: f64,
    /// Break the connection after this many chunks of a stream, or at half of a JSON answer [default: off]
    #[arg(long, value_name = "CHUNKS")]
    pub cut_after_chunks: Option<u32>,
    /// End a stream cleanly after this many chunks, without a finish reason [default: off]
    #[arg(long, value_name = "CHUNKS")]
    pub clean_end_after_chunks: Option<u32>,
    /// Extra delay before the middle chunk of a stream (duration)
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    pub slow_chunk: Duration,
    /// Close the connection after a request, before any byte of the response
    #[arg(long)]
    pub refuse: bool,
    /// Let /v1/models fail too: by the fault that is set, else with the error status
    #[arg(long)]
    pub fail_models_probe: bool,
    /// Pad a JSON answer to exactly this size, a stream's text to about it (bytes; 0: no padding)
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub body_bytes: u32,
    /// End a stream with the provider's own error after this many chunks [default: off]
    #[arg(long, value_name = "CHUNKS")]
    pub stream_error_after_chunks: Option<u32>,
    /// How the token endpoints fail: off, error, down, nonsense or huge
    #[arg(long, value_name = "FAULT", default_value_t = TokenFault::Off)]
    pub token_fault: TokenFault,
    /// Time before the answer of a token endpoint (duration)
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = duration::parse)]
    pub token_latency: Duration,
    /// Emulate a dead server: close every connection at the head of its request
    #[arg(long)]
    pub down: bool,
}

impl MockArgs {
    /// The config that the flags describe. The key's file is read here.
    fn config(self) -> Result<MockConfig, MockError> {
        let args = self;
        let models = match (args.models.is_empty(), args.provider) {
            (false, _) => args.models,
            (true, Some(provider)) => provider.default_models(),
            (true, None) => super::default_models(),
        };
        let google_key = args.google_key.map(|path| {
            std::fs::read_to_string(&path).map_err(|source| MockError::GoogleKey { path, source })
        });
        Ok(MockConfig {
            listen: args.listen,
            name: args.name,
            models,
            api_key: args.api_key,
            seed: args.seed,
            knobs: Knobs {
                latency: args.latency,
                jitter: args.jitter,
                chunk_interval: args.chunk_interval,
                chunks: args.chunks,
                error_rate: args.error_rate,
                error_status: args.error_status,
                rate_limit: args.rate_limit,
                retry_after: args.retry_after,
                hang: args.hang,
                hang_probability: args.hang_probability,
                cut_after_chunks: args.cut_after_chunks,
                clean_end_after_chunks: args.clean_end_after_chunks,
                slow_chunk: args.slow_chunk,
                refuse: args.refuse,
                fail_models_probe: args.fail_models_probe,
                body_bytes: args.body_bytes,
                stream_error_after_chunks: args.stream_error_after_chunks,
                token_fault: args.token_fault,
                token_latency: args.token_latency,
                down: args.down,
            },
            provider: args.provider,
            strict: StrictConfig {
                azure_deployments: args.azure_deployments,
                aws_region: args.aws_region,
                access_keys: args.access_keys,
                google_key: google_key.transpose()?,
                token_client: args.token_client,
                token_lifetime: args.token_lifetime,
                engine: args.engine_slots.map(|slots| EngineConfig {
                    slots,
                    prefill: args.engine_prefill,
                    cache_blocks: args.engine_cache_blocks,
                }),
            },
        })
    }
}

/// Runs a mock until SIGINT or SIGTERM. Once it listens, one line with its base URL goes to standard output.
///
/// # Errors
/// When a flag has an invalid value, the address cannot be bound, or standard output is closed.
pub async fn run(args: MockArgs) -> Result<(), MockError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(MockError::Terminal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(MockError::Terminal)?;
    let mock = Mock::start(args.config()?).await?;
    let name = mock.stats().name;
    let mut out = std::io::stdout();
    writeln!(out, "mock {name} listening on {}", mock.base_url())
        .and_then(|()| out.flush())
        .map_err(MockError::Terminal)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    mock.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        mock: MockArgs,
    }

    fn config(flags: &[&str]) -> MockConfig {
        let words = std::iter::once("mock").chain(flags.iter().copied());
        Program::try_parse_from(words)
            .expect("valid flags")
            .mock
            .config()
            .expect("no file to read")
    }

    #[test]
    fn flags_without_values_are_the_default_knobs() {
        let config = config(&[]);
        assert_eq!(config.knobs, Knobs::default());
        assert_eq!(config.models, super::super::default_models());
    }

    #[test]
    fn every_flag_reaches_its_knob() {
        let flags = "--latency 1ms --jitter 2ms --chunk-interval 3ms --chunks 4 --error-rate 0.5 --error-status 503 \
            --rate-limit 6/s --retry-after 7s --hang --hang-probability 0.8 --cut-after-chunks 9 \
            --clean-end-after-chunks 10 --slow-chunk 11ms --refuse --fail-models-probe --body-bytes 12 --stream-error-after-chunks 13 \
            --token-fault nonsense --token-latency 14ms --down";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let expected = Knobs {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(2),
            chunk_interval: Duration::from_millis(3),
            chunks: 4,
            error_rate: 0.5,
            error_status: 503,
            rate_limit: RateLimit::PerSecond(6.0),
            retry_after: Some(Duration::from_secs(7)),
            hang: true,
            hang_probability: 0.8,
            cut_after_chunks: Some(9),
            clean_end_after_chunks: Some(10),
            slow_chunk: Duration::from_millis(11),
            refuse: true,
            fail_models_probe: true,
            body_bytes: 12,
            stream_error_after_chunks: Some(13),
            token_fault: TokenFault::Nonsense,
            token_latency: Duration::from_millis(14),
            down: true,
        };
        assert_eq!(config(&flags).knobs, expected);
    }

    #[test]
    fn flags_of_providers_reach_the_strict_config() {
        let flags = "--provider bedrock --azure-deployments a,b --aws-region eu-west-1 --access-key ID:S:T \
            --token-client c:d --token-lifetime 5s --engine-slots 8 --engine-prefill 50ms --engine-cache-blocks 64";
        let config = config(&flags.split_whitespace().collect::<Vec<_>>());
        let expected = StrictConfig {
            azure_deployments: vec!["a".to_owned(), "b".to_owned()],
            aws_region: "eu-west-1".to_owned(),
            access_keys: vec!["ID:S:T".parse().expect("a key")],
            google_key: None,
            token_client: "c:d".parse().expect("a key"),
            token_lifetime: Duration::from_secs(5),
            engine: Some(EngineConfig {
                slots: 8,
                prefill: Duration::from_millis(50),
                cache_blocks: 64,
            }),
        };
        assert_eq!(config.strict, expected);
        assert_eq!(config.models, MockProvider::Bedrock.default_models());
        assert!(Program::try_parse_from(["mock", "--access-key", "ID"]).is_err());
    }

    #[test]
    fn a_key_that_cannot_be_read_stops_the_start() {
        let words = ["mock", "--google-key", "/nowhere/key.pem"];
        let args = Program::try_parse_from(words).expect("valid flags").mock;
        assert!(matches!(args.config(), Err(MockError::GoogleKey { .. })));
    }

    #[test]
    fn models_may_be_repeated_or_separated_by_commas() {
        assert_eq!(
            config(&["--model", "a,b", "--model", "c"]).models,
            ["a", "b", "c"]
        );
    }

    #[test]
    fn a_duration_without_unit_is_refused() {
        assert!(Program::try_parse_from(["mock", "--latency", "250"]).is_err());
    }
}
