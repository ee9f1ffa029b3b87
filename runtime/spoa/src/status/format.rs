//! Numbers for people.

/// A text for a value that is not known.
pub(super) const NOTHING: &str = "–";

/// Returns the text of an optional value.
pub(crate) fn or_nothing<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NOTHING.to_owned(), text)
}

/// Returns a whole number, in groups of three digits with a narrow space between them.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = if number <= -0.5 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Returns a rate per second.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0/s".to_owned(),
        0.0..0.1 => "< 0.1/s".to_owned(),
        0.0..9.95 => format!("{rate:.1}/s"),
        _ => count(rate) + "/s",
    }
}

/// Returns bytes in MiB.
pub(super) fn mebibytes(bytes: f64) -> String {
    count(bytes / f64::from(1 << 20)) + " MiB"
}

/// Returns a time in seconds, in whole units of which there are two or more.
pub(super) fn span(seconds: f64) -> String {
    let units = [(86400.0, "d"), (3600.0, "h"), (60.0, "min")];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= 2.0 * size).unwrap_or((1.0, "s"));
    format!("{} {unit}", (seconds / size).max(0.0).floor())
}

/// Returns the upper bound of a short time in seconds.
pub(super) fn at_most(seconds: f64, largest: f64) -> String {
    if seconds.is_infinite() {
        format!("> {largest} s")
    } else if seconds < 1e-3 {
        format!("≤ {} µs", count(seconds * 1e6))
    } else if seconds < 1.0 {
        format!("≤ {} ms", count(seconds * 1e3))
    } else {
        format!("≤ {seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1234567.4, -0.2].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567", "0"]
        );
        assert_eq!(
            [0.0, 0.04, 3.0, 9.96, 12345.0].map(per_second),
            ["0/s", "< 0.1/s", "3.0/s", "10/s", "12\u{202f}345/s"]
        );
        assert_eq!(
            [0.0, 119.9, 120.0, 7199.0, 7200.0, 172_800.0].map(span),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]
        );
        assert_eq!(
            [2e-6, 1e-3, 0.5, 1.0, f64::INFINITY].map(|t| at_most(t, 10.0)),
            ["≤ 2 µs", "≤ 1 ms", "≤ 500 ms", "≤ 1 s", "> 10 s"]
        );
        assert_eq!(mebibytes(3.4 * 1048576.0), "3 MiB");
        assert_eq!([Some(1.0), None].map(|n| or_nothing(n, count)), ["1", "–"]);
    }
}
