//! `deploy bootstrap`: looks at a host, says what is to be done to make it ours, and does it.

use std::fs;

use anyhow::{Context as _, Result, bail};
use cairn_fleet::{Fleet, examination};
use cairn_formats::{StorePath, printable};
use cairn_protocol::{Examination, Examined, Finding, Level};
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use serde::Serialize;

use crate::arguments::BootstrapOptions;
use crate::context::Context;
use crate::display;

#[derive(Serialize)]
struct Report {
    host: String,
    #[serde(flatten)]
    examined: Examined,
    /// Whether the steps were done.
    installed: bool,
}

pub fn run(context: &Context, options: &BootstrapOptions) -> Result<u8> {
    let project = context.project()?;
    let store = context.store()?;
    let fleet = context.fleet(&store)?;
    let mut host = project.host(&options.host)?;
    if let Some(wanted) = &options.accept_host_key {
        pin(context, &fleet, &host, Some(wanted))?;
        host = project.host(&options.host)?;
    }
    let agent = context.agent(&project, &store, host.definition.platform)?;
    let progress = context.display.hosts();
    let listener = |event: cairn_fleet::Event| progress.on(&event);
    let (request, faulty) = wanted(context, &project, &host, &agent, false);
    let mut examined = match fleet.examine(&host, &request, true, &listener) {
        Err(error) if error.is_unknown_host() => {
            pin(context, &fleet, &host, None)?;
            host = project.host(&options.host)?;
            fleet.examine(&host, &request, true, &listener)?
        }
        other => other?,
    };
    examined.findings.extend(faulty);
    let mut report = Report { host: host.name.clone(), examined, installed: false };
    if report.examined.findings.iter().any(|finding| stands_in_the_way(&report.examined, finding)) {
        context.display.result(&report, || text(&report))?;
        display::failure(&format!("{} is not ready; nothing was changed", host.name));
        return Ok(1);
    }
    if report.examined.steps.is_empty() {
        context.display.result(&report, || text(&report))?;
        return Ok(0);
    }
    context.display.note(&text(&report));
    match options.yes.then_some(true).or_else(|| context.display.ask("Do this?")) {
        Some(true) => {}
        Some(false) => return Ok(1),
        None => bail!("there is no terminal to ask on; nothing was changed\n  help: `--yes` does it without asking"),
    }
    fleet.install(&host, &agent, &listener)?;
    report.installed = true;
    context.display.result(&report, || {
        format!("{}: it is ready; `deploy switch {}` makes the first generation", host.name, host.name)
    })?;
    Ok(0)
}

/// The boot generator of a host that is ours is put back by the steps themselves.
fn stands_in_the_way(examined: &Examined, finding: &Finding) -> bool {
    finding.level == Level::Wrong && !(examined.ours && finding.check == "boot generator")
}

fn text(report: &Report) -> String {
    let mut text = format!("{}:\n{}", report.host, display::findings(&report.examined.findings, true));
    if report.examined.steps.is_empty() {
        return format!("{text}nothing is to be done\n");
    }
    text.push_str("to do:\n");
    text.extend(report.examined.steps.iter().map(|step| format!("  - {}\n", printable::line(step))));
    text
}

/// What the definition wants of its host; that it cannot be planned is a finding of its own.
pub fn wanted(
    context: &Context,
    project: &Project,
    host: &Host,
    agent: &StorePath,
    verify: bool,
) -> (Examination, Option<Finding>) {
    let planned = context.plan_host(project, host).and_then(|planned| {
        let spec = planned.host_spec().context("it plans no host")?;
        Ok(cairn_closure::render(spec)?.manifest)
    });
    let (request, faulty) = match planned {
        Ok(manifest) => (examination(Some(&manifest), agent, verify), None),
        Err(error) => {
            let (why, next) = ("ports and users of its services were not looked for", "`deploy build` says the same");
            let note = Finding::note("definition", error.to_string(), why, next);
            (examination(None, agent, verify), Some(note))
        }
    };
    let pull_warn_after = host.definition.pull.as_ref().map(|pull| pull.warn_after.as_secs());
    (Examination { pull_warn_after, ..request }, faulty)
}

/// Writes the key that the host shows into its definition, if it has the fingerprint that is
/// accepted, or a person says that it is the right one.
fn pin(context: &Context, fleet: &Fleet, host: &Host, accepted: Option<&str>) -> Result<()> {
    let (key, fingerprint) = fleet.learn_host_key(host)?;
    if let Some(pinned) = host.definition.ssh.as_ref().and_then(|ssh| ssh.host_key.as_deref()) {
        if pinned.starts_with(&key.to_string()) {
            return Ok(());
        }
        bail!(
            "{}: {} pins another key than the host shows, which is {fingerprint}\n  help: if the host was reinstalled, take `host_key` out of the definition first",
            host.name,
            host.file.display()
        );
    }
    let agreed = match accepted {
        Some(accepted) if accepted == fingerprint => true,
        Some(accepted) => bail!(
            "{}: the host shows the key {fingerprint}, and {accepted} is accepted: nothing was changed\n  help: compare it on the host's console: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`",
            host.name
        ),
        None => context.display.ask(&format!(
            "{} shows the key {fingerprint}. On its console `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` must print the same.\nPin it in {}?",
            host.name,
            host.file.display()
        )) == Some(true),
    };
    if !agreed {
        bail!(
            "{}: its host key is not known; it shows {fingerprint}\n  help: compare that with the host's console, then `deploy bootstrap {} --accept-host-key {fingerprint}`",
            host.name,
            host.name
        );
    }
    let file = &host.file;
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let line = format!("host_key = \"{key}\"");
    let Some(new) = with_key(&text, &line) else {
        bail!(
            "{} has no [ssh] section to pin the key in\n  help: put this into the file that has it: {line}",
            file.display()
        );
    };
    fs::write(file, new).with_context(|| format!("cannot write {}", file.display()))?;
    context.display.note(&format!("{}: pinned its key {fingerprint} in {}", host.name, file.display()));
    Ok(())
}

/// The definition with the line below its `[ssh]`; all else stays as it was written.
fn with_key(text: &str, line: &str) -> Option<String> {
    let mut at = 0;
    for found in text.lines() {
        at += found.len();
        if found.split('#').next().is_some_and(|found| found.trim() == "[ssh]") {
            return Some(format!("{}\n{line}{}", &text[..at], &text[at..]));
        }
        // Its end, of one or two bytes.
        at += text[at..].find('\n')? + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::with_key;

    #[test]
    fn the_key_goes_below_the_section_and_nothing_else_changes() {
        for (text, expected) in [
            ("[ssh]\naddress = \"x\"\n", Some("[ssh]\nK\naddress = \"x\"\n")),
            ("a = 1\n\n[ssh] # way in\naddress = \"x\"", Some("a = 1\n\n[ssh] # way in\nK\naddress = \"x\"")),
            ("#   [ssh]\n[ssh]\na = 1\n", Some("#   [ssh]\n[ssh]\nK\na = 1\n")),
            ("x = 1\r\n[ssh]\r\na = 1\r\n", Some("x = 1\r\n[ssh]\nK\r\na = 1\r\n")),
            ("#   [ssh]\n[machine]\n", None),
            ("ssh = { address = \"x\" }\n", None),
        ] {
            assert_eq!(with_key(text, "K").as_deref(), expected, "{text}");
        }
    }
}
