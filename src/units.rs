//! Sizes, counts and times as a person reads them, for every message of the program.

/// Bytes in the unit that gives three digits or so: `17 bytes`, `1.5 MiB`, `528 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1000 {
        return format!("{count} byte{}", if count == 1 { "" } else { "s" });
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.*} {}", usize::from(value < 99.95), UNITS[unit])
}

/// `5.3 GiB, and 5.2 GiB are …` needs no more digits; two sizes that would read the same do.
pub(crate) fn bytes_apart(one: u64, other: u64) -> [String; 2] {
    let short = [bytes(one), bytes(other)];
    if short[0] != short[1] || one == other {
        short
    } else {
        [one, other].map(|count| format!("{} bytes", grouped(count)))
    }
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// Seconds in the unit that a person would use.
pub(crate) fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")];
    match UNITS.iter().find(|(length, _)| seconds >= 1.5 * length) {
        Some((length, unit)) => format!("{:.*} {unit}", usize::from(seconds < 10.0 * length), seconds / length),
        None => format!("{:.0} ms", seconds * 1e3),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 6_640_193].map(grouped), ["0", "999", "1,000", "6,640,193"]);
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (1000 << 20, "1.0 GiB"),
            (3 << 29, "1.5 GiB"),
            (566_549_856_721, "528 GiB"),
            (1_073_217_536, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        assert_eq!(bytes_apart(3 << 30, 1 << 30), ["3.0 GiB", "1.0 GiB"]);
        assert_eq!(bytes_apart((3 << 30) + 1, 3 << 30), ["3,221,225,473 bytes", "3,221,225,472 bytes"]);
        let seconds = [0.0, 0.0123, 1.4, 1.5, 42.0, 89.0, 90.0, 1200.0, 7200.0, 1e9];
        let texts = [
            "0 ms",
            "12 ms",
            "1400 ms",
            "1.5 seconds",
            "42 seconds",
            "89 seconds",
            "1.5 minutes",
            "20 minutes",
            "2.0 hours",
            "11574 days",
        ];
        assert_eq!(seconds.map(duration), texts);
    }
}
