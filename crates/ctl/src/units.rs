//! Figures as people read them.

use std::time::Duration;

/// Bytes in steps of 1000, to three or four digits: at most 8 columns.
#[must_use]
pub fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut units = ["kB", "MB", "GB", "TB", "PB", "EB"].iter().peekable();
    while let Some(unit) = units.next() {
        value /= 1000.0;
        // As it is printed: 999.96 would be 1000.0.
        if (value * 10.0).round() < 10_000.0 || units.peek().is_none() {
            return format!("{value:.1} {unit}");
        }
    }
    String::new()
}

/// The two longest units of a time: at most 11 columns.
#[must_use]
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The longest unit of a time: at most 6 columns.
#[must_use]
pub fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Microseconds as milliseconds or seconds.
#[must_use]
pub fn micros(count: u64) -> String {
    match count {
        0..1000 => format!("{count} us"),
        1000..10_000 => format!("{:.1} ms", count as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", count as f64 / 1e3),
        _ => format!("{:.1} s", count as f64 / 1e6),
    }
}

/// A whole number with its thousands apart.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number with the word that follows it, as one or as many.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_fit_eight_columns() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567, "1.2 MB"),
            (310_000_000_000, "310.0 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
            assert!(text.len() <= 8);
        }
    }

    #[test]
    fn times_are_told_in_their_longest_units() {
        for (seconds, long, short) in [
            (0, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (60, "1 min 0 s", "1 min"),
            (3599, "59 min 59 s", "59 min"),
            (3600, "1 h 0 min", "1 h"),
            (86_400 + 7200, "1 d 2 h", "1 d"),
            (86_400 * 400, "400 d 0 h", "400 d"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds)), long);
            assert_eq!(age(seconds * 1000 + 999), short);
        }
        assert_eq!(
            [900, 1500, 52_400, 1_250_000].map(micros),
            ["900 us", "1.5 ms", "52 ms", "1.2 s"]
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "session", "sessions"), "1 session");
        assert_eq!(counted(2000, "session", "sessions"), "2,000 sessions");
    }
}
