//! What a terminal shows as a picture: the text that tmux captures, with its colours, as SVG.

use std::fmt::Write;

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    color: Option<usize>,
    bold: bool,
    reversed: bool,
}

/// Characters of one look, side by side.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    column: usize,
    look: Look,
    text: String,
}

/// The picture of what [`crate::tmux::Tmux::picture`] captured, in so many columns.
pub fn svg(captured: &str, columns: usize) -> String {
    let lines: Vec<&str> = captured.lines().collect();
    let width = columns as f32 * CELL + 2.0 * MARGIN;
    let height = lines.len() as f32 * LINE + 2.0 * MARGIN;
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>"
    );
    let mut look = Look::default();
    for (row, line) in lines.into_iter().enumerate() {
        let runs;
        (runs, look) = runs_of(line, look);
        let top = row as f32 * LINE + MARGIN;
        runs.iter().for_each(|run| draw(&mut svg, run, top));
    }
    svg + "</svg>\n"
}

/// The runs of a line that begins with this look, and the look that the next one begins with.
fn runs_of(line: &str, mut look: Look) -> (Vec<Run>, Look) {
    let mut runs: Vec<Run> = Vec::new();
    let (mut column, mut rest) = (0, line);
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '\x1b' {
            let (sequence, behind) = rest.split_once('m').unwrap_or((rest, ""));
            look = changed(look, sequence.trim_start_matches('['));
            rest = behind;
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.look == look => run.text.push(c),
            _ => runs.push(Run { column, look, text: c.to_string() }),
        }
        column += 1;
    }
    (runs, look)
}

/// The look after a `Select Graphic Rendition`.
fn changed(mut look: Look, parameters: &str) -> Look {
    let mut parameters = parameters.split(';').map(|parameter| parameter.parse().unwrap_or(0));
    while let Some(parameter) = parameters.next() {
        match parameter {
            0 => look = Look::default(),
            1 => look.bold = true,
            7 => look.reversed = true,
            22 => look.bold = false,
            27 => look.reversed = false,
            color @ 30..=37 => look.color = Some(color - 30),
            // One of 256, behind a 5.
            38 => look.color = parameters.nth(1),
            39 => look.color = None,
            color @ 90..=97 => look.color = Some(color - 82),
            _ => {}
        }
    }
    look
}

fn draw(svg: &mut String, run: &Run, top: f32) {
    let color = run.look.color.and_then(|color| COLORS.get(color)).unwrap_or(&FOREGROUND);
    let left = run.column as f32 * CELL + MARGIN;
    let width = run.text.chars().count() as f32 * CELL;
    let ink = if run.look.reversed { BACKGROUND } else { color };
    if run.look.reversed {
        rectangle(svg, color, [left, top, width, LINE]);
    }
    let mut text = String::new();
    for (at, c) in run.text.chars().enumerate() {
        match c {
            '\u{2581}'..='\u{2588}' => {
                let eighths = (u32::from(c) - 0x2580) as f32;
                let height = LINE * eighths / 8.0;
                let x = left + at as f32 * CELL;
                rectangle(svg, ink, [x, top + LINE - height, CELL, height]);
                text.push(' ');
            }
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            c => text.push(c),
        }
    }
    if text.trim().is_empty() {
        return;
    }
    let weight = if run.look.bold { " font-weight=\"bold\"" } else { "" };
    let base = top + LINE * 0.76;
    let _ = writeln!(
        svg,
        "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{width:.1}\" fill=\"{ink}\"{weight} \
         xml:space=\"preserve\">{text}</text>"
    );
}

fn rectangle(svg: &mut String, color: &str, [x, y, width, height]: [f32; 4]) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
    );
}

const CELL: f32 = 8.4;
const LINE: f32 = 18.0;
const MARGIN: f32 = 10.0;

const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d6d9de";

/// The eight colours, and the same brighter.
const COLORS: [&str; 16] = [
    "#16181d", "#f2777a", "#7fc98b", "#e6c07b", "#6cb0f2", "#c991e1", "#66c7cc", "#d6d9de",
    "#7b818c", "#ff9a9c", "#9fe0aa", "#f5d79b", "#8fc6ff", "#ddb0f0", "#8fdfe3", "#ffffff",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_columns_and_colours() {
        let (runs, look) = runs_of("a\x1b[1;38;5;2mbc\x1b[0m d\x1b[7m", Look::default());
        let green = Look { color: Some(2), bold: true, reversed: false };
        assert_eq!(runs[1], Run { column: 1, look: green, text: "bc".into() });
        assert_eq!((runs[2].column, runs[2].text.as_str()), (3, " d"));
        assert!(look.reversed && runs.len() == 3);
    }

    #[test]
    fn text_is_escaped_and_bars_are_drawn() {
        let svg = svg("<&>\x1b[34m\u{2584}\x1b[90;7mx", 5);
        assert!(svg.contains(">&lt;&amp;></text>"), "{svg}");
        assert!(
            svg.contains("height=\"9.0\" fill=\"#6cb0f2\"") && svg.contains("#7b818c"),
            "{svg}"
        );
        assert!(svg.ends_with("</svg>\n"));
    }
}
