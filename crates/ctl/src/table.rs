//! A table for a terminal of some width: columns shrink, then the least important are left out, and
//! what is missing is named.

use crate::terminal::Terminal;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Whether its cells are figures, which stand on the right and are never cut.
    pub figures: bool,
    /// The width that its cells may be cut to.
    pub least: usize,
    /// When it is left out: 1 goes first, 0 stays.
    pub leaves: u8,
}

/// The table and the columns that it has no room for.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its lines, the headings first.
    pub text: String,
    /// Titles.
    pub left_out: Vec<&'static str>,
}

/// Lays out rows, which have a cell for each column.
#[must_use]
pub fn table(columns: &[Column], rows: &[Vec<String>], terminal: Terminal) -> Table {
    let widest = |at: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([column.title.len()]).max().unwrap_or_default()
    };
    let natural: Vec<_> = columns.iter().enumerate().map(|(at, c)| widest(at, c)).collect();
    let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    if let Some(limit) = terminal.width {
        fit(columns, &mut widths, limit);
    }
    let titles: Vec<_> = columns.iter().map(|column| column.title.to_owned()).collect();
    let lines = [&titles].into_iter().chain(rows);
    let text = lines.map(|row| render(columns, &widths, row, terminal)).collect();
    let left_out = columns.iter().zip(&widths).filter(|(_, width)| width.is_none());
    Table { text, left_out: left_out.map(|(column, _)| column.title).collect() }
}

/// Leaves out columns until the rest fits when cut to the least, then gives back what room there is,
/// to the first columns first.
fn fit(columns: &[Column], widths: &mut [Option<usize>], limit: usize) {
    let natural = widths.to_vec();
    for (column, width) in columns.iter().zip(widths.iter_mut()) {
        if !column.figures {
            *width = width.map(|width| width.min(column.least.max(column.title.len())));
        }
    }
    let mut order: Vec<_> = (0..columns.len()).collect();
    order.sort_by_key(|&at| columns.get(at).map_or(0, |column| column.leaves));
    for at in order {
        let stays = columns.get(at).is_none_or(|column| column.leaves == 0);
        if total(widths) > limit && !stays {
            widths.iter_mut().skip(at).take(1).for_each(|width| *width = None);
        }
    }
    let mut room = limit.saturating_sub(total(widths));
    for (width, natural) in widths.iter_mut().zip(natural) {
        if let (Some(width), Some(natural)) = (width, natural) {
            let more = natural.saturating_sub(*width).min(room);
            *width += more;
            room -= more;
        }
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP.len() * shown.count().saturating_sub(1)
}

fn render(
    columns: &[Column],
    widths: &[Option<usize>],
    row: &[String],
    terminal: Terminal,
) -> String {
    let mut line = String::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(row) {
        let Some(width) = *width else { continue };
        if !line.is_empty() {
            line.push_str(GAP);
        }
        let cell = terminal.cut(cell, width);
        line += &if column.figures { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
    }
    format!("{}\n", line.trim_end())
}

const GAP: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "ID", figures: true, least: 0, leaves: 0 },
        Column { title: "PEER", figures: false, least: 6, leaves: 0 },
        Column { title: "BYTES", figures: true, least: 0, leaves: 2 },
        Column { title: "NAME", figures: false, least: 4, leaves: 1 },
    ];

    fn at(width: Option<usize>) -> Table {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = [row(["1", "192.0.2.7", "12 B", "first"]), row(["12", "::1", "1.0 kB", "x"])];
        table(&COLUMNS, &rows, Terminal { width, unicode: false })
    }

    #[test]
    fn without_a_terminal_all_of_it_is_there() {
        let all = "\
ID  PEER        BYTES  NAME
 1  192.0.2.7    12 B  first
12  ::1        1.0 kB  x
";
        assert_eq!(at(None).text, all);
        assert_eq!(at(Some(28)).text, all);
    }

    #[test]
    fn first_it_is_cut_and_then_columns_are_left_out() {
        let cut = at(Some(25));
        assert!(cut.left_out.is_empty());
        assert!(cut.text.contains("\n 1  192.0.~    12 B  fir~\n"), "{}", cut.text);
        let fewer = at(Some(18));
        assert_eq!(fewer.left_out, ["NAME"]);
        assert!(fewer.text.contains("\n 1  192.0~    12 B\n"), "{}", fewer.text);
        assert_eq!(at(Some(11)).left_out, ["BYTES", "NAME"]);
        for width in 12..40 {
            assert!(at(Some(width)).text.lines().all(|line| line.len() <= width), "{width}");
        }
    }
}
