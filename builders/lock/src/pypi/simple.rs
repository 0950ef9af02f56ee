//! Finds a locked wheel in the index of the day, through the simple API.
//!
//! JSON (PEP 691) is asked for; an index that only has HTML (PEP 503) answers with that, and both
//! are read. A file is the locked one if its name *and* its hash are, so that an index that
//! replaced a file is found out before anything is downloaded.

use cairn_fetch::{FetchError, Fetcher, Mirrors};
use cairn_formats::Sha256;
use serde::Deserialize;
use url::Url;

use super::pylock::file_of;
use super::requirement::normalise;
use super::{Hashes, PypiError};

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";
/// Bytes. The largest pages of the public index have about 30 MB.
const PAGE_LIMIT: u64 = 128 << 20;

/// A file that the index offers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    file: String,
    url: String,
    /// Not every index tells, or tells it in SHA-256.
    sha256: Option<Sha256>,
}

/// Where each of the wanted files of a package can be had, in the order asked.
pub fn wheel_urls(
    fetcher: &Fetcher,
    index_url: &str,
    package: &str,
    wanted: &[(&str, Sha256)],
) -> Result<Vec<String>, PypiError> {
    let page = format!("{}/{}/", index_url.trim_end_matches('/'), normalise(package));
    let what = format!("Python index page of {package}");
    let text = match fetcher.get_text(&what, &page, Some(ACCEPT), PAGE_LIMIT) {
        Err(FetchError::Gone { url, .. }) => return Err(PypiError::ProjectGone { package: package.to_owned(), url }),
        answer => answer?,
    };
    let offers = parse(&page, &text)?;
    wanted.iter().map(|(file, sha256)| find(&offers, package, file, sha256, &page)).collect()
}

/// The same for one file and the project's own index, in the words of who only fetches.
pub fn locate_wheel(
    fetcher: &Fetcher,
    mirrors: &Mirrors,
    package: &str,
    file: &str,
    sha256: &Sha256,
) -> Result<Vec<String>, FetchError> {
    let index = mirrors.pypi()?;
    Ok(wheel_urls(fetcher, &index, package, &[(file, *sha256)])?)
}

fn find(offers: &[Offer], package: &str, file: &str, sha256: &Sha256, page: &str) -> Result<String, PypiError> {
    let mut named = offers.iter().filter(|offer| offer.file == file).peekable();
    if named.peek().is_none() {
        return Err(PypiError::FileGone {
            package: package.to_owned(),
            file: file.to_owned(),
            url: shown(page),
            have: offers.len(),
        });
    }
    let mut other = None;
    for offer in named {
        match offer.sha256 {
            Some(found) if found != *sha256 => other = Some(found),
            // Without a hash the download itself decides.
            _ => return Ok(offer.url.clone()),
        }
    }
    Err(PypiError::Replaced {
        file: file.to_owned(),
        expected: *sha256,
        found: other.unwrap_or(*sha256),
        url: shown(page),
    })
}

/// Reads a page in either form; relative addresses are resolved against `page`.
pub(super) fn parse(page: &str, text: &str) -> Result<Vec<Offer>, PypiError> {
    let fail = |message: String| PypiError::Page { url: shown(page), message };
    let base = Url::parse(page).map_err(|error| fail(error.to_string()))?;
    // Told by the text itself: proxies are careless with content types.
    if text.trim_start().starts_with('{') {
        let raw: RawPage = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        return Ok(raw.files.into_iter().filter_map(|file| from_json(&base, file)).collect());
    }
    if !text.contains('<') {
        return Err(fail("it is neither JSON nor HTML".to_owned()));
    }
    Ok(links(text).filter_map(|link| from_link(&base, &link)).collect())
}

fn from_json(base: &Url, raw: RawFile) -> Option<Offer> {
    let url = base.join(&raw.url).ok()?;
    let sha256 = raw.hashes.sha256.as_deref().and_then(|hex| Sha256::from_hex(hex).ok());
    Some(Offer { file: raw.filename, url: with_login(base, url), sha256 })
}

/// In HTML the hash is the fragment: `…/x-1-py3-none-any.whl#sha256=04e5…`.
fn from_link(base: &Url, link: &str) -> Option<Offer> {
    let mut url = base.join(link).ok()?;
    let sha256 = url.fragment().and_then(|f| f.strip_prefix("sha256=")).and_then(|hex| Sha256::from_hex(hex).ok());
    url.set_fragment(None);
    let file = file_of(url.as_str());
    (!file.is_empty()).then(|| Offer { file, url: with_login(base, url), sha256 })
}

/// Files on the index's own server want the login that its pages wanted.
fn with_login(base: &Url, mut url: Url) -> String {
    if url.origin() == base.origin() && url.username().is_empty() && !base.username().is_empty() {
        // Both fail only for addresses without a host, which have no login either.
        let _ = url.set_username(base.username());
        let _ = url.set_password(base.password());
    }
    url.into()
}

