//! What texts look like: addresses, durations, lists. Yes or no, and nothing about why.

use std::net::IpAddr;

/// A whole number as a program would print it: `7`, not `007` or `+7`.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

pub fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

pub fn port(text: &str) -> Option<i64> {
    integer(text).filter(|port| (1..=65535).contains(port))
}

/// Seconds of `90`, `90s`, `5m`, `1h` or `2d`.
pub fn seconds(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// With a scheme and a host. The parser takes blanks around it, programs need not.
pub fn is_url(text: &str) -> bool {
    let host = |url: url::Url| url.host_str().is_some_and(|host| !host.is_empty());
    !text.contains(char::is_whitespace) && url::Url::parse(text).is_ok_and(host)
}

/// One address without a name beside it.
pub fn is_email(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let local = |local: &str| {
        !local.is_empty() && local.len() <= 64 && local.chars().all(plain) && local.split('.').all(|p| !p.is_empty())
    };
    text.split_once('@').is_some_and(|(name, domain)| local(name) && is_domain(domain))
}

/// A name, an IP address, or the absolute path of a socket's folder.
pub fn is_host(text: &str) -> bool {
    let path = text.starts_with('/') && !text.contains(char::is_whitespace);
    path || text.parse::<IpAddr>().is_ok() || is_domain(text)
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name that ends in a number would be a mistyped address, as 10.0.0.256 is.
    let ends_in_number = text.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(label) && !ends_in_number
}

/// Without what would make two items of it, or an item with blanks around it, in a reader that
/// only splits at commas.
pub fn is_item(text: &str) -> bool {
    !text.is_empty() && !text.contains(',') && text.trim() == text
}

/// Empty, or items.
pub fn is_list(text: &str) -> bool {
    text.is_empty() || text.split(',').all(is_item)
}

/// `[A-Z][A-Z0-9_]*`
pub fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Safe as a file's name and as the name of a systemd credential.
pub fn is_secret_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 128 && text.starts_with(plain) && text.chars().all(|c| plain(c) || "-_.".contains(c))
}

/// A password after a user's name, as in `redis://user:password@host`.
pub fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|after| {
        let authority = after.split(['/', '?', '#', ',']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(is: impl Fn(&str) -> bool, yes: &[&str], no: &[&str]) {
        for (texts, wanted) in [(yes, true), (no, false)] {
            for text in texts {
                assert_eq!(is(text), wanted, "{text:?}");
            }
        }
    }

    #[test]
    fn numbers() {
        table(
            |t| integer(t).is_some(),
            &["0", "20", "-1", "9223372036854775807"],
            &["", "+1", "007", "-0", "1.0", "1_000", " 1", "9223372036854775808"],
        );
        table(|t| number(t).is_some(), &["0", "0.25", "-1.5", "1e3"], &["", "nan", "inf", "1,5", "1e999"]);
        table(|t| port(t).is_some(), &["1", "5432", "65535"], &["0", "65536", "-1", "080", "http"]);
    }

    #[test]
    fn durations_are_seconds() {
        for (text, wanted) in [
            ("90", Some(90)),
            ("30s", Some(30)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("2d", Some(172_800)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("5 m", None),
            ("1w", None),
            ("106751991167301d", None),
        ] {
            assert_eq!(seconds(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn urls_have_a_scheme_and_a_host() {
        table(
            is_url,
            &["https://spirittours.com", "redis://cache:6379/0", "postgresql+asyncpg://db.internal/tours"],
            &["", "spirittours.com", "/path", "mailto:a@b.c", "https://", "postgresql:///tours", " https://a.b"],
        );
    }

    #[test]
    fn email_addresses_have_one_at_sign_between_two_sane_parts() {
        table(
            is_email,
            &["noreply@spirittours.com", "first.last+tag@mail.example", "root@localhost"],
            &["", "a", "@b.c", "a@", "a@@b.c", "a@b@c", "a b@c.d", "a..b@c.d", "Spirit <a@b.c>", "a@b..c"],
        );
    }

    #[test]
    fn hosts_are_names_addresses_or_folders() {
        table(
            is_host,
            &["localhost", "db-1.internal", "10.0.0.1", "::1", "2001:db8::5", "/run/postgresql", "3com.example"],
            &["", "10.0.0.256", "-a.b", "a-.b", "a..b", "a.b:80", "http://a", "a_b", "run/postgresql", "/a b"],
        );
    }

    #[test]
    fn lists_are_split_by_commas_alone() {
        table(is_list, &["", "a", "a,b c"], &[",", "a,", "a,,b", "a, b", " a"]);
    }

    #[test]
    fn names() {
        table(is_variable, &["A", "AWS_S3_BUCKET", "X1"], &["", "a", "_A", "1A", "A-B", "Ä"]);
        table(
            is_secret_name,
            &["jwt-secret", "a", "0.b_c"],
            &["", "JWT", "-a", ".a", "../a", "a/b", "a b", &"a".repeat(129)],
        );
    }

    #[test]
    fn passwords_are_seen_in_urls_only() {
        table(
            has_password,
            &["redis://:pw@cache", "postgresql://u:p@db/x", "https://a.b,https://u:p@c.d"],
            &["", "u:p@host", "https://host/u:p@x", "https://key@sentry.example/1", "https://u:@host", "a://host:80"],
        );
    }
}
