//! Which generations go: pure, by number, age and pin.

use cairn_protocol::{Generation, Retention};

/// The generations to delete, by number. Never the live one nor those above it, which a person
/// rolled back from a moment ago; never the one before it, which is the way back; never a pinned one.
pub fn superfluous(generations: &[Generation], retention: Retention, now: i64) -> Vec<u64> {
    let mut all: Vec<&Generation> = generations.iter().collect();
    all.sort_by_key(|generation| generation.number);
    let Some(live) = all.iter().position(|generation| generation.current) else {
        return Vec::new();
    };
    let newest = usize::try_from(retention.keep).unwrap_or(usize::MAX);
    let kept_by_number = all.len().saturating_sub(newest);
    let horizon = retention.keep_for.map(|age| now.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)));
    let goes = |(at, generation): &(usize, &&Generation)| {
        // It was live until the next one was made.
        let until = all.get(at + 1).map_or(now, |next| next.created);
        let recent = horizon.is_some_and(|horizon| until >= horizon);
        at + 1 < live && *at < kept_by_number && !recent && !generation.pinned
    };
    all.iter().enumerate().filter(goes).map(|(_, generation)| generation.number).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: i64 = 86_400;

    /// Generation N was made on day N.
    fn generations(numbers: &[u64], current: u64, pinned: &[u64]) -> Vec<Generation> {
        let day = |number: u64| i64::try_from(number).unwrap() * DAY;
        let all = crate::generations::tests::generations(numbers, current).into_iter();
        all.map(|g| Generation { created: day(g.number), pinned: pinned.contains(&g.number), ..g }).collect()
    }

    #[test]
    fn what_is_live_before_it_above_it_or_pinned_is_never_superfluous() {
        for (numbers, current, keep, pinned, expected) in [
            (&[1, 2, 3][..], 3, 10, &[][..], &[][..]),
            (&[1, 2, 3, 4], 4, 2, &[], &[1, 2]),
            (&[1, 2, 3, 4], 4, 0, &[], &[1, 2]),
            (&[1, 2, 3, 4], 1, 1, &[], &[]),
            (&[1, 2, 3, 4], 3, 2, &[], &[1]),
            (&[1, 2, 3, 4, 5], 5, 1, &[2], &[1, 3]),
            (&[2, 4, 7, 9], 9, 3, &[], &[2]),
            (&[], 0, 1, &[], &[]),
            (&[1, 2], 0, 0, &[], &[]),
        ] {
            let retention = Retention { keep, keep_for: None };
            assert_eq!(superfluous(&generations(numbers, current, pinned), retention, 0), expected, "{numbers:?}");
        }
    }

    #[test]
    fn age_counts_from_the_day_on_which_another_one_came() {
        let all = generations(&[1, 2, 3, 10, 11], 11, &[]);
        for (days, expected) in [(0, &[1, 2, 3][..]), (1, &[1, 2]), (8, &[1]), (9, &[]), (9_999, &[])] {
            let retention = Retention { keep: 1, keep_for: Some(days * 86_400) };
            assert_eq!(superfluous(&all, retention, 11 * DAY), expected, "{days} days");
        }
        // What the number keeps is kept at any age.
        let retention = Retention { keep: 4, keep_for: Some(0) };
        assert_eq!(superfluous(&all, retention, 99 * DAY), [1]);
    }
}
