//! Text files of a host's store, asked for by somebody who may be anybody.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_formats::StorePath;
use cairn_protocol::reading::{Reading, What};
use cairn_protocol::{Request, Response};
use common::{Home, agent};

#[test]
fn files_of_valid_paths_are_read_and_nothing_else_is() {
    let there = Home::new();
    fs::write(there.store.root().join("secret"), "outside").unwrap();
    let closure = there.add("host", &[], |at| {
        fs::create_dir(at.join("units")).unwrap();
        fs::write(at.join("units/a.service"), "[Unit]\n").unwrap();
        std::os::unix::fs::symlink("../../../../secret", at.join("units/out")).unwrap();
    });
    let never_added = StorePath::parse("0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-host").unwrap();
    fs::create_dir_all(there.store.physical(&never_added)).unwrap();

    let mut session = agent(there.store.root()).unwrap();
    let mut read = |path: &StorePath, below: &str| {
        let wanted = Reading { path: path.clone(), below: below.to_owned(), what: What::Texts };
        session.request(&Request::Read(wanted), &mut |_| ()).map(|response| match response {
            Response::Read { texts } => texts.files.into_iter().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
    };
    let unit = |name: &str| vec![(name.to_owned(), "[Unit]\n".to_owned())];
    assert_eq!(read(&closure.path, "").unwrap(), unit("units/a.service"));
    assert_eq!(read(&closure.path, "units").unwrap(), unit("a.service"));
    assert_eq!(read(&closure.path, "units/out").unwrap(), []);
    for below in ["..", "units/../..", "/etc", "units//", "\0"] {
        assert!(read(&closure.path, below).is_err(), "{below:?}");
    }
    let refused = read(&never_added, "").unwrap_err().to_string();
    assert!(refused.contains("is not in this host's store"), "{refused}");
    // The session goes on after each refusal.
    assert_eq!(read(&closure.path, "units").unwrap(), unit("a.service"));
}
