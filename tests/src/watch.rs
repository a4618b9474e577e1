//! Looking at several nodes' `/mesh` at the same time, to learn when each first showed something.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{http, try_get};
use crate::node::Node;
use crate::view::MeshView;
use crate::wait::{must, within};

/// The rest between two looks at one node: the error of what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A look at every node, again and again, until each has shown what is wanted.
#[derive(Debug)]
pub struct Watch {
    looks: JoinSet<(String, Instant)>,
}

impl Watch {
    /// Begins to look. Start it before what is to be seen, so that its connections are open by then.
    pub fn start<'a>(
        nodes: impl IntoIterator<Item = &'a Node>,
        wanted: impl Fn(&MeshView) -> bool + Clone + Send + Sync + 'static,
    ) -> Self {
        let mut looks = JoinSet::new();
        for node in nodes {
            let url = format!("http://{}/mesh", node.addresses().admin);
            let (name, wanted) = (node.name().to_string(), wanted.clone());
            looks.spawn(async move { (name, first_shown(&url, &wanted).await) });
        }
        Self { looks }
    }

    /// When each node first showed what is wanted, from `start`; the last one last.
    ///
    /// # Panics
    ///
    /// When a node does not show it within `limit`, or does not answer.
    pub async fn finish(mut self, start: Instant, limit: Duration) -> Vec<(String, Duration)> {
        let mut seen = Vec::new();
        while !self.looks.is_empty() {
            let what = format!("what is watched for; seen by {seen:?} so far");
            if let Some(look) = within(&what, limit, self.looks.join_next()).await {
                let (name, at) = must("a look", look);
                seen.push((name, at.saturating_duration_since(start)));
            }
        }
        seen.sort_by_key(|(_, after)| *after);
        seen
    }
}

async fn first_shown(url: &str, wanted: &impl Fn(&MeshView) -> bool) -> Instant {
    let client = http();
    loop {
        let page = must(url, try_get(&client, url).await);
        if wanted(&MeshView(page.json())) {
            return Instant::now();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
