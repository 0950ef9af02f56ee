//! Recognising scripts that do nothing in an image, whatever their exact text.
//!
//! Most maintainer scripts consist of fragments that debhelper generates: enable and start a
//! service, tidy up after an older version, refresh a cache. Their text changes with each version
//! of debhelper, so a list of hashes would never end. Instead each line of such a script is held
//! against a small part of the shell's language: tests, and commands that have no effect in an
//! image (there is no service manager and never an older version) or whose effect the builder
//! reproduces. One line that is not understood, and the script is not recognised.
//!
//! This is not a guard against a malicious package: whoever can sign packages has easier ways.
//! It guards against missing something that the image needs.

/// Commands without an effect in an image, and why.
const COMMANDS: &[&str] = &[
    // Talk and structure.
    "set",
    "exit",
    "return",
    ":",
    "true",
    "echo",
    "shift",
    // Services: an image has no service manager; units are rendered by the host closure.
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "systemctl",
    "update-rc.d",
    "invoke-rc.d",
    // Acts only when an older version is replaced.
    "dpkg-maintscript-helper",
    // The builder writes ld.so.cache and compiles Python files.
    "ldconfig",
    "py3compile",
    // For the interpreter PyPy, where it is installed; in an image Python files are compiled for one.
    "pypy3compile",
    // Speaking to debconf; asking and setting questions is not among these.
    "db_stop",
    "db_version",
];

/// What a script can be called with (Debian Policy 6.5).
const ACTIONS: &[&str] = &[
    "configure",
    "install",
    "upgrade",
    "remove",
    "purge",
    "triggered",
    "reconfigure",
    "disappear",
    "failed-upgrade",
    "abort-install",
    "abort-upgrade",
    "abort-remove",
    "abort-deconfigure",
    "deconfigure",
    "*",
];

/// Whether the script is for the shell and has nothing but lines without effect.
pub fn is_all_generated(script: &str) -> bool {
    let first = script.lines().next().unwrap_or("");
    let shell = first.strip_prefix("#!").is_some_and(|rest| {
        let program = rest.split_whitespace().next().unwrap_or("");
        matches!(program, "/bin/sh" | "/bin/bash" | "/usr/bin/sh" | "/usr/bin/bash")
    });
    shell && script.lines().all(has_no_effect)
}

fn has_no_effect(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with('#') {
        return true;
    }
    let line = without_redirection(line);
    let line = without_fallback(line.trim_end_matches(";;").trim());
    match line {
        "" | "else" | "then" | "fi" | "esac" | "case \"$1\" in" | "case $1 in" => true,
        _ => is_condition(line) || is_pattern(line) || is_assignment(line) || is_command(line),
    }
}

/// Output that goes nowhere, or to the terminal.
fn without_redirection(line: &str) -> String {
    let mut line = line.to_owned();
    for target in ["2>&1", "1>&2", ">&2", "2>/dev/null", "2> /dev/null", ">/dev/null", "> /dev/null"] {
        line = line.replace(target, "");
    }
    line
}

/// What follows a failure: going on or giving up.
fn without_fallback(line: &str) -> &str {
    for fallback in ["|| true", "|| :", "|| exit 1", "|| exit $?", "|| return $?"] {
        if let Some(before) = line.strip_suffix(fallback) {
            return before.trim();
        }
    }
    line
}

/// `if TEST && TEST; then`
fn is_condition(line: &str) -> bool {
    let inner = line.strip_prefix("if ").or_else(|| line.strip_prefix("elif "));
    let Some(inner) = inner.and_then(|rest| rest.strip_suffix("then")) else { return false };
    let Some(tests) = inner.trim().strip_suffix(';') else { return false };
    tests.split("&&").flat_map(|part| part.split("||")).all(|test| is_test(test.trim()))
}

fn is_test(test: &str) -> bool {
    let test = test.strip_prefix("! ").unwrap_or(test).trim();
    let plain = !has_substitution(test) && !test.contains([';', '|', '&', '<', '>', '\\']);
    let bracketed = test.starts_with("[ ") && test.ends_with(" ]") && test.matches(" ]").count() == 1;
    let asks = ["command -v ", "which ", "deb-systemd-helper --quiet was-enabled ", "dpkg --compare-versions "];
    // The shape `[ -x "$(command -v NAME)" ]` runs nothing but a look-up.
    let looks_up = test.strip_prefix("[ -x \"$(command -v ").and_then(|rest| rest.strip_suffix(")\" ]"));
    looks_up.is_some_and(is_word) || (plain && (bracketed || asks.iter().any(|prefix| test.starts_with(prefix))))
}

/// `configure|abort-upgrade)`
fn is_pattern(line: &str) -> bool {
    let patterns = line.trim_start_matches('(').strip_suffix(')');
    patterns.is_some_and(|patterns| patterns.split('|').all(|pattern| ACTIONS.contains(&pattern.trim())))
}

/// `name=text`
fn is_assignment(line: &str) -> bool {
    let Some((name, value)) = line.split_once('=') else { return false };
    is_word(name) && !has_substitution(value) && !value.contains([';', '|', '&', '<', '>', ' '])
}

fn is_command(line: &str) -> bool {
    if line == ". /usr/share/debconf/confmodule" || is_init_mode(line) {
        return true;
    }
    let command = line.split_whitespace().next().unwrap_or("");
    if !COMMANDS.contains(&command) || has_substitution(line) {
        return false;
    }
    // Within quotes `echo` may write what it likes; elsewhere these would begin another command.
    let significant = if command == "echo" { outside_quotes(line) } else { line.to_owned() };
    !significant.contains([';', '|', '&', '<', '>'])
}

