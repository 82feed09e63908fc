//! A frame: what is known at one time, laid out in columns. The terminal and the picture both draw it.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use crate::plan::PARTITIONS;

/// Columns of a frame.
pub const COLUMNS: usize = 98;
/// Columns of a topic's bar.
pub const BAR_COLUMNS: usize = 68;

/// Where what stands in a line.
mod column {
    pub(super) const SERVICE: usize = 4;
    pub(super) const LANGUAGE: usize = 14;
    pub(super) const READS: usize = 24;
    pub(super) const WRITES: usize = 56;
    /// Where numbers end.
    pub(super) const RECORDS_END: usize = 78;
    pub(super) const RATE_END: usize = 88;
    pub(super) const LAG_END: usize = 96;
    pub(super) const BAR: usize = 15;
}

/// What is known at one time.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Since the services were started.
    pub elapsed: Duration,
    /// How many orders there will be.
    pub orders: u64,
    /// The services, in the stream's order.
    pub rows: Vec<Row>,
    /// How many records each topic has, in the stream's order.
    pub topics: Vec<(String, u64)>,
    /// What was last noticed.
    pub news: String,
    /// Whether all is done and was found right.
    pub is_audited: bool,
}

/// A service.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub service: String,
    /// Its language.
    pub language: String,
    /// What it reads, and which of its members, from 0, has each partition.
    pub reads: Vec<(String, BTreeMap<i32, usize>)>,
    /// What it writes.
    pub writes: String,
    /// How many records it has handled; or written, if it reads none.
    pub records: u64,
    /// Of them in the last second; at the end, in a second of all.
    pub per_second: u64,
    /// How many it has not handled yet; `None` if it reads none.
    pub lag: Option<u64>,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// As text is.
    Plain,
    /// In the background.
    Dim,
    /// In the foreground.
    Bold,
    /// Of a service: the mark of its place in the stream.
    Service(usize),
    /// Of a group's member, by its number.
    Member(usize),
    /// A bar of a topic: of a service's colour.
    Bar(usize),
    /// What went well.
    Good,
}

/// A piece of text, or a bar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub column: usize,
    /// What stands there; of a bar, a full block for each column of it.
    pub text: String,
    /// How it looks.
    pub style: Style,
    /// Whether it is kept to the right: a number.
    pub is_number: bool,
}

/// Spans from left to right.
pub type Line = Vec<Span>;

/// Lays a scene out.
pub fn frame(scene: &Scene) -> Vec<Line> {
    let mut lines = vec![title(scene), Line::new(), heading()];
    lines.extend(scene.rows.iter().enumerate().map(|(at, row)| service(at, row)));
    lines.push(Line::new());
    for (topic, count) in &scene.topics {
        let writer = scene.rows.iter().position(|row| row.writes == *topic);
        lines.push(bar(topic, *count, scene.orders, writer.unwrap_or_default()));
    }
    lines.push(Line::new());
    let (mark, style) = if scene.is_audited { ("✓", Style::Good) } else { ("·", Style::Dim) };
    lines.push(vec![left(2, mark, style), left(column::SERVICE, &scene.news, style)]);
    lines
}

fn title(scene: &Scene) -> Line {
    let languages: std::collections::BTreeSet<&str> =
        scene.rows.iter().map(|row| row.language.as_str()).collect();
    vec![
        left(2, "one bus", Style::Bold),
        left(
            11,
            &format!("{} services in {} languages, one broker", scene.rows.len(), languages.len()),
            Style::Dim,
        ),
        right(column::LAG_END, &format!("{:.1} s", scene.elapsed.as_secs_f64()), Style::Dim),
    ]
}

fn heading() -> Line {
    vec![
        left(column::SERVICE, "service", Style::Dim),
        left(column::LANGUAGE, "language", Style::Dim),
        left(column::READS, "reads · member per partition", Style::Dim),
        left(column::WRITES, "writes", Style::Dim),
        right(column::RECORDS_END, "records", Style::Dim),
        right(column::RATE_END, "per s", Style::Dim),
        right(column::LAG_END, "lag", Style::Dim),
    ]
}

