//! Points in time, in seconds since 1970, as people and protocols write them.
//!
//! The civil calendar is computed by H. Hinnant's algorithms ("chrono-compatible low-level date
//! algorithms").

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// As RFC 3339, in UTC: `2026-11-18T11:06:40Z`.
pub fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}T{}Z", clock(seconds))
}

/// As HTTP writes dates (RFC 9110, IMF-fixdate): `Wed, 18 Nov 2026 11:06:40 GMT`.
pub fn http_date(seconds: i64) -> String {
    let days = seconds.div_euclid(DAY);
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS[days.rem_euclid(7) as usize];
    format!("{weekday}, {day:02} {} {year:04} {} GMT", MONTHS[month as usize - 1], clock(seconds))
}

/// Reads RFC 3339 with `Z` or an offset; seconds may be left out, and a blank may stand for the `T`.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let rest = text.get(10..)?.strip_prefix(['T', 't', ' '])?;
    let (time, offset) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = rest.rfind(['+', '-'])?;
            let sign = if rest[at..].starts_with('+') { 1 } else { -1 };
            let [hours, minutes] = numbers(&rest[at + 1..], ':', &[2, 2])?[..] else { return None };
            if hours > 23 || minutes > 59 {
                return None;
            }
            (&rest[..at], sign * (hours * 3600 + minutes * 60))
        }
    };
    let [year, month, day] = numbers(date, '-', &[4, 2, 2])?[..] else { return None };
    let (hour, minute, second) = match numbers(time, ':', &[2, 2, 2]).or_else(|| numbers(time, ':', &[2, 2]))?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let days = days(year, month, day);
    // 30 February comes out as another day.
    if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days * DAY + hour * 3600 + minute * 60 + second - offset)
}

/// Numbers of exactly so many digits.
fn numbers(text: &str, between: char, digits: &[usize]) -> Option<Vec<i64>> {
    let parts: Vec<&str> = text.split(between).collect();
    let fits = |(part, length): (&&str, &usize)| part.len() == *length && part.bytes().all(|b| b.is_ascii_digit());
    let all = parts.len() == digits.len() && parts.iter().zip(digits).all(fits);
    all.then(|| parts.iter().map(|part| part.parse().ok()).collect())?
}

fn clock(seconds: i64) -> String {
    let rest = seconds.rem_euclid(DAY);
    format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The other way round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_date_prints_them() {
        // date -u -d @N +%FT%TZ; date -u -d @N '+%a, %d %b %Y %T GMT'
        for (seconds, iso, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_000_000, "2026-11-18T11:06:40Z", "Wed, 18 Nov 2026 11:06:40 GMT"),
            (-1, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
        ] {
            assert_eq!(rfc3339(seconds), iso);
            assert_eq!(http_date(seconds), http);
            assert_eq!(parse_rfc3339(iso), Some(seconds));
        }
    }

    #[test]
    fn a_time_is_read_with_its_offset_or_not_at_all() {
        for (text, wanted) in [
            ("2026-11-18T12:06:40+01:00", Some(1_795_000_000)),
            ("2026-11-18 06:36:40-04:30", Some(1_795_000_000)),
            ("2026-11-18T11:06Z", Some(1_794_999_960)),
            ("2026-11-18T11:06:40", None),
            ("2026-02-30T00:00Z", None),
            ("2026-13-01T00:00Z", None),
            ("2026-11-18T24:00Z", None),
            ("2026-11-18T11:06:40+1:00", None),
            ("2026-11-18", None),
            ("18:00", None),
            ("äöü-2026-11-18T1", None),
        ] {
            assert_eq!(parse_rfc3339(text), wanted, "{text}");
        }
    }
}