/// debhelper makes an init script executable again after an upgrade.
fn is_init_mode(line: &str) -> bool {
    line.strip_prefix("chmod +x \"/etc/init.d/").and_then(|rest| rest.strip_suffix('"')).is_some_and(is_word)
}

fn has_substitution(text: &str) -> bool {
    text.replace("\\`", "").contains('`') || text.contains("$(")
}

fn outside_quotes(line: &str) -> String {
    let mut parts = line.split('"').enumerate();
    let outside: String = parts.by_ref().filter(|(n, _)| n % 2 == 0).map(|(_, part)| part).collect();
    outside
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.+".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As debhelper 13.11 writes it.
    const SERVICE: &str = r#"#!/bin/sh
set -e
# Automatically added by dh_installinit/13.11.4
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] || [ "$1" = "abort-remove" ] ; then
	if [ -z "${DPKG_ROOT:-}" ] && [ -x "/etc/init.d/daemon" ]; then
		update-rc.d daemon defaults >/dev/null
		invoke-rc.d --skip-systemd-native daemon $_dh_action || exit 1
	fi
fi
# End automatically added section
# Automatically added by dh_installsystemd/13.11.4
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] || [ "$1" = "abort-remove" ] ; then
	# The following line should be removed in trixie or trixie+1
	deb-systemd-helper unmask 'daemon.service' >/dev/null || true
	if deb-systemd-helper --quiet was-enabled 'daemon.service'; then
		deb-systemd-helper enable 'daemon.service' >/dev/null || true
	else
		deb-systemd-helper update-state 'daemon.service' >/dev/null || true
	fi
fi
if [ "$1" = "configure" ]; then
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if [ -n "$2" ]; then
			_dh_action=restart
		else
			_dh_action=start
		fi
		deb-systemd-invoke $_dh_action 'daemon.service' >/dev/null || true
	fi
fi
# End automatically added section
exit 0
"#;

    #[test]
    fn generated_fragments_are_recognised() {
        for script in [
            SERVICE,
            "#!/bin/sh\n",
            "#! /bin/sh -e\n\nset -e\nexit 0\n",
            "#!/bin/sh\nset -e\ndpkg-maintscript-helper rm_conffile /etc/a 1.0-2\\~ -- \"$@\"\n",
            "#!/bin/sh\nif [ \"$1\" = \"install\" ] && [ -n \"$2\" ] && [ -e \"/etc/init.d/x\" ] ; then\n\tchmod +x \"/etc/init.d/x\" >/dev/null || true\nfi\n",
            "#!/bin/sh\nif command -v py3compile >/dev/null 2>&1; then\n\tpy3compile -p python3-x\nfi\n",
            "#!/bin/sh\nif which py3compile >/dev/null 2>&1; then\n\tpy3compile -p python3-x:amd64 \nfi\nif which pypy3compile >/dev/null 2>&1; then\n\tpypy3compile -p python3-x:amd64  || true\nfi\n",
            "#!/bin/sh\nif [ \"$1\" = \"configure\" ]; then\n\tldconfig\nfi\n",
            "#!/bin/sh\n. /usr/share/debconf/confmodule\nexit 0\n",
            "#!/bin/bash\ncase \"$1\" in\n  configure|abort-upgrade)\n  ;;\n  *)\n    echo \"postinst called with unknown argument \\`$1'\" >&2\n    exit 1\n  ;;\nesac\n",
        ] {
            assert!(is_all_generated(script), "{script}");
        }
    }

    #[test]
    fn one_line_with_an_effect_is_enough() {
        for line in [
            "adduser --system x",
            "ln -s a b",
            "touch /etc/x",
            "rm -f /etc/x",
            "systemd-tmpfiles --create x.conf",
            "update-alternatives --install a b c 1",
            "echo hello > /etc/x",
            "echo \"$(adduser x)\"",
            "echo `adduser x`",
            "echo a; adduser x",
            "echo \"a\" && adduser x",
            "set -e; adduser x",
            "exit 0 | adduser x",
            "x=$(adduser x)",
            "x=1 adduser x",
            "if adduser x; then",
            "if [ -e /x ]; adduser x; then",
            "if [ -x \"$(adduser x)\" ]; then",
            "if [ -e /x ] && adduser x; then",
            "while true; do",
            "configure) adduser x",
            "chmod +x \"/etc/init.d/../../usr/bin/x\"",
            "chmod +x /usr/bin/x",
            ". /usr/share/x/functions",
            "cat <<EOF",
            "ldconfig && adduser x",
            "py3compile -p x || adduser x",
            "pypy3compile -p x && adduser x",
            "exec adduser x",
            "eval adduser x",
        ] {
            let script = format!("#!/bin/sh\nset -e\n{line}\nexit 0\n");
            assert!(!is_all_generated(&script), "{line}");
            assert!(!is_all_generated(&SERVICE.replacen("set -e", line, 1)), "{line}");
        }
    }

    #[test]
    fn other_languages_are_not_read() {
        for script in
            ["", "exit 0\n", "#!/usr/bin/perl\nexit 0\n", "#!/usr/bin/env sh\nexit 0\n", "#!/usr/bin/python3\n"]
        {
            assert!(!is_all_generated(script), "{script}");
        }
    }
}
