//! Carrying a rollout out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use cairn_recipe::project::Host;
use cairn_recipe::rollout::{OnFailure, RolloutEntry};

use super::{Group, Rollout, groups};
use crate::parallel::{AT_ONCE, in_parallel};
use crate::{Event, FleetError, HostReport, Outcome, waves};

/// Between two questions for the health of hosts that are watched.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks whether the operator has had enough.
const LOOK: Duration = Duration::from_millis(100);

/// What is done on hosts, which are named by their places in the list.
pub trait Actions: Sync {
    fn begin(&self, host: usize) -> HostReport;
    /// Makes the generation `to` live again, because another host failed.
    fn take_back(&self, host: usize, to: u64, because: &str) -> HostReport;
    /// What keeps the host from being well.
    fn health(&self, host: usize) -> Result<(), String>;
    /// No further host is to be begun.
    fn interrupted(&self) -> bool;
    fn tell(&self, event: Event);
}

/// Which hosts, in which order, and what holds for all of them.
#[derive(Debug)]
pub struct Run<'a> {
    hosts: &'a [Host],
    waves: Vec<Vec<usize>>,
    groups: Vec<Group>,
    /// Groups are worked on at once.
    together: bool,
    /// Nothing that becomes of a host has a say in what is done on another one.
    regardless: bool,
    skip_unreachable: bool,
}

/// What a report means for other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well,
    /// Nothing was done, and that is no failure.
    LeftOut,
    Failed,
}

impl<'a> Run<'a> {
    /// As the fleets say, and over that the command line. A `parallel` of the command line is the
    /// limit for all hosts, so fleets go one after another then.
    pub fn new(hosts: &'a [Host], said: &RolloutEntry, skip_unreachable: bool) -> Result<Self, FleetError> {
        let (waves, groups) = (waves(hosts)?, groups(hosts, said)?);
        Ok(Self { hosts, waves, groups, together: said.parallel.is_none(), regardless: false, skip_unreachable })
    }

    /// All hosts, whatever becomes of the others: of a wave at once, at most `parallel`.
    pub fn of_all(hosts: &'a [Host], waves: Vec<Vec<usize>>, parallel: Option<usize>) -> Self {
        let rollout = Rollout::of_all(parallel.unwrap_or(AT_ONCE));
        let groups = vec![Group { rollout, hosts: (0..hosts.len()).collect() }];
        Self { hosts, waves, groups, together: false, regardless: true, skip_unreachable: false }
    }

    /// In which portions hosts would be begun if all goes well: names, and how long each is watched.
    /// Fleets that go side by side have no common order.
    pub fn outline(&self) -> Vec<(Vec<&'a str>, Duration)> {
        let mut portions = Vec::new();
        if self.together && self.groups.len() > 1 {
            return portions;
        }
        for wave in &self.waves {
            for group in &self.groups {
                let members: Vec<usize> = wave.iter().copied().filter(|at| group.hosts.contains(at)).collect();
                let mut done = 0;
                while done < members.len() {
                    let portion = group.rollout.portion(members.len(), done, members.len() - done);
                    let names = members[done..done + portion].iter().map(|at| self.hosts[*at].name.as_str());
                    portions.push((names.collect(), group.rollout.wait));
                    done += portion;
                }
            }
        }
        portions
    }