fn service(at: usize, row: &Row) -> Line {
    let mut line = vec![
        left(2, "●", Style::Service(at)),
        left(column::SERVICE, &row.service, Style::Bold),
        left(column::LANGUAGE, &row.language, Style::Service(at)),
    ];
    let mut column = column::READS;
    for (topic, owners) in &row.reads {
        line.push(left(column, topic, Style::Plain));
        column += topic.len() + 1;
        for partition in 0..PARTITIONS {
            line.push(match owners.get(&partition) {
                Some(&member) => left(column, &(member + 1).to_string(), Style::Member(member)),
                None => left(column, "·", Style::Dim),
            });
            column += 1;
        }
        column += 2;
    }
    line.push(left(column::WRITES, &format!("→ {}", row.writes), Style::Plain));
    line.push(right(column::RECORDS_END, &grouped(row.records), Style::Bold));
    line.push(right(column::RATE_END, &grouped(row.per_second), Style::Plain));
    if let Some(lag) = row.lag {
        line.push(right(column::LAG_END, &grouped(lag), if lag == 0 { Style::Dim } else { Style::Plain }));
    }
    line
}

fn bar(topic: &str, count: u64, orders: u64, writer: usize) -> Line {
    let share = count as f64 / orders.max(1) as f64;
    // Something of whatever is there.
    let filled = ((share * BAR_COLUMNS as f64) as usize).clamp(usize::from(count > 0), BAR_COLUMNS);
    vec![
        left(column::SERVICE, topic, Style::Plain),
        left(column::BAR, &"█".repeat(filled), Style::Bar(writer)),
        right(column::LAG_END, &grouped(count), Style::Bold),
    ]
}

fn left(column: usize, text: &str, style: Style) -> Span {
    Span { column, text: text.to_owned(), style, is_number: false }
}

fn right(end: usize, text: &str, style: Style) -> Span {
    Span { is_number: true, ..left(end.saturating_sub(text.chars().count()), text, style) }
}

/// `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A terminal on which one frame is drawn over the other, or a log that gets a line a second.
pub struct Screen<W> {
    out: W,
    is_terminal: bool,
    drawn_lines: usize,
}

impl<W: Write> Screen<W> {
    /// Draws to `out`.
    pub fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, drawn_lines: 0 }
    }

    /// How often there is something new to be seen.
    pub fn interval(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(1) }
    }

    /// Draws a frame: over the one before, or as one line.
    pub fn draw(&mut self, scene: &Scene) -> io::Result<()> {
        if !self.is_terminal {
            return writeln!(self.out, "{}", in_a_line(scene));
        }
        let lines = frame(scene);
        let mut text = String::new();
        if self.drawn_lines > 0 {
            text += &format!("\x1b[{}A", self.drawn_lines);
        }
        // A narrow terminal cuts lines off; wrapped ones would be more than those that are drawn over.
        text += "\x1b[?7l";
        for line in &lines {
            text += &ansi(line);
            text += "\x1b[K\n";
        }
        text += "\x1b[?7h";
        self.drawn_lines = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The whole frame, once, where it is not on the screen already.
    pub fn conclude(&mut self, scene: &Scene) -> io::Result<()> {
        if self.is_terminal {
            return self.draw(scene);
        }
        for line in frame(scene) {
            writeln!(self.out, "{}", plain(&line))?;
        }
        Ok(())
    }
}

/// `4.0 s  readings 20,000  orders 40,000  ...  lag 120`
fn in_a_line(scene: &Scene) -> String {
    let topics = scene.topics.iter().map(|(topic, count)| format!("  {topic} {}", grouped(*count)));
    let lag: u64 = scene.rows.iter().filter_map(|row| row.lag).sum();
    let topics: String = topics.collect();
    format!("{:5.1} s{topics}  lag {}", scene.elapsed.as_secs_f64(), grouped(lag))
}

