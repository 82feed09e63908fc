//! The frames of a run as one animated picture: SVG by itself, without scripts or fonts of its own, on a background of its own.

use std::{collections::BTreeMap, fmt::Write, ops::Range, time::Duration};

use crate::view::{COLUMNS, Line, Span, Style};

/// Most frames of a picture; with more, every other one is left out.
const FRAMES_MAX: usize = 40;
/// How long the last frame stays.
const LAST_FRAME: Duration = Duration::from_secs(5);

/// Of a column, in pixels.
const COLUMN_WIDTH: f64 = 8.2;
/// Of a line, in pixels.
const LINE_HEIGHT: f64 = 22.0;
/// Around everything, in pixels.
const MARGIN: f64 = 18.0;
/// Of the bar above everything, in pixels.
const TITLE_HEIGHT: f64 = 36.0;
/// Of a bar, in pixels.
const BAR_HEIGHT: f64 = 10.0;

/// A service's, in the order of the stream; and a member's.
const SERVICE_COLOURS: [&str; 8] =
    ["#58a6ff", "#7ee787", "#f2cc60", "#ffa657", "#bc8cff", "#f78166", "#ff7b9c", "#a5b4fc"];
const MEMBER_COLOURS: [&str; 4] = ["#56d4dd", "#ffb86b", "#d2a8ff", "#aff5b4"];

/// Draws the frames, `interval` after each other, again and again. Who wants no motion sees the last one.
pub fn svg(frames: &[Vec<Line>], interval: Duration) -> String {
    let (frames, interval) = thinned(frames, interval);
    let lines = frames.iter().map(|frame| frame.len()).max().unwrap_or_default();
    let width = COLUMNS as f64 * COLUMN_WIDTH + 2.0 * MARGIN;
    let height = TITLE_HEIGHT + lines as f64 * LINE_HEIGHT + 2.0 * MARGIN;
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\" aria-label=\"An order stream through services in eight languages, live, with its audit\">\n<style>{}</style>\n",
        style(&frames, interval)
    );
    let _ = write!(
        svg,
        "<rect x=\".5\" y=\".5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"10\" fill=\"#0d1117\" stroke=\"#3d444d\"/>\n\
         <path d=\"M.5 {TITLE_HEIGHT}H{:.1}\" stroke=\"#3d444d\"/>\n",
        width - 1.0,
        height - 1.0,
        width - 0.5,
    );
    for (at, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let x = 20.0 + 20.0 * at as f64;
        let _ =
            writeln!(svg, "<circle cx=\"{x}\" cy=\"{:.0}\" r=\"6\" fill=\"{colour}\"/>", TITLE_HEIGHT / 2.0);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" class=\"d\" text-anchor=\"middle\">cargo xtask demo</text>",
        width / 2.0,
        TITLE_HEIGHT / 2.0 + 5.0
    );
    for (at, line) in frames.last().into_iter().flat_map(|frame| frame.iter().enumerate()) {
        if let Some(bar) = line.iter().find(|span| matches!(span.style, Style::Bar(_))) {
            track(&mut svg, at, bar.column);
        }
    }
    for (shown, drawn) in appearances(&frames) {
        let _ = match shown {
            Range { start: 0, end } if end == frames.len() => write!(svg, "{drawn}"),
            Range { start, end } => {
                let class = if end == frames.len() { "l" } else { "f" };
                write!(svg, "<g class=\"{class}\" style=\"animation-name:k{start}-{end}\">\n{drawn}</g>\n")
            }
        };
    }
    svg + "</svg>\n"
}

/// What is drawn in which run of frames: whatever stays from one frame to the next is drawn once for both.
fn appearances(frames: &[&Vec<Line>]) -> Vec<(Range<usize>, String)> {
    let mut all: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for (start, frame) in frames.iter().enumerate() {
        for (at, line) in frame.iter().enumerate() {
            for span in line {
                let is_in = |frame: &&&Vec<Line>| frame.get(at).is_some_and(|line| line.contains(span));
                if start > 0 && is_in(&&frames[start - 1]) {
                    continue;
                }
                let end = start + frames[start..].iter().take_while(is_in).count();
                draw(all.entry((start, end)).or_default(), at, span);
            }
        }
    }
    all.into_iter().map(|((start, end), drawn)| (start..end, drawn)).collect()
}

/// Fewer frames, which follow each other more slowly.
fn thinned(frames: &[Vec<Line>], mut interval: Duration) -> (Vec<&Vec<Line>>, Duration) {
    let mut frames: Vec<&Vec<Line>> = frames.iter().collect();
    while frames.len() > FRAMES_MAX {
        // Never the last one.
        let from = (frames.len() - 1) % 2;
        frames = frames.into_iter().skip(from).step_by(2).collect();
        interval *= 2;
    }
    (frames, interval)
}

