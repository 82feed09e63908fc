//! What came of it: lines of JSON for programs, Markdown tables for readers.

use std::{fmt::Write, time::Duration};

use super::{
    Case,
    load::{Client, CodecCost},
};

const MIB: f64 = 1024.0 * 1024.0;

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) wall_s: f64,
    pub(super) client_cpu_s: f64,
    pub(super) broker_cpu_s: f64,
    pub(super) broker_rss_bytes: u64,
    /// By the thread that sends, for each record; where the client's language can tell.
    pub(super) allocated_bytes: Option<u64>,
}

impl Figures {
    pub(super) fn broker_cpu_per_million(&self) -> f64 {
        self.per_million(self.broker_cpu_s)
    }

    pub(super) fn client_cpu_per_million(&self) -> f64 {
        self.per_million(self.client_cpu_s)
    }

    fn records_per_s(&self) -> f64 {
        self.records as f64 / self.wall_s
    }

    fn per_million(&self, cpu_s: f64) -> f64 {
        cpu_s / self.records as f64 * 1e6
    }
}

/// One measurement of one broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) broker: &'static str,
    pub(super) client: Client,
    pub(super) verb: &'static str,
    pub(super) case: Case,
    pub(super) run: u32,
    pub(super) figures: Figures,
}

impl Sample {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "broker": self.broker,
            "client": self.client.name(),
            "verb": self.verb,
            "value_bytes": self.case.value_bytes,
            "codec": self.case.codec.name(),
            "run": self.run,
            "records": self.figures.records,
            "wall_s": self.figures.wall_s,
            "client_cpu_s": self.figures.client_cpu_s,
            "broker_cpu_s": self.figures.broker_cpu_s,
            "broker_rss_bytes": self.figures.broker_rss_bytes,
            "allocated_bytes": self.figures.allocated_bytes,
        })
    }
}

/// A broker that was started and left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) broker: &'static str,
    pub(super) ready: Duration,
    pub(super) rss_bytes: u64,
    /// CPU time over time.
    pub(super) cpu_share: f64,
}

/// The tables: brokers side by side, a line for each case.
pub(super) fn tables(
    brokers: &[&str],
    clients: &[Client],
    idle: &[Idle],
    samples: &[Sample],
    runs: u32,
) -> String {
    let mut out = String::new();
    line(
        &mut out,
        ["broker", "ready after (ms)", "RSS idle (MiB)", "CPU idle (% of a core)", "RSS at most (MiB)"],
    );
    line(&mut out, ["---"; 5]);
    for idle in idle {
        let most =
            samples.iter().filter(|s| s.broker == idle.broker).map(|s| s.figures.broker_rss_bytes).max();
        line(
            &mut out,
            [
                idle.broker.to_owned(),
                idle.ready.as_millis().to_string(),
                format!("{:.1}", idle.rss_bytes as f64 / MIB),
                format!("{:.2}", idle.cpu_share * 100.0),
                format!("{:.1}", most.unwrap_or(idle.rss_bytes) as f64 / MIB),
            ],
        );
    }
    let _ = writeln!(out, "\nMedian of {runs}; CPU-s/M: CPU-seconds per million records.\n");
    let mut head = ["client", "verb", "bytes", "codec"].map(str::to_owned).to_vec();
    for what in ["broker CPU-s/M", "client CPU-s/M", "k records/s"] {
        head.extend(brokers.iter().map(|broker| format!("{broker}: {what}")));
    }
    let columns = head.len();
    line(&mut out, head);
    line(&mut out, vec!["---"; columns]);
    let mut rows: Vec<(Client, &str, Case)> = Vec::new();
    for sample in samples {
        let row = (sample.client, sample.verb, sample.case);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    // Client by client, writing first, then reading; else as they were taken.
    rows.sort_by_key(|(client, verb, _)| (clients.iter().position(|c| c == client), *verb != "produce"));
    for (client, verb, case) in rows {
        let mut cells = [client.name(), verb, &case.value_bytes.to_string(), case.codec.name()]
            .map(str::to_owned)
            .to_vec();
        let mut column = |value: fn(&Figures) -> f64, digits: usize| {
            for broker in brokers {
                let of_cell =
                    |s: &&Sample| (s.broker, s.client, s.verb, s.case) == (*broker, client, verb, case);
                let values = samples.iter().filter(of_cell).map(|s| value(&s.figures)).collect();
                cells.push(median(values).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}")));
            }
        };
        column(Figures::broker_cpu_per_million, 3);
        column(Figures::client_cpu_per_million, 3);
        column(|figures| figures.records_per_s() / 1000.0, 0);
        line(&mut out, cells);
    }
    out
}

/// What the codecs take by themselves: the part of a client's time that no client of these codecs is rid of.
pub(super) fn codecs(costs: &[CodecCost]) -> String {
    let mut out = String::new();
    if costs.is_empty() {
        return out;
    }
    line(&mut out, ["codec alone", "bytes", "compress CPU-s/M", "inflate CPU-s/M", "ratio"]);
    line(&mut out, ["---"; 5]);
    for cost in costs {
        line(
            &mut out,
            [
                cost.codec.name().to_owned(),
                cost.value_bytes.to_string(),
                format!("{:.3}", cost.compress_s),
                format!("{:.3}", cost.inflate_s),
                format!("{:.2}", cost.ratio),
            ],
        );
    }
    out
}

/// The middle one; of two, their mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

fn line<C: AsRef<str>>(out: &mut String, cells: impl IntoIterator<Item = C>) {
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {} |", cell.as_ref());
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Codec;

    fn sample(broker: &'static str, verb: &'static str, run: u32, broker_cpu_s: f64) -> Sample {
        let case = Case { value_bytes: 100, codec: Codec::Lz4 };
        let figures = Figures {
            records: 2_000_000,
            wall_s: 0.5,
            client_cpu_s: 1.0,
            broker_cpu_s,
            broker_rss_bytes: 3 << 20,
        };
        Sample { broker, client: Client::FranzGo, verb, case, run, figures }
    }

    #[test]
    fn a_line_of_the_table_holds_the_medians_of_its_case() {
        let samples = [
            sample("a", "consume", 1, 0.3),
            sample("a", "produce", 1, 0.9),
            sample("a", "produce", 2, 0.2),
            sample("a", "produce", 3, 0.4),
            sample("b", "produce", 1, 0.6),
            sample("b", "produce", 2, 0.8),
        ];
        let idle =
            Idle { broker: "a", ready: Duration::from_millis(12), rss_bytes: 1 << 20, cpu_share: 0.001 };
        let text = tables(&["a", "b"], &[Client::FranzGo], &[idle], &samples, 3);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "| a | 12 | 1.0 | 0.10 | 3.0 |");
        let cases: Vec<&&str> = lines.iter().filter(|l| l.contains("lz4")).collect();
        assert_eq!(
            *cases[0],
            "| franz-go | produce | 100 | lz4 | 0.200 | 0.350 | 0.500 | 0.500 | 4000 | 4000 |"
        );
        assert_eq!(*cases[1], "| franz-go | consume | 100 | lz4 | 0.150 | - | 0.500 | - | 4000 | - |");
    }
}
