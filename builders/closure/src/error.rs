//! What can be wrong with a host's specification.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ClosureError {
    #[error("version {found} of a host's specification is not known here; this program reads version 1")]
    Version { found: u32 },
    #[error("{what} \"{value}\" is not allowed: {rule}")]
    Name { what: &'static str, value: String, rule: &'static str },
    #[error("service \"{service}\": {field} {value:?} is not allowed: {rule}")]
    Value { service: String, field: &'static str, value: String, rule: &'static str },
    #[error(
        "service \"{service}\": {field} names the service \"{unknown}\", which this host does not have{}",
        nearest.as_deref().map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default()
    )]
    UnknownService { service: String, field: &'static str, unknown: String, nearest: Option<String> },
    #[error(
        "service \"{service}\" takes \"{upstream}\" as an upstream, but that service does not listen on UNIX sockets; set listen.unix there"
    )]
    UpstreamWithoutSocket { service: String, upstream: String },
    #[error("the services wait for each other in a circle: {}; remove one `after` or `upstreams`", circle.join(" -> "))]
    Circle { circle: Vec<String> },
    #[error("the services \"{first}\" (at {taken}) and \"{second}\" both listen on {address}; give one another port")]
    SameAddress { first: String, taken: String, second: String, address: String },
    #[error(
        "the services \"{first}\" and \"{second}\" run different images as user {uid}, and would reach each other's files; give one image's user another id"
    )]
    SameUser { first: String, second: String, uid: u32 },
    #[error(
        "the services \"{first}\" and \"{second}\" run different images with the group {gid}, and would reach each other's files and sockets; give one image's user another group id, or declare the access (`reads`, `shares` or `upstreams`)"
    )]
    SameGroup { first: String, second: String, gid: u32 },
    #[error("service \"{service}\" reads the state \"{state}\" of \"{owner}\", which has no such folder")]
    UnknownState { service: String, owner: String, state: String },
    #[error(
        "service \"{service}\" loosens \"{directive}\", which is not one of the hardening directives{}; they are: {known}",
        nearest.as_deref().map(|n| format!("; did you mean {n}?")).unwrap_or_default()
    )]
    UnknownDirective { service: String, directive: String, nearest: Option<String>, known: String },
    #[error("{what}: {value:?} is not allowed: {rule}")]
    System { what: String, value: String, rule: &'static str },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: std::io::Error },
}
