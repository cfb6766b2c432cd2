//! Numbers and times as people read them.

use std::fmt::Display;

/// A whole number with its thousands apart: `263680` -> `263,680`.
pub fn thousands(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whether every shell, and `sbatch`, takes `word` as it is.
pub fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// `word` as a shell takes it, for commands that people copy.
///
/// Not `shell_words::quote`: it leaves `{a,b}` and `!` to the shell, and puts `key=value` in quotes.
pub fn quoted(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The word with a capital first letter.
pub fn capitalized(word: &str) -> String {
    let mut text = word.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// `1 point`, `72 points`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Bytes: `0 B`, `412 kB`, `1.2 GB`; a unit is a thousand of the one before.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        match unit {
            "B" if bytes < 1000 => return format!("{bytes} B"),
            "B" => {}
            _ if value < 9.95 => return format!("{value:.1} {unit}"),
            _ if value < 999.5 => return format!("{value:.0} {unit}"),
            _ => {}
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// Seconds since 1970 as `2026-11-21 07:05`, and the seconds past the minute. UTC.
pub fn date_and_minute(unix: u64) -> (String, u64) {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    // Howard Hinnant's `civil_from_days`: years begin in March, so that leap days are at their ends.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute) = (rest / 3600, rest / 60 % 60);
    (format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}"), rest % 60)
}

/// `4s`, `3m 20s`, `2h 05m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Seconds since 1970 as `2026-11-21 07:05 UTC`.
pub fn moment(unix: u64) -> String {
    format!("{} UTC", date_and_minute(unix).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let numbers = [0, 999, 1000, 525_824, 1_234_567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "525,824", "1,234,567"]);
    }

    #[test]
    fn seconds_are_dates() {
        // As `date -u -d @N` prints them.
        for (unix, date, seconds) in [
            (0, "1970-01-01 00:00", 0),
            (951_782_399, "2000-02-28 23:59", 59),
            (951_782_400, "2000-02-29 00:00", 0),
            (951_868_800, "2000-03-01 00:00", 0),
            (1_795_244_316, "2026-11-21 06:58", 36),
            (1_795_245_804, "2026-11-21 07:23", 24),
            (4_107_542_399, "2100-02-28 23:59", 59),
            (4_107_542_400, "2100-03-01 00:00", 0),
        ] {
            assert_eq!(date_and_minute(unix), (date.to_owned(), seconds));
        }
    }
}