fn plain(line: &[Span]) -> String {
    spread(line, |span| span.text.clone())
}

fn ansi(line: &[Span]) -> String {
    spread(line, |span| {
        let code = match span.style {
            Style::Plain => return span.text.clone(),
            Style::Dim => "2".to_owned(),
            Style::Bold => "1".to_owned(),
            Style::Service(at) | Style::Bar(at) => {
                format!("38;5;{}", SERVICE_COLOURS[at % SERVICE_COLOURS.len()])
            }
            Style::Member(at) => format!("1;38;5;{}", MEMBER_COLOURS[at % MEMBER_COLOURS.len()]),
            Style::Good => "1;32".to_owned(),
        };
        format!("\x1b[{code}m{}\x1b[0m", span.text)
    })
}

/// Of the 256 that terminals have.
const SERVICE_COLOURS: [u8; 8] = [75, 78, 220, 209, 141, 173, 203, 105];
const MEMBER_COLOURS: [u8; 4] = [80, 215, 176, 150];

fn spread(line: &[Span], draw: impl Fn(&Span) -> String) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for span in line {
        text += &" ".repeat(span.column.saturating_sub(column));
        text += &draw(span);
        column = span.column.max(column) + span.text.chars().count();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let pricing = Row {
            service: "pricing".into(),
            language: "Python".into(),
            reads: vec![("orders".into(), [(0, 0), (1, 0), (2, 1)].into())],
            writes: "priced".into(),
            records: 1_234_567,
            per_second: 9_990,
            lag: Some(12),
        };
        let topics = vec![("orders".into(), 2_000_000), ("priced".into(), 1_000_000)];
        Scene {
            orders: 2_000_000,
            rows: vec![pricing],
            topics,
            news: "pricing works".into(),
            ..Scene::default()
        }
    }

    #[test]
    fn a_row_tells_who_has_which_partition() {
        let line = plain(&frame(&scene())[3]);
        assert_eq!(
            line,
            "  ● pricing   Python    orders 112·                     → priced     1,234,567     9,990      12"
        );
    }

    #[test]
    fn a_bar_is_as_long_as_its_topics_share_of_the_orders() {
        let lines = frame(&scene());
        let lengths: Vec<usize> = (5..7).map(|at| plain(&lines[at]).matches('█').count()).collect();
        assert_eq!(lengths, [BAR_COLUMNS, BAR_COLUMNS / 2]);
    }

    #[test]
    fn nothing_reaches_beyond_a_frame_or_over_what_is_beside_it() {
        let mut scene = scene();
        scene.rows[0].reads =
            vec![("readings".into(), BTreeMap::new()), ("shipments".into(), BTreeMap::new())];
        scene.rows[0].lag = Some(99_999);
        for line in frame(&scene) {
            let mut end = 0;
            for span in &line {
                assert!(span.column >= end, "{}", plain(&line));
                end = span.column + span.text.chars().count();
            }
            assert!(end <= COLUMNS, "{}", plain(&line));
        }
    }

    #[test]
    fn a_terminal_is_drawn_over_and_a_log_gets_lines() {
        let mut drawn = Vec::new();
        let mut screen = Screen::new(&mut drawn, true);
        screen.draw(&scene()).expect("memory takes it");
        screen.draw(&scene()).expect("memory takes it");
        assert!(String::from_utf8_lossy(&drawn).contains("\x1b[9A"));
        let mut drawn = Vec::new();
        Screen::new(&mut drawn, false).draw(&scene()).expect("memory takes it");
        let text = String::from_utf8_lossy(&drawn);
        assert_eq!(text, "  0.0 s  orders 2,000,000  priced 1,000,000  lag 12\n");
    }
}