    /// Gives a report for each host, in their order.
    pub fn carry_out(&self, actions: &dyn Actions) -> Vec<HostReport> {
        let mut courses: Vec<Course> = self.groups.iter().map(|group| Course::new(self, group, actions)).collect();
        for (number, wave) in self.waves.iter().enumerate() {
            let blocked: BTreeMap<usize, String> =
                wave.iter().filter_map(|host| Some((*host, self.blocked(*host, &courses)?))).collect();
            let later: Vec<usize> = self.waves[number + 1..].concat();
            let go = |course: &mut Course<'_>| course.wave(wave, &blocked, &later);
            if self.together {
                thread::scope(|scope| courses.iter_mut().for_each(|course| drop(scope.spawn(move || go(course)))));
            } else {
                courses.iter_mut().for_each(go);
            }
        }
        let mut reports: Vec<(usize, HostReport)> = courses.into_iter().flat_map(|course| course.reports).collect();
        reports.sort_by_key(|(host, _)| *host);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// The host of an earlier wave that leaves `host` as it is: one of its own fleet that failed, or
    /// one that it comes after, or whose tasks it relies on, on which nothing was done.
    fn blocked(&self, host: usize, courses: &[Course]) -> Option<String> {
        if self.regardless {
            return None;
        }
        let because = |(course, other, report): (&Course, &usize, &HostReport)| {
            let (definition, other) = (&self.hosts[host].definition, &self.hosts[*other]);
            let same = course.group.hosts.contains(&host);
            let relies = definition.after.contains(&other.name) || (same && other.definition.has_tasks());
            let blocks = match self.verdict(report) {
                Verdict::Well => false,
                Verdict::LeftOut => relies,
                Verdict::Failed => relies || same,
            };
            blocks.then(|| (report.outcome == Outcome::Skipped, other.name.clone()))
        };
        let all = courses.iter().flat_map(|course| course.reports.iter().map(move |(at, report)| (course, at, report)));
        // Rather the one that failed than one that was left because of it.
        all.filter_map(because).min().map(|(_, name)| name)
    }

    fn verdict(&self, report: &HostReport) -> Verdict {
        match &report.failure {
            None => Verdict::Well,
            Some(FleetError::Declined { .. }) => Verdict::LeftOut,
            Some(_) if self.skip_unreachable && report.outcome == Outcome::Unreachable => Verdict::LeftOut,
            Some(_) => Verdict::Failed,
        }
    }
}

/// One group on its way.
struct Course<'a> {
    run: &'a Run<'a>,
    group: &'a Group,
    actions: &'a dyn Actions,
    /// Portions that were begun, in their order.
    begun: Vec<Vec<usize>>,
    reports: BTreeMap<usize, HostReport>,
}

impl<'a> Course<'a> {
    fn new(run: &'a Run<'a>, group: &'a Group, actions: &'a dyn Actions) -> Self {
        Self { run, group, actions, begun: Vec::new(), reports: BTreeMap::new() }
    }

