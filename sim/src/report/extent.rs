//! How much is measured, and which part of it.

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// How transitions spread
    Spread,
    /// How soon crashes are detected, and false alarms
    Deaths,
    /// How requests ended in every scenario
    Requests,
    /// What meshes cost
    Cost,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct What {
    /// Only this part
    #[arg(long)]
    pub(crate) only: Option<Section>,
    /// Only meshes of A to B nodes
    #[arg(long, value_parser = crate::cli::range)]
    pub(crate) nodes: Option<(u64, u64)>,
    /// Smaller meshes and fewer seeds, to try the report itself
    #[arg(long)]
    pub(crate) quick: bool,
}

/// How much is measured.
pub(super) struct Extent {
    pub(super) sizes: &'static [usize],
    pub(super) transitions: usize,
    pub(super) kills: usize,
    pub(super) quiet_seconds: u64,
    pub(super) seeds: u64,
    pub(super) seconds: u64,
}

pub(super) const WHOLE: Extent = Extent {
    sizes: &[10, 30, 100, 300, 1_000],
    transitions: 8,
    kills: 3,
    quiet_seconds: 14_400,
    seeds: 4,
    seconds: 60,
};

pub(super) const QUICK: Extent = Extent {
    sizes: &[10, 30],
    transitions: 4,
    kills: 2,
    quiet_seconds: 60,
    seeds: 1,
    seconds: 20,
};
