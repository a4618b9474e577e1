//! What a mesh costs, by its size.

use std::io::{self, Write};

use super::{Report, figures};

impl<W: Write> Report<'_, W> {
    /// The section on cost, which comes last.
    pub(super) fn cost(&mut self) -> io::Result<String> {
        let span = self.extent.seconds;
        let mut text = format!(
            "\n## What a mesh costs\n\nEvery node has one upstream and a tenth of a request per second, for {span} simulated seconds from a cold start. Bytes are those that a node sends; the other ones are rumors, pings, request heads, handshakes above 65 nodes, and keep-alives while not every packet arrives. Links are those at the end; one that is opened again before its handshake has paid for itself was closed too soon. CPU is of one core of the machine that wrote this.\n\n\
             | nodes | gossip B/s per node | other B/s per node | requests | simulated in CPU s | CPU ms per node and simulated second | peak memory | links per node | opened per node and minute | of them too soon |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        );
        for nodes in &self.sizes.clone() {
            self.progress(&format!("cost of {nodes} nodes"))?;
            let it = figures::cost(*nodes, span);
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let cpu = or_dash(it.cpu.map(|cpu| format!("{cpu:.1}")));
            let node_seconds = *nodes as f64 * it.seconds as f64;
            let own = it.cpu.map(|cpu| cpu * 1_000.0 / node_seconds);
            let own = or_dash(own.map(|own| format!("{own:.2}")));
            let memory = or_dash(it.memory_mib.map(|mib| format!("{mib} MiB")));
            let row = format!(
                "\n| {nodes} | {:.0} | {:.0} | {} | {cpu} | {own} | {memory} | {:.0} | {:.1} | {:.1} |",
                it.gossip, it.other, it.requests, it.links, it.opened, it.reopened
            );
            self.progress(row.trim())?;
            text.push_str(&row);
        }
        Ok(text)
    }
}
