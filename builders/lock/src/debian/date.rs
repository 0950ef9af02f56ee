//! Dates as archives write them: `Sat, 11 Jul 2026 10:16:37 UTC` (RFC 2822, in UTC).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `None` when the text is not such a date. Archives must write UTC; other zones are refused.
pub fn parse(text: &str) -> Option<SystemTime> {
    let after_day = match text.split_once(", ") {
        Some((day, rest)) if day.len() == 3 => rest,
        Some(_) => return None,
        None => text,
    };
    let mut words = after_day.split_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let month_name = words.next()?;
    let month = 1 + MONTHS.iter().position(|m| *m == month_name)? as u64;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute) = (clock.next()??, clock.next()??);
    let second = clock.next().unwrap_or(Some(0))?;
    if !matches!(words.next()?, "UTC" | "GMT" | "Z" | "+0000") || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days from 1970-01-01, counting years from March so that the leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_archives() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Sat, 11 Jul 2026 10:16:37 UTC", Some(1_783_764_997)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("1 Mar 2000 00:00 +0000", Some(951_868_800)),
            ("Tue, 29 Feb 2100 00:00:00 UTC", None),
            ("Sat, 11 Jul 2026 10:16:37 +0200", None),
            ("Sat, 11 Jul 2026 25:16:37 UTC", None),
            ("Sat, 32 Jul 2026 10:16:37 UTC", None),
            ("Sat, 11 Foo 2026 10:16:37 UTC", None),
            ("Sat, 11 Jul 99999999999999999999 10:16:37 UTC", None),
            ("2026-07-11", None),
            ("", None),
        ] {
            let expected = seconds.map(|s| UNIX_EPOCH + Duration::from_secs(s));
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
