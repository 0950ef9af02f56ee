//! `deploy adopt`: files and units of a host that give their place to generations, and get it back.

use anyhow::Result;
use cairn_protocol::{Adopted, AdoptedContent, AdoptedFile, AdoptedUnit};
use serde::Serialize;

use crate::arguments::AdoptOptions;
use crate::context::Context;
use crate::display::{failure, table};

#[derive(Serialize)]
struct Report {
    host: String,
    #[serde(flatten)]
    adopted: Adopted,
}

pub fn run(context: &Context, options: &AdoptOptions) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(&options.host)?;
    let store = context.store()?;
    let agent = context.agent(&project, &store, host.definition.platform)?;
    let fleet = context.fleet(&store)?;
    let asked = fleet.adopt(&host, &agent, &options.paths, &options.unit);
    let adopted = match asked {
        Err(error) if error.is_locked() => {
            failure(&error);
            return Ok(5);
        }
        other => other?,
    };
    let report = Report { host: host.name.clone(), adopted };
    context.display.result(&report, || text(&report.adopted))?;
    if !options.list {
        context.display.note("nothing has changed on the host yet: the next switch may take their place");
    }
    Ok(0)
}

fn text(adopted: &Adopted) -> String {
    if adopted.files.is_empty() && adopted.units.is_empty() {
        return "nothing is adopted\n".to_owned();
    }
    let mut rows = vec![["ADOPTED", "WAS", "SINCE", "BY"].map(str::to_owned).to_vec()];
    rows.extend(adopted.files.iter().map(file));
    rows.extend(adopted.units.iter().map(unit));
    table(&rows)
}

fn file(file: &AdoptedFile) -> Vec<String> {
    let was = match &file.content {
        AdoptedContent::File { mode, .. } => format!("file, mode {mode:o}, owner {}:{}", file.uid, file.gid),
        AdoptedContent::Link { target } => format!("link to {target}"),
    };
    vec![file.path.clone(), was, cairn_fleet::rfc3339(file.since), file.operator.clone()]
}

fn unit(unit: &AdoptedUnit) -> Vec<String> {
    let state = match unit.from {
        None => "unit, until the next switch".to_owned(),
        Some(from) => format!("unit, until generation {from}"),
    };
    vec![unit.unit.clone(), state, cairn_fleet::rfc3339(unit.since), unit.operator.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_adopted_is_listed_with_what_it_was() {
        let content = AdoptedContent::Link { target: "../x".to_owned() };
        let (path, operator) = ("/etc/motd".to_owned(), "alice@desk".to_owned());
        let file = AdoptedFile { path, content, uid: 0, gid: 0, operator: operator.clone(), since: 0 };
        let unit = AdoptedUnit { unit: "nginx.service".to_owned(), from: Some(3), operator, since: 0 };
        let shown = text(&Adopted { files: vec![file], units: vec![unit] });
        for part in ["/etc/motd", "link to ../x", "until generation 3", "1970-01-01T00:00:00Z", "alice@desk"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert_eq!(text(&Adopted::default()), "nothing is adopted\n");
    }
}
