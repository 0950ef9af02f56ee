#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::debian::packages::Index;

/// `name version; Field: value; …` a line.
fn text(packages: &[&str]) -> String {
    let stanza = |line: &&str| {
        let mut parts = line.split("; ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let fields: String = parts.map(|field| format!("{field}\n")).collect();
        format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\n")
    };
    packages.iter().map(stanza).collect()
}

fn solve_excluding(packages: &[&str], wanted: &[&str], exclude: &[&str]) -> Result<Vec<String>, ResolveError> {
    let text = text(packages);
    let pool = Pool::new("amd64", &[Index { archive: "debian", suite: "s", text: &text }]);
    let requirements: Vec<_> = wanted.iter().map(|r| Requirement::parse(r).unwrap()).collect();
    let exclude = exclude.iter().map(|name| (name.to_string(), "why".to_owned())).collect();
    let solution = resolve(&pool, &requirements, &exclude)?;
    Ok(solution.iter().map(|c| format!("{} {}", pool.get(c.package).name, pool.get(c.package).version)).collect())
}

fn solve(packages: &[&str], wanted: &[&str]) -> Result<Vec<String>, String> {
    solve_excluding(packages, wanted, &[]).map_err(|e| e.to_string())
}

#[track_caller]
fn check(packages: &[&str], wanted: &[&str], expected: &[&str]) {
    assert_eq!(solve(packages, wanted).unwrap(), expected);
    let (mut backwards, mut reversed) = (wanted.to_vec(), packages.to_vec());
    backwards.reverse();
    reversed.reverse();
    assert_eq!(solve(&reversed, &backwards).unwrap(), expected, "the order matters");
}

#[test]
fn dependencies_come_along_and_others_do_not() {
    let packages =
        ["a 1; Depends: b, c (>= 2); Recommends: r", "b 1; Pre-Depends: d", "c 2", "d 1", "r 1", "e 1; Essential: yes"];
    check(&packages, &["a"], &["a 1", "b 1", "c 2", "d 1"]);
}

#[test]
fn the_newest_version_that_serves_all_is_taken() {
    let packages = ["a 1", "a 2", "a 3", "b 1; Depends: a (<< 3)", "c 1; Depends: a (= 1)", "d 1; Depends: b, c"];
    check(&packages, &["a"], &["a 3"]);
    check(&packages, &["a (<< 3)"], &["a 2"]);
    check(&packages, &["a", "b"], &["a 2", "b 1"]);
    check(&packages, &["d"], &["a 1", "b 1", "c 1", "d 1"]);
}

#[test]
fn a_new_version_that_cannot_be_installed_gives_way_to_an_older_one() {
    check(&["a 2; Depends: gone", "a 1; Depends: b", "b 1"], &["a"], &["a 1", "b 1"]);
}

#[test]
fn alternatives_are_tried_in_order() {
    let packages = ["a 1; Depends: x | y | z", "y 1", "z 1", "b 1; Depends: z", "x2 1; Provides: x"];
    check(&packages, &["a"], &["a 1", "x2 1"]);
    check(&packages[..4], &["a"], &["a 1", "y 1"]);
    check(&packages[..4], &["a", "b"], &["a 1", "b 1", "z 1"]);
}

#[test]
fn a_real_package_goes_before_those_that_provide_its_name() {
    let packages = ["a 1; Depends: mta", "zmail 1; Provides: mta", "amail 1; Provides: mta"];
    check(&packages, &["a"], &["a 1", "amail 1"]);
    check(&[packages.as_slice(), &["mta 1"]].concat(), &["a"], &["a 1", "mta 1"]);
    check(&packages, &["a", "zmail"], &["a 1", "zmail 1"]);
}

#[test]
fn provided_versions_count_and_unversioned_ones_do_not() {
    let packages =
        ["a 1; Depends: v (>= 2)", "old 1; Provides: v (= 1)", "some 1; Provides: v", "new 1; Provides: v (= 3)"];
    check(&packages, &["a"], &["a 1", "new 1"]);
    let error = solve(&packages[..3], &["a"]).unwrap_err();
    assert!(error.contains("nothing satisfies `v (>= 2)`") && error.contains("only old 1"), "{error}");
}

#[test]
fn conflicts_and_breaks_decide_between_alternatives() {
    for field in ["Conflicts", "Breaks"] {
        let objector = format!("x 1; {field}: c");
        check(&["a 1; Depends: x | y", &objector, "y 1", "c 1"], &["a", "c"], &["a 1", "c 1", "y 1"]);
        let objector = format!("c 1; {field}: x");
        check(&["a 1; Depends: x | y", "x 1", "y 1", &objector], &["a", "c"], &["a 1", "c 1", "y 1"]);
        let versioned = format!("c 1; {field}: x (<< 2)");
        check(&["x 2", "x 1", &versioned], &["x", "c"], &["c 1", "x 2"]);
    }
}

#[test]
fn a_package_may_conflict_with_a_name_that_it_provides() {
    let packages = ["a 1; Provides: mta; Conflicts: mta", "b 1; Provides: mta; Conflicts: mta"];
    check(&packages, &["a"], &["a 1"]);
    let error = solve(&packages, &["a", "b"]).unwrap_err();
    assert!(
        error.contains("nothing satisfies `b`") && error.contains("is forbidden (`mta`) by a 1 (s), named"),
        "{error}"
    );
}

#[test]
fn a_contradiction_names_everybody_involved() {
    let packages = ["app 1; Depends: lib", "lib 1; Depends: z (= 2)", "tool 1; Depends: z (= 1)", "z 1", "z 2"];
    let error = solve(&packages, &["app", "tool"]).unwrap_err();
    for part in [
        "nothing satisfies `z (= 2)`",
        "needed by lib 1 (s)\n  which is needed by app 1 (s)\n  which the definition names",
        "z 2 (s) cannot stand beside version 1, needed by tool 1 (s), which the definition names",
    ] {
        assert!(error.contains(part), "{part}\n\n{error}");
    }
}

#[test]
fn an_unknown_package_is_named_with_the_nearest_one() {
    let error = solve(&["python3.11 1"], &["pyhton3.11"]).unwrap_err();
    assert!(error.contains("no package `pyhton3.11`") && error.contains("did you mean `python3.11`?"), "{error}");
    let error = solve(&["a 1; Depends: gone"], &["a"]).unwrap_err();
    assert!(
        error.contains("no package `gone`") && error.contains("needed by a 1") && error.contains("debian.suites"),
        "{error}"
    );
}

#[test]
fn a_version_that_is_not_there_is_told_with_those_that_are() {
    let error = solve(&["a 1", "a 2"], &["a (>= 3)"]).unwrap_err();
    assert!(error.contains("only a 2 (s), a 1 (s)"), "{error}");
}

#[test]
fn excluded_edges_are_not_followed() {
    let packages = ["a 1; Depends: perl, b | perl", "b 1", "perl 1", "mini 1; Provides: perl"];
    let solved = |wanted: &[&str]| solve_excluding(&packages, wanted, &["perl"]);
    assert_eq!(solved(&["a"]).unwrap(), ["a 1"]);
    assert!(matches!(solved(&["perl"]), Err(ResolveError::RequiredAndExcluded { .. })));
    let virtual_only = ["a 1; Depends: v", "x 1; Provides: v", "y 1; Provides: v"];
    assert_eq!(solve_excluding(&virtual_only, &["a"], &["x"]).unwrap(), ["a 1", "y 1"]);
}

#[test]
fn edges_name_the_packages_that_serve() {
    let text = text(&["a 1; Depends: v, b | c, a2; Pre-Depends: c", "c 1", "p 1; Provides: v", "a2 1; Depends: a"]);
    let pool = Pool::new("amd64", &[Index { archive: "debian", suite: "s", text: &text }]);
    let solution = resolve(&pool, &[Requirement::parse("a").unwrap()], &BTreeMap::new()).unwrap();
    let edges: Vec<_> = solution.iter().map(|c| (pool.get(c.package).name, c.depends.clone())).collect();
    assert_eq!(edges, [("a", vec!["a2", "c", "p"]), ("a2", vec!["a"]), ("c", vec![]), ("p", vec![])]);
}

#[test]
fn a_field_that_cannot_be_read_is_an_error() {
    let error = solve(&["a 1; Depends: b (1)"], &["a"]).unwrap_err();
    assert!(error.contains("package `a` 1 in suite s") && error.contains("`b (1)`"), "{error}");
}

/// A made-up archive: ten names, two versions each, with alternatives, conflicts and providers.
fn archive() -> impl Strategy<Value = Vec<String>> {
    let package =
        (0..10usize, 1..3u8, proptest::collection::vec((0..10usize, 0..10usize, 0..3u8), 0..3), 0..30usize, 0..12usize);
    proptest::collection::vec(package, 1..24).prop_map(|packages| {
        packages
            .into_iter()
            .map(|(name, version, needs, conflict, provides)| {
                let needs: Vec<_> = needs.iter().map(|(a, b, v)| format!("p{a} (>= {v}) | p{b}")).collect();
                let mut line = format!("p{name} {version}");
                if !needs.is_empty() {
                    line += &format!("; Depends: {}", needs.join(", "));
                }
                if conflict < 10 {
                    line += &format!("; Conflicts: p{conflict}");
                }
                if provides < 10 {
                    line += &format!("; Provides: p{provides} (= 1)");
                }
                line
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_definition_and_index_does_not_matter(
        (packages, shuffled) in archive().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
        (wanted, other) in proptest::sample::subsequence((0..10).collect::<Vec<_>>(), 1..4)
            .prop_flat_map(|w| (Just(w.clone()), Just(w).prop_shuffle())),
    ) {
        // A name in two spellings of one version would differ by position: keep the first.
        let unique = |mut list: Vec<String>| {
            list.sort();
            let mut seen = std::collections::HashSet::new();
            list.retain(|line| seen.insert(line.split(';').next().unwrap_or_default().to_owned()));
            list
        };
        let packages = unique(packages);
        let order: Vec<String> = shuffled.into_iter().filter(|p| packages.contains(p)).collect();
        let names = |list: &[usize]| list.iter().map(|n| format!("p{n}")).collect::<Vec<_>>();
        let run = |packages: &[String], wanted: &[String]| {
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            solve(&packages, &wanted)
        };
        let one = run(&packages, &names(&wanted));
        prop_assert_eq!(&one, &run(&order, &names(&other)));
        if let Ok(solution) = one {
            verify(&packages, &solution);
        }
    }
}

/// Checks the first rule by itself, without the solver.
fn verify(packages: &[String], solution: &[String]) {
    let lines: Vec<&str> = packages.iter().map(String::as_str).collect();
    let text = text(&lines);
    let pool = Pool::new("amd64", &[Index { archive: "debian", suite: "s", text: &text }]);
    let find = |s: &String| {
        let (name, version) = s.split_once(' ').unwrap();
        *pool.named(name).iter().find(|id| pool.get(**id).version == version).unwrap()
    };
    let chosen: Vec<_> = solution.iter().map(find).collect();
    for id in &chosen {
        let package = pool.get(*id);
        for clause in package.depends("amd64").unwrap() {
            assert!(clause.iter().any(|r| chosen.iter().any(|c| pool.satisfies(*c, r))), "{} {clause:?}", package.name);
        }
        for relation in package.conflicts("amd64").unwrap() {
            assert!(chosen.iter().all(|c| c == id || !pool.satisfies(*c, &relation)), "{} {relation}", package.name);
        }
    }
    let names: std::collections::HashSet<_> = chosen.iter().map(|id| pool.get(*id).name).collect();
    assert_eq!(names.len(), chosen.len());
}
