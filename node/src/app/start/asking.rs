//! What the node asks its upstreams of itself: whether they work, and what load they report.

use grapevine_base::driver::{DriverHandle, ProbeOrder};
use grapevine_core::ids::UpstreamName;
use grapevine_http::upstream::UpstreamClient;
use grapevine_http::{load_reader, prober};
use tokio::sync::mpsc;

/// Carries out what core asks for, until the driver has ended.
pub(super) async fn run(
    driver: DriverHandle,
    targets: prober::ProbeTargets,
    client: UpstreamClient,
    (probes, loads): (mpsc::Receiver<ProbeOrder>, mpsc::Receiver<UpstreamName>),
) {
    let prober = prober::run(driver.clone(), targets, client.clone(), probes);
    tokio::join!(prober, load_reader::run(driver, client, loads));
}
