//! What is wrong with a certificate that is shown, and what to do about it.

use serde::Serialize;

use crate::{Chain, Server, Shown};

/// What is asked of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Fewer days left are a fault.
    pub days: u32,
    /// The service that gets certificates for the name on this host.
    pub client: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub problem: String,
    pub remedy: String,
}

impl Shown {
    /// Everything that is wrong, the worst first.
    pub fn faults(&self, server: &Server, terms: &Terms) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |problem: String, remedy: String| faults.push(Fault { problem, remedy });
        let days = self.days_left;
        match &self.chain {
            Chain::Trusted => {}
            Chain::SelfMade => {
                add("self-made: no authority has issued it".to_owned(), terms.issue());
            }
            Chain::UnknownIssuer => add(
                format!("nobody that is trusted here vouches for its issuer, {}", self.issuer),
                "trust the authority with --ca FILE, or ask another one; or the server leaves out a certificate in between"
                    .to_owned(),
            ),
            Chain::Expired if days < 0 => add(format!("it ended {} days ago", -days), terms.issue()),
            Chain::Expired => {
                add("a certificate above it has ended".to_owned(), "let the authority issue it anew".to_owned());
            }
            Chain::NotYetValid => {
                add("it is not valid yet".to_owned(), "compare the clocks of this computer and of the host".to_owned());
            }
            Chain::Invalid(reason) => add(format!("clients refuse it: {reason}"), terms.issue()),
        }
        if !self.covers {
            let names = if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
            add(format!("it is for {names} and not for {}", server.name), terms.cover());
        }
        if self.chain == Chain::Trusted && days < i64::from(terms.days) {
            add(format!("{days} days are left, fewer than {}", terms.days), terms.issue());
        }
        faults
    }
}

impl Terms<'_> {
    fn issue(&self) -> String {
        match self.client {
            Some(client) => format!(
                "see on the host why there is no newer one, `journalctl -u 'cairn-{client}-*'`, and ask again: `systemctl start --all 'cairn-{client}-*.service'`"
            ),
            None => "no service of this host gets certificates for this name: include services/certificates.toml in its definition, or put a newer one where the server finds it".to_owned(),
        }
    }

    fn cover(&self) -> String {
        match self.client {
            Some(client) => format!(
                "services.{client} has the name: after a switch, ask for the certificate: `systemctl start --all 'cairn-{client}-*.service'` on the host"
            ),
            None => "add the name to `names` of the service that gets certificates, and switch".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Shown {
        Shown {
            covers: true,
            chain: Chain::Trusted,
            names: vec!["example.com".to_owned()],
            issuer: "CN=x".to_owned(),
            serial: "01".to_owned(),
            not_before: 0,
            not_after: 30 * 86_400,
            days_left: 30,
        }
    }

    #[test]
    fn each_fault_is_told_with_its_remedy() {
        let server = Server { host: "10.0.0.1", port: 443, name: "example.com" };
        let client = Terms { days: 21, client: Some("certificates") };
        let nobody = Terms { days: 21, client: None };
        let strict = Terms { days: 31, client: Some("certificates") };
        assert_eq!(good().faults(&server, &client), []);
        for (shown, terms, problems, remedy) in [
            (Shown { days_left: 20, ..good() }, client, vec!["20 days are left, fewer than 21"], "journalctl"),
            (good(), strict, vec!["30 days are left, fewer than 31"], "systemctl start"),
            (Shown { chain: Chain::SelfMade, ..good() }, client, vec!["self-made"], "'cairn-certificates-*'"),
            (
                Shown { chain: Chain::SelfMade, days_left: 1, ..good() },
                nobody,
                vec!["self-made"],
                "services/certificates",
            ),
            (Shown { chain: Chain::UnknownIssuer, ..good() }, client, vec!["issuer, CN=x"], "--ca FILE"),
            (Shown { chain: Chain::Expired, days_left: -3, ..good() }, client, vec!["ended 3 days ago"], "journalctl"),
            (Shown { chain: Chain::Expired, ..good() }, client, vec!["above it has ended"], "anew"),
            (Shown { chain: Chain::NotYetValid, ..good() }, client, vec!["not valid yet"], "clocks"),
            (Shown { chain: Chain::Invalid("BadX".into()), ..good() }, client, vec!["refuse it: BadX"], "journalctl"),
            (Shown { covers: false, ..good() }, nobody, vec!["for example.com and not for"], "`names`"),
            (
                Shown { covers: false, chain: Chain::SelfMade, names: vec![], ..good() },
                client,
                vec!["self-made", "for no name and not for example.com"],
                "journalctl",
            ),
        ] {
            let faults = shown.faults(&server, &terms);
            assert_eq!(faults.len(), problems.len(), "{faults:?}");
            for (fault, problem) in faults.iter().zip(&problems) {
                assert!(fault.problem.contains(problem), "{fault:?}");
            }
            assert!(faults[0].remedy.contains(remedy), "{faults:?}");
        }
    }
}