    fn name(&self, host: usize) -> &'a str {
        &self.run.hosts[host].name
    }

    /// The hosts of one wave, portion by portion.
    fn wave(&mut self, wave: &[usize], blocked: &BTreeMap<usize, String>, later: &[usize]) {
        let rollout = &self.group.rollout;
        let of_group = |host: &&usize| self.group.hosts.contains(host);
        let (members, kept): (Vec<usize>, Vec<usize>) =
            wave.iter().filter(of_group).partition(|host| !blocked.contains_key(host));
        for host in kept {
            self.reports.insert(host, HostReport::skipped(self.name(host), &blocked[&host]));
        }
        let more = later.iter().any(|host| self.group.hosts.contains(host));
        let (total, mut done, mut failed) = (members.len(), 0, None);
        let mut left = VecDeque::from(members);
        while !left.is_empty() && failed.is_none() && !self.actions.interrupted() {
            let portion: Vec<usize> = left.drain(..rollout.portion(total, done, left.len())).collect();
            failed = self.begin(&portion);
            done += portion.iter().filter(|host| self.verdict(**host) != Verdict::LeftOut).count();
            if failed.is_none() && (more || !left.is_empty()) {
                failed = self.watch(&portion);
            }
            match rollout.on_failure {
                OnFailure::Stop => {}
                OnFailure::Continue => failed = None,
                OnFailure::Revert => failed.iter().for_each(|because| self.take_back(because)),
            }
        }
        for host in left {
            let report = match &failed {
                Some(because) => HostReport::skipped(self.name(host), because),
                None => HostReport::interrupted(self.name(host)),
            };
            self.reports.insert(host, report);
        }
    }

    fn verdict(&self, host: usize) -> Verdict {
        self.reports.get(&host).map_or(Verdict::LeftOut, |report| self.run.verdict(report))
    }

    /// Works on these hosts; gives the name of one that failed.
    fn begin(&mut self, portion: &[usize]) -> Option<String> {
        let rollout = &self.group.rollout;
        // Also when not all of them are begun at once, a failure holds up those that are not.
        let failed: OnceLock<&str> = OnceLock::new();
        let reports = in_parallel(rollout.parallel, portion, |host| {
            let name = self.name(*host);
            let report = match failed.get().filter(|_| rollout.on_failure != OnFailure::Continue) {
                Some(because) => HostReport::skipped(name, because),
                None if self.actions.interrupted() => HostReport::interrupted(name),
                None => self.actions.begin(*host),
            };
            if self.run.verdict(&report) == Verdict::Failed && report.outcome != Outcome::Skipped {
                failed.get_or_init(|| name);
            }
            self.actions.tell(Event::Ended { host: name, report: &report });
            report
        });
        self.begun.push(portion.to_vec());
        self.reports.extend(portion.iter().copied().zip(reports));
        failed.get().map(|name| (*name).to_owned())
    }

    /// Asks for the health of these hosts as long as they are to be watched; gives the name of one
    /// that is not well.
    fn watch(&mut self, portion: &[usize]) -> Option<String> {
        let wait = self.group.rollout.wait;
        // Those that run what they ran before say nothing new.
        let watched: Vec<usize> = portion.iter().copied().filter(|host| self.reports[host].changed).collect();
        if wait.is_zero() || watched.is_empty() {
            return None;
        }
        for host in &watched {
            self.actions.tell(Event::Watching { host: self.name(*host), wait });
        }
        let ill = self.ill(&watched, Instant::now() + wait);
        for host in watched {
            self.actions.tell(Event::Watched { host: self.name(host) });
        }
        ill
    }

    /// Asks until one of these hosts is not well, or `end` has come, or the operator has had enough.
    fn ill(&mut self, watched: &[usize], end: Instant) -> Option<String> {
        loop {
            let next = end.min(Instant::now() + PAUSE);
            while Instant::now() < next {
                if self.actions.interrupted() {
                    return None;
                }
                thread::sleep(LOOK.min(next.saturating_duration_since(Instant::now())));
            }
            let answers = in_parallel(self.group.rollout.parallel, watched, |host| self.actions.health(*host));
            let mut ill = None;
            for (host, answer) in watched.iter().zip(answers) {
                if let (Err(message), Some(report)) = (answer, self.reports.get_mut(host)) {
                    report.was_unhealthy(message);
                    ill.get_or_insert(*host);
                }
            }
            if ill.is_some() || Instant::now() >= end {
                return ill.map(|host| self.name(host).to_owned());
            }
        }
    }

    /// Every host that was switched goes back to the generation it ran before: the last one first.
    fn take_back(&mut self, because: &str) {
        for portion in self.begun.iter().rev() {
            let changed: Vec<usize> = portion.iter().copied().filter(|host| self.reports[host].changed).collect();
            let backs = in_parallel(self.group.rollout.parallel, &changed, |host| {
                let name = self.name(*host);
                match self.reports[host].previous {
                    Some(to) => {
                        self.actions.tell(Event::TakingBack { host: name, because });
                        self.actions.take_back(*host, to, because)
                    }
                    None => HostReport::failed(name, FleetError::NothingBefore { host: name.to_owned() }),
                }
            });
            for (host, back) in changed.into_iter().zip(backs) {
                if let Some(report) = self.reports.get_mut(&host) {
                    report.was_taken_back(because, back);
                    let name = &self.run.hosts[host].name;
                    self.actions.tell(Event::Ended { host: name, report });
                }
            }
        }
    }
}
