//! Whether a newer kernel than the running one is installed.

/// The newest of `installed` that is newer than `running` and of the same flavour (`amd64`,
/// `cloud-amd64`). In a container the kernel is not the host's own: it is not among those installed.
pub fn newer(running: &str, installed: &[String]) -> Option<String> {
    if !installed.iter().any(|release| release == running) {
        return None;
    }
    let (numbers, flavour) = split(running);
    let candidates = installed.iter().filter(|release| {
        let (other, of) = split(release);
        of == flavour && other > numbers
    });
    candidates.max_by_key(|release| split(release).0).cloned()
}

/// `6.1.0-18-amd64`: its numbers, and what follows them.
fn split(release: &str) -> (Vec<u64>, &str) {
    let mut numbers = Vec::new();
    let mut rest = release;
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()).or((!rest.is_empty()).then_some(rest.len())) {
        let Ok(number) = rest[..end].parse() else { break };
        numbers.push(number);
        rest = rest[end..].trim_start_matches(['.', '-']);
    }
    (numbers, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_kernel_of_the_same_kind_wants_a_reboot() {
        let running = "6.1.0-18-amd64";
        for (installed, expected) in [
            (&["6.1.0-18-amd64"][..], None),
            (&["6.1.0-18-amd64", "6.1.0-9-amd64"], None),
            (&["6.1.0-18-amd64", "6.1.0-21-amd64", "6.1.0-20-amd64"], Some("6.1.0-21-amd64")),
            (&["6.1.0-18-amd64", "6.1.0-21-cloud-amd64"], None),
            (&["6.1.0-18-amd64", "6.10.0-1-amd64"], Some("6.10.0-1-amd64")),
            (&["6.1.0-21-amd64"], None),
            (&[], None),
        ] {
            let installed: Vec<String> = installed.iter().map(ToString::to_string).collect();
            assert_eq!(newer(running, &installed).as_deref(), expected, "{installed:?}");
        }
        assert_eq!(split("6.1.141+"), (vec![6, 1, 141], "+"));
        assert_eq!(split(""), (vec![], ""));
    }
}