/// The `href` of every `<a>`. Not a parser of HTML: PEP 503 pages are lists of anchors, and what
/// is not one is passed over.
fn links(html: &str) -> impl Iterator<Item = String> + '_ {
    html.split('<').filter_map(|piece| {
        let tag = piece.split('>').next()?;
        let name = tag.get(..1)?;
        let attributes = tag.get(1..)?;
        if !name.eq_ignore_ascii_case("a") || !attributes.starts_with(|c: char| c.is_ascii_whitespace()) {
            return None;
        }
        let at = attributes.to_ascii_lowercase().find("href=")?;
        let value = attributes.get(at + "href=".len()..)?;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let link = value.get(1..)?.split(quote).next()?;
        Some(link.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    })
}

/// The address for messages: without user name and password.
fn shown(page: &str) -> String {
    match Url::parse(page) {
        Ok(mut url) => {
            // Both fail only for addresses that cannot have a login.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        Err(_) => "the address of the Python index".to_owned(),
    }
}

#[derive(Deserialize)]
struct RawPage {
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAGE: &str = "https://mirror.example/root/simple/x/";
    const HASH: &str = "04e5ca0351e0f3f85c6853954072df659d0d13fac324d0072316b67d7794700d";

    fn read(text: &str) -> Vec<(String, String, bool)> {
        let offers = parse(PAGE, text).unwrap();
        offers.into_iter().map(|o| (o.file, o.url, o.sha256.is_some())).collect()
    }

    #[test]
    fn json_pages_are_read() {
        let text = format!(
            r#"{{"meta": {{"api-version": "1.1"}}, "name": "x", "files": [
                {{"filename": "x-1-py3-none-any.whl", "url": "../../files/x-1-py3-none-any.whl", "hashes": {{"sha256": "{HASH}"}}, "size": 3}},
                {{"filename": "x-2-py3-none-any.whl", "url": "https://files.example/x-2-py3-none-any.whl", "hashes": {{}}}}
            ]}}"#
        );
        assert_eq!(
            read(&text),
            [
                ("x-1-py3-none-any.whl".into(), "https://mirror.example/root/files/x-1-py3-none-any.whl".into(), true),
                ("x-2-py3-none-any.whl".into(), "https://files.example/x-2-py3-none-any.whl".into(), false),
            ]
        );
    }

    #[test]
    fn html_pages_are_read() {
        let text = format!(
            "<!DOCTYPE html><html><head><title>Links for x</title></head><body><h1>x</h1>\n\
             <a href=\"../../files/x-1-py3-none-any.whl#sha256={HASH}\" data-requires-python=\"&gt;=3.8\">x-1</a><br/>\n\
             <A class='y' HREF='/abs/x-1%2Bcpu-py3-none-any.whl?a=1&amp;b=2#md5=00'>x</A>\n\
             <abbr href=\"no\">n</abbr><a>none</a><a href=unquoted>n</a><a href=\"cut"
        );
        assert_eq!(
            read(&text),
            [
                ("x-1-py3-none-any.whl".into(), "https://mirror.example/root/files/x-1-py3-none-any.whl".into(), true),
                (
                    "x-1+cpu-py3-none-any.whl".into(),
                    "https://mirror.example/abs/x-1%2Bcpu-py3-none-any.whl?a=1&b=2".into(),
                    false
                ),
                ("cut".into(), "https://mirror.example/root/simple/x/cut".into(), false),
            ]
        );
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        for text in ["", "hello", "{", "{\"files\": 1}", "[]"] {
            assert!(matches!(parse(PAGE, text), Err(PypiError::Page { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_login_goes_to_the_same_server_only() {
        let page = "https://me:secret@mirror.example/simple/x/";
        let text = "<a href='a.whl'>a</a><a href='https://files.example/b.whl'>b</a>";
        let urls: Vec<_> = parse(page, text).unwrap().into_iter().map(|o| o.url).collect();
        assert_eq!(urls, ["https://me:secret@mirror.example/simple/x/a.whl", "https://files.example/b.whl"]);
        assert_eq!(shown(page), "https://mirror.example/simple/x/");
    }

    #[test]
    fn name_and_hash_must_both_agree() {
        let hash = Sha256::from_hex(HASH).unwrap();
        let offer =
            |file: &str, sha256| Offer { file: file.into(), url: format!("https://files.example/{file}"), sha256 };
        let offers = [offer("a.whl", Some(hash)), offer("b.whl", Some(Sha256::of(b"other"))), offer("c.whl", None)];
        let find = |file| find(&offers, "x", file, &hash, PAGE);
        assert_eq!(find("a.whl").unwrap(), "https://files.example/a.whl");
        assert_eq!(find("c.whl").unwrap(), "https://files.example/c.whl");
        assert!(matches!(find("b.whl"), Err(PypiError::Replaced { expected, .. }) if expected == hash));
        assert!(matches!(find("d.whl"), Err(PypiError::FileGone { have: 3, .. })));
    }
}