fn style(frames: &[&Vec<Line>], interval: Duration) -> String {
    let until = |frame: usize| interval.as_secs_f64() * frame as f64;
    let all = until(frames.len().saturating_sub(1)) + LAST_FRAME.as_secs_f64();
    let mut style = format!(
        "text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;fill:#c9d1d9;white-space:pre}}\
         .d{{fill:#848d97}}.b{{fill:#f0f6fc;font-weight:600}}.g{{fill:#3fb950;font-weight:600}}.e{{text-anchor:end}}.m{{text-anchor:middle;font-weight:600}}\
         .f{{visibility:hidden}}.f,.l{{animation:{all:.2}s step-end infinite}}\
         @media(prefers-reduced-motion:reduce){{.f,.l{{animation:none}}}}\n"
    );
    for (shown, _) in appearances(frames) {
        let percent = |frame: usize| until(frame) / all * 100.0;
        let (start, end) = (shown.start, shown.end);
        if start == 0 && end == frames.len() {
            continue;
        }
        let _ = write!(style, "@keyframes k{start}-{end}{{");
        if start > 0 {
            style += "0%{visibility:hidden}";
        }
        let _ = write!(style, "{:.2}%{{visibility:visible}}", percent(start));
        if end < frames.len() {
            let _ = write!(style, "{:.2}%{{visibility:hidden}}", percent(end));
        }
        style += "}\n";
    }
    style
}

fn x(column: usize) -> f64 {
    MARGIN + column as f64 * COLUMN_WIDTH
}

fn base_line(line: usize) -> f64 {
    TITLE_HEIGHT + MARGIN + line as f64 * LINE_HEIGHT + 15.0
}

/// What a full bar would fill.
fn track(svg: &mut String, line: usize, column: usize) {
    bar(svg, line, column, crate::view::BAR_COLUMNS, "#21262d");
}

fn bar(svg: &mut String, line: usize, column: usize, columns: usize, colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" rx=\"4\" fill=\"{colour}\"/>",
        x(column),
        base_line(line) - BAR_HEIGHT,
        columns as f64 * COLUMN_WIDTH,
    );
}

fn draw(svg: &mut String, line: usize, span: &Span) {
    let columns = span.text.chars().count();
    let y = base_line(line);
    if columns == 0 {
        return;
    }
    let (class, fill) = match span.style {
        Style::Bar(of) => {
            return bar(svg, line, span.column, columns, SERVICE_COLOURS[of % SERVICE_COLOURS.len()]);
        }
        Style::Member(member) => {
            let colour = MEMBER_COLOURS[member % MEMBER_COLOURS.len()];
            let middle = x(span.column) + COLUMN_WIDTH / 2.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"15\" rx=\"2\" fill=\"{colour}\" opacity=\".22\"/>\
                 <text x=\"{middle:.1}\" y=\"{y}\" class=\"m\" style=\"fill:{colour}\">{}</text>",
                x(span.column) + 0.5,
                y - 11.5,
                COLUMN_WIDTH - 1.0,
                span.text,
            );
            return;
        }
        Style::Plain => ("", ""),
        Style::Dim => ("d", ""),
        Style::Bold => ("b", ""),
        Style::Good => ("g", ""),
        Style::Service(of) => ("", SERVICE_COLOURS[of % SERVICE_COLOURS.len()]),
    };
    // Fonts differ in their widths: numbers are kept to their right end.
    let at = x(if span.is_number { span.column + columns } else { span.column });
    let class = [class, if span.is_number { "e" } else { "" }].join(" ");
    let class = if class.trim().is_empty() { String::new() } else { format!(" class=\"{}\"", class.trim()) };
    let fill = if fill.is_empty() { String::new() } else { format!(" style=\"fill:{fill}\"") };
    let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{y}\"{class}{fill}>{}</text>", escaped(&span.text));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Scene, frame};

    fn frames(count: u64) -> Vec<Vec<Line>> {
        let scene =
            |number| Scene { topics: vec![("a<b".into(), number)], orders: count, ..Scene::default() };
        (0..count).map(|number| frame(&scene(number))).collect()
    }

    #[test]
    fn what_stays_is_drawn_once_and_what_changes_in_its_own_frames() {
        let svg = svg(&frames(10), Duration::from_secs(1));
        assert_eq!(svg.matches("a&lt;b").count(), 1);
        // Each count in its own frame; the last stays.
        assert_eq!(svg.matches("<g class=\"f\"").count(), 9);
        assert_eq!(svg.matches("<g class=\"l\"").count(), 1);
        assert!(svg.contains("<g class=\"l\" style=\"animation-name:k9-10\">"), "{svg}");
        // Nine seconds, and the last frame.
        assert!(
            svg.contains("animation:14.00s") && svg.contains("@keyframes k9-10{0%{visibility:hidden}64.29%"),
            "{svg}"
        );
    }

    #[test]
    fn what_goes_and_comes_again_is_shown_twice() {
        let scene = |news: &str| frame(&Scene { news: news.into(), ..Scene::default() });
        let svg = svg(&["a", "b", "b", "a"].map(scene), Duration::from_secs(1));
        assert_eq!((svg.matches(">a</text>").count(), svg.matches(">b</text>").count()), (2, 1));
        assert!(svg.contains("animation-name:k1-3"));
    }

    #[test]
    fn of_too_many_frames_the_last_is_kept() {
        let svg = svg(&frames(100), Duration::from_secs(1));
        assert!(svg.contains(">99</text>"));
        assert!(svg.matches("<g class=").count() <= FRAMES_MAX);
        // 25 frames of 4 s each, of which the last stays for longer.
        assert!(svg.contains("animation:101.00s"), "{svg}");
    }
}
