//! The key that secrets of a host are sealed to, and whether it is the one of the last time.
//!
//! `switch` seals to the key that the host answers with, and `publish` to `pull.recipient`. Which host
//! answers, and that recipient, stand in the repository. So the key that was used last is kept outside of
//! it ([`Accepted`]), and another one is refused unless `--accept-recipient HOST` says that it is meant.
//! Which secrets a host reads stands there as well. So those that a host did not get before are named, and
//! asked about.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use cairn_machine::Machines;
use cairn_recipe::Project;
use cairn_recipe::project::Host;
use cairn_secrets::{Accepted, Recipient, SecretName, Way};

/// Where records lie of what was accepted of each project, beside those of the machines.
pub fn folder() -> Result<PathBuf> {
    Ok(Machines::default_state()?.with_file_name("accepted"))
}

/// Of one run over hosts, which seals for several of them at once.
pub struct HostKeys {
    accepted: Mutex<Accepted>,
    /// Hosts of which another key is accepted.
    expected: Vec<String>,
    way: Way,
}

impl HostKeys {
    /// `expected` are the hosts of `--accept-recipient`, which must take part in the run.
    pub fn new(project: &Project, way: Way, hosts: &[Host], expected: &[String]) -> Result<Self> {
        if let Some(stranger) = expected.iter().find(|name| !hosts.iter().any(|host| host.name == **name)) {
            bail!(
                "--accept-recipient {stranger}: no host of this run has that name\n  help: name each host whose key has changed"
            );
        }
        Self::open(&folder()?, project, way, expected)
    }

    fn open(folder: &std::path::Path, project: &Project, way: Way, expected: &[String]) -> Result<Self> {
        let accepted = Mutex::new(Accepted::open(folder, &project.root)?);
        Ok(Self { accepted, expected: expected.to_vec(), way })
    }

    /// What an operator should know before a host gets these secrets: those of them that it did not get
    /// from this computer before. `None` for a host that gets its first ones, which [`HostKeys::check`] names.
    pub fn unsent(&self, host: &Host, secrets: &[SecretName]) -> Option<String> {
        if host.definition.machine.is_some() {
            return None;
        }
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&str> = accepted.unsent(&host.name, secrets).into_iter().map(SecretName::as_str).collect();
        let text =
            format!("{} gets secrets that it did not get from this computer before: {}", host.name, new.join(", "));
        (!new.is_empty()).then_some(text)
    }

    /// Remembers that an operator has agreed to a plan with these secrets. Nothing, for a host that got none
    /// so far: sealing does it then, with the key.
    pub fn agreed(&self, host: &Host, secrets: &[SecretName]) -> Result<()> {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        match host.definition.machine.is_some() || accepted.unsent(&host.name, secrets).is_empty() {
            true => Ok(()),
            false => accepted.accept_sent(&host.name, secrets).context("cannot record which secrets were sent"),
        }
    }

    /// Whether `--accept-recipient` names the host.
    pub fn is_expected(&self, host: &Host) -> bool {
        self.expected.contains(&host.name)
    }

    /// Refuses another key than the last one. Gives what an operator should see of this key: that it is
    /// the first one, or that it takes the place of another.
    pub fn check(&self, host: &Host, key: &str, secrets: &[SecretName]) -> Result<Option<String>> {
        // A machine of this computer is made anew at will; its key comes from this computer alone.
        if host.definition.machine.is_some() {
            return Ok(None);
        }
        let key = Recipient::parse(key).map_err(anyhow::Error::msg)?;
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, shown) = (&host.name, key.shown());
        let Some(before) = accepted.other_key(name, &key) else {
            let first = !accepted.knows_host(name);
            let names: Vec<&str> = secrets.iter().map(SecretName::as_str).collect();
            let names = names.join(", ");
            return Ok(
                first.then(|| format!("{name}: secrets are sealed for the first time here, to {shown}: {names}"))
            );
        };
        let before = Recipient::parse(before).map_or_else(|_| before.to_owned(), |key| key.shown());
        if self.expected.contains(name) {
            return Ok(Some(format!("{name}: secrets are sealed to {shown}; before it was {before}")));
        }
        let source = match self.way {
            Way::Switch => "it answers with",
            Way::Pull => "pull.recipient is",
        };
        bail!(
            "{name}: {source} another key than the one that secrets were sealed to before: {shown} instead of {before}\n  \
             help: if its key was replaced, compare it there (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`; of a host \
             that pulls: /etc/cairn/pull.key) and run this again with `--accept-recipient {name}`; if not, find out who \
             changed {}. Keys used before are recorded in {}",
            host.file.display(),
            accepted.file().display()
        )
    }

    /// Remembers the key, after it was used.
    pub fn used(&self, host: &Host, key: &str, secrets: &[SecretName], vault: Option<&str>) -> Result<()> {
        if host.definition.machine.is_some() {
            return Ok(());
        }
        let key = Recipient::parse(key).map_err(anyhow::Error::msg)?;
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted
            .accept_host(&host.name, self.way, &key, secrets, vault)
            .with_context(|| format!("cannot record the key of {}", host.name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    const FIRST: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiICLLLLn4FVWrAmDdtKJt84DzIAFZLMRGNmrPIrATt";
    const SECOND: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("hosts")).unwrap();
        fs::write(dir.path().join("deploy.toml"), "").unwrap();
        fs::write(dir.path().join("hosts/web.toml"), "[ssh]\naddress = \"web.example\"\n").unwrap();
        fs::write(dir.path().join("hosts/local.toml"), "[machine]\n").unwrap();
        let project = Project::open(dir.path()).unwrap();
        (dir, project)
    }

    #[test]
    fn another_key_than_the_last_one_is_refused_unless_it_is_named() {
        let (dir, project) = project();
        let (web, local) = (project.host("web").unwrap(), project.host("local").unwrap());
        let open =
            |way, expected: &[String]| HostKeys::open(&dir.path().join("state"), &project, way, expected).unwrap();
        let keys = open(Way::Switch, &[]);
        assert!(keys.check(&web, FIRST, &[]).unwrap().unwrap().contains("for the first time here, to SHA256:"));
        keys.used(&web, FIRST, &[], None).unwrap();
        assert_eq!(keys.check(&web, &format!("{FIRST} root@web"), &[]).unwrap(), None);

        for (way, said) in [(Way::Switch, "answers with another key"), (Way::Pull, "pull.recipient is another key")] {
            let error = open(way, &[]).check(&web, SECOND, &[]).unwrap_err().to_string();
            let parts =
                [said, "--accept-recipient web", "hosts/web.toml", "state", &Recipient::parse(SECOND).unwrap().shown()];
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        let told = open(Way::Switch, &["web".to_owned()]);
        assert!(told.check(&web, SECOND, &[]).unwrap().unwrap().contains("before it was SHA256:"));
        told.used(&web, SECOND, &[], None).unwrap();
        assert_eq!(open(Way::Switch, &[]).check(&web, SECOND, &[]).unwrap(), None);
        assert!(open(Way::Switch, &[]).check(&web, FIRST, &[]).is_err());

        // A machine of this computer has another key each time that it is made.
        keys.used(&local, FIRST, &[], None).unwrap();
        assert_eq!(keys.check(&local, SECOND, &[]).unwrap(), None);
        let error = HostKeys::new(&project, Way::Switch, &[local], &["web".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("no host of this run"), "{error}");
    }
}
