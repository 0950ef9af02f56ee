//! `deploy config`: what can be set, and what is.

use anyhow::{Result, bail};
use cairn_formats::printable;
use cairn_recipe::plan;
use serde::Serialize;

use crate::arguments::ConfigAction;
use crate::context::Context;
use crate::terminal;

#[derive(Serialize)]
struct Report {
    host: String,
    services: Vec<Service>,
}

#[derive(Serialize)]
struct Service {
    service: String,
    image: String,
    variables: Vec<Variable>,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    category: String,
    /// The text, or `secret:NAME`; absent if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// `default`, or the file and line that set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    secret: bool,
}

pub fn run(context: &Context, action: &ConfigAction) -> Result<u8> {
    match action {
        ConfigAction::Show { host } => show(context, host),
        ConfigAction::Template { images, docs } => template(context, images, *docs),
    }
}

fn show(context: &Context, name: &str) -> Result<u8> {
    let project = context.project()?;
    let host = project.host(name)?;
    let materials = context.materials(&project, &host)?;
    let mut services = Vec::new();
    for (service, entry) in &host.definition.services {
        let Some(resolved) = plan::resolved(&host, service, entry, &materials[&entry.image])? else { continue };
        let variables = resolved.entries().iter().map(|entry| {
            let origin = entry.state.origin();
            Variable {
                name: entry.name.clone(),
                category: entry.category.clone(),
                value: origin.is_some().then(|| entry.state.to_string()),
                origin,
                secret: entry.state.is_secret(),
            }
        });
        services.push(Service { service: service.clone(), image: entry.image.clone(), variables: variables.collect() });
    }
    let report = Report { host: host.name.clone(), services };
    context.display.result(&report, || text(&report))?;
    Ok(0)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for service in &report.services {
        text.push_str(&format!("{} (image {})\n", service.service, service.image));
        let set = || service.variables.iter().filter(|variable| variable.value.is_some());
        let width = set().map(|variable| variable.name.len()).max().unwrap_or(0);
        for variable in set() {
            let (value, origin) = (variable.value.as_deref(), variable.origin.as_deref());
            let (value, origin) = (value.unwrap_or_default(), origin.unwrap_or_default());
            text.push_str(&format!("  {:width$}  {value}  ({origin})\n", variable.name));
        }
    }
    text
}

fn template(context: &Context, images: &[String], docs: bool) -> Result<u8> {
    let project = context.project()?;
    let names = if images.is_empty() { project.image_names()? } else { images.to_vec() };
    let mut found = false;
    for name in names {
        let image = project.image(name.strip_prefix("images.").unwrap_or(&name))?;
        match project.configuration(&image)?.schema {
            // A file of the project, for a file: newlines at its end count.
            Some(schema) if docs => {
                terminal::verbatim(printable::text(&cairn_config::documentation(&schema)).as_bytes())?
            }
            Some(schema) => terminal::verbatim(printable::text(&cairn_config::template(&schema)).as_bytes())?,
            None if images.is_empty() => continue,
            None => bail!("image `{}` has no config.toml that says what can be set", image.name),
        }
        found = true;
    }
    if !found {
        bail!("no image of this project has a config.toml that says what can be set");
    }
    Ok(0)
}
