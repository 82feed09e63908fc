//! The frames of a run as one animated picture: SVG by itself, without scripts or fonts of its own, on a background of its own.

use std::{fmt::Write, time::Duration};

use crate::view::{COLUMNS, Line, Span, Style};

/// Most frames of a picture; with more, every other one is left out.
const FRAMES_MAX: usize = 36;
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
        style(frames.len(), interval)
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
    let is_everywhere = |at: usize, span: &Span| {
        frames.iter().all(|frame| frame.get(at).is_some_and(|line| line.contains(span)))
    };
    let Some((last, others)) = frames.split_last() else { return svg + "</svg>\n" };
    for (at, line) in last.iter().enumerate() {
        if let Some(bar) = line.iter().find(|span| matches!(span.style, Style::Bar(_))) {
            track(&mut svg, at, bar.column);
        }
        line.iter().filter(|span| is_everywhere(at, span)).for_each(|span| draw(&mut svg, at, span));
    }
    let changing = |svg: &mut String, frame: &[Line]| {
        for (at, line) in frame.iter().enumerate() {
            line.iter().filter(|span| !is_everywhere(at, span)).for_each(|span| draw(svg, at, span));
        }
    };
    for (number, frame) in others.iter().enumerate() {
        let delay = interval.as_secs_f64() * number as f64;
        let _ = writeln!(svg, "<g class=\"f\" style=\"animation-delay:{delay:.2}s\">");
        changing(&mut svg, frame);
        svg += "</g>\n";
    }
    svg += "<g class=\"l\">\n";
    changing(&mut svg, last);
    svg + "</g>\n</svg>\n"
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

fn style(frames: usize, interval: Duration) -> String {
    let before_last = interval.as_secs_f64() * frames.saturating_sub(1) as f64;
    let all = before_last + LAST_FRAME.as_secs_f64();
    let (one, last) = (interval.as_secs_f64() / all * 100.0, before_last / all * 100.0);
    format!(
        "text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;fill:#c9d1d9;white-space:pre}}\
         .d{{fill:#848d97}}.b{{fill:#f0f6fc;font-weight:600}}.g{{fill:#3fb950;font-weight:600}}.e{{text-anchor:end}}.m{{text-anchor:middle;font-weight:600}}\
         .f{{visibility:hidden;animation:f {all:.2}s step-end infinite}}.l{{animation:l {all:.2}s step-end infinite}}\
         @keyframes f{{0%{{visibility:visible}}{one:.3}%{{visibility:hidden}}}}\
         @keyframes l{{0%{{visibility:hidden}}{last:.3}%{{visibility:visible}}}}\
         @media(prefers-reduced-motion:reduce){{.f,.l{{animation:none}}}}"
    )
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
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"15\" fill=\"{colour}\" opacity=\".22\"/>\
                 <text x=\"{middle:.1}\" y=\"{y}\" class=\"m\" style=\"fill:{colour}\">{}</text>",
                x(span.column) + 0.3,
                y - 11.5,
                COLUMN_WIDTH - 0.6,
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
    fn what_does_not_change_is_drawn_once_and_what_does_in_each_frame() {
        let svg = svg(&frames(10), Duration::from_secs(1));
        assert_eq!(svg.matches("a&lt;b").count(), 1);
        assert_eq!(svg.matches("class=\"f\"").count(), 9);
        assert_eq!(svg.matches("class=\"l\"").count(), 1);
        assert!(svg.contains(">9</text>") && svg.contains(">3</text>"));
    }

    #[test]
    fn of_too_many_frames_the_last_is_kept() {
        let svg = svg(&frames(100), Duration::from_secs(1));
        assert!(svg.contains(">99</text>"));
        assert!(svg.matches("<g class=").count() <= FRAMES_MAX);
        // 25 frames of 4 s each, of which the last stays for longer.
        assert!(svg.contains("animation:f 101.00s"), "{}", &svg[..1500]);
    }
}
