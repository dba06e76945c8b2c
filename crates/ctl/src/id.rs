//! Session ids: 32 bytes in Bitcoin Core's order, as `bitcoin-cli getpeerinfo` prints them.

/// The digits in groups of four, for reading aloud: lines of so many groups.
#[must_use]
pub fn grouped(id: &str, groups: usize) -> Vec<String> {
    let digits: Vec<char> = id.chars().collect();
    let words: Vec<String> = digits.chunks(4).map(|word| word.iter().collect()).collect();
    words.chunks(groups.max(1)).map(|line| line.join(" ")).collect()
}

/// The id that somebody has read out or pasted: any grouping, either case.
///
/// # Errors
/// What is wrong with it.
pub fn heard(words: &[String]) -> Result<String, String> {
    let text = words.concat().to_ascii_lowercase();
    let text = text.strip_prefix("0x").unwrap_or(&text);
    let mut digits = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | 'a'..='f' => digits.push(c),
            ' ' | '\t' | '\n' | '\r' | '-' | ':' | '.' | ',' | '_' | '/' | '\'' | '"' => {}
            other => return Err(format!("{other:?} is no hexadecimal digit (0-9, a-f)")),
        }
    }
    match digits.len() {
        DIGITS => Ok(digits),
        count => Err(format!(
            "a session id has {DIGITS} digits, and these are {count}: part of one proves nothing"
        )),
    }
}

/// In how many digits two ids differ.
#[must_use]
pub fn distance(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).filter(|(one, other)| one != other).count()
}

/// Digits of an id.
pub const DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";

    #[test]
    fn whatever_is_read_aloud_is_understood() {
        let lines = grouped(ID, 8);
        assert_eq!(lines[0], "0011 2233 4455 6677 8899 aabb ccdd eeff");
        for words in [
            vec![ID.to_owned()],
            vec![ID.to_uppercase()],
            lines.clone(),
            lines.join(" ").split(' ').map(str::to_owned).collect(),
            vec![format!("0x{}", grouped(ID, 1).join(":"))],
            vec![format!(" \"{}\",\n", grouped(ID, 2).join("-"))],
        ] {
            assert_eq!(heard(&words).as_deref(), Ok(ID), "{words:?}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused_with_the_reason() {
        let refused = |text: &str| heard(&[text.to_owned()]).unwrap_err();
        assert!(refused(&ID[..62]).contains("these are 62"));
        assert!(refused(&format!("{ID}0")).contains("these are 65"));
        assert!(refused("").contains("these are 0"));
        assert!(refused(&ID.replace('0', "o")).contains("'o' is no hexadecimal digit"));
        assert!(refused("\x1b[2J").contains("'\\u{1b}'"));
    }

    #[test]
    fn a_misheard_digit_is_a_distance_of_one() {
        assert_eq!(distance(ID, ID), 0);
        assert_eq!(distance(ID, &ID.replacen('1', "7", 1)), 1);
    }
}
