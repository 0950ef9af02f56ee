//! Version comparison, as Debian Policy 5.6.12 defines it and dpkg does it.

use std::cmp::Ordering;

/// Compares two versions of the form `[epoch:]upstream[-revision]`. Text that is no version is
/// compared by the same rules, so every string has its place and nothing panics.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    (a.epoch.cmp(&b.epoch))
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = match version.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, version),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream: upstream.as_bytes(), revision: revision.as_bytes() }
    }
}

/// Runs of non-digits by [`weight`], runs of digits by number, in turn.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (cut(&mut a, false), cut(&mut b, false));
        for n in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(n)).cmp(&weight(text_b.get(n)));
            if order.is_ne() {
                return order;
            }
        }
        let (number_a, number_b) = (without_zeros(cut(&mut a, true)), without_zeros(cut(&mut b, true)));
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn cut<'a>(text: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = text.iter().position(|c| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    run
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|d| **d == b'0').count()..]
}

/// `~` goes before the end, the end before letters, letters before everything else.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        None => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// Each pair in ascending order, or equal.
    const PAIRS: &[(&str, &str, Ordering)] = &[
        ("1.0", "1.0", Ordering::Equal),
        ("1.0", "1.0-0", Ordering::Equal),
        ("0:1.0", "1.0", Ordering::Equal),
        ("1.01", "1.1", Ordering::Equal),
        ("1.0~rc1", "1.0", Ordering::Less),
        ("1.0~~", "1.0~", Ordering::Less),
        ("1.0~~a", "1.0~", Ordering::Less),
        ("1.0", "1.0a", Ordering::Less),
        ("1.0a", "1.0+", Ordering::Less),
        ("1.0a", "1.0.", Ordering::Less),
        ("1.9", "1.10", Ordering::Less),
        ("9", "1:1", Ordering::Less),
        ("1.0-1", "1.0-1+deb12u1", Ordering::Less),
        ("1.0-1~bpo12+1", "1.0-1", Ordering::Less),
        ("1-2-3", "1-2-4", Ordering::Less),
        ("2.36-9+deb12u9", "2.36-9+deb12u10", Ordering::Less),
        ("1.2", "1.2.0", Ordering::Less),
        ("a", "b", Ordering::Less),
        ("99999999999999999999998", "99999999999999999999999", Ordering::Less),
        ("20230311", "20230311+deb12u1", Ordering::Less),
        ("1:2.3.4-5", "1:2.3.4-5.1", Ordering::Less),
    ];

    #[test]
    fn the_order_of_policy() {
        for (a, b, order) in PAIRS {
            assert_eq!(compare(a, b), *order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    /// `None` where there is no dpkg.
    fn dpkg(a: &str, b: &str) -> Option<Ordering> {
        let holds = |operator: &str| {
            Some(Command::new("dpkg").args(["--compare-versions", a, operator, b]).status().ok()?.success())
        };
        match (holds("lt")?, holds("gt")?) {
            (true, _) => Some(Ordering::Less),
            (_, true) => Some(Ordering::Greater),
            _ => Some(Ordering::Equal),
        }
    }

    #[test]
    fn dpkg_agrees() {
        for (a, _, _) in PAIRS {
            for (_, b, _) in PAIRS {
                if let Some(expected) = dpkg(a, b) {
                    assert_eq!(compare(a, b), expected, "{a} {b}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..Default::default() })]
        #[test]
        fn dpkg_agrees_on_made_up_versions(
            a in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,4})?",
            b in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,4})?",
        ) {
            if let Some(expected) = dpkg(&a, &b) {
                prop_assert_eq!(compare(&a, &b), expected);
            }
        }

        #[test]
        fn any_text_has_its_place(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
