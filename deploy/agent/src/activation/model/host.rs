//! What an activation does to a host, done to the model.

use cairn_closure::{InstanceId, Manifest, ServiceName, UnitName, User};
use cairn_protocol::Goal;

use super::super::host::{Ask, Host, Side};
use super::super::plan::Plan;
use super::super::record::Record;
use super::is_committed;
use super::world::{World, differing, files_of, sides, system_of};
use crate::error::Result;

/// The host as one activation sees it.
pub struct ModelHost<'a> {
    pub world: &'a mut World,
    pub record: Record,
}

impl Host for ModelHost<'_> {
    fn preflight(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn place_secrets(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn sweep_secrets(&mut self, _: Option<&Manifest>) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn ensure_state(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn ensure_users(&mut self, _: &Plan) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn make_directory(&mut self, service: &ServiceName, instance: &InstanceId, _: &User) -> Result<()> {
        self.world.act(|world| {
            world.directories.insert((service.clone(), instance.clone()));
            Ok(())
        })
    }

    /// Slots have tests of their own.
    fn take_slot(&mut self, _: &ServiceName, _: &InstanceId) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn place_live(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        self.world.act(|world| {
            let found = &manifest.services[service];
            if let Some(reload) = &found.reload {
                world.live.insert((service.clone(), found.instance.clone()), reload.files.clone());
            }
            Ok(())
        })
    }

    fn tell_to_reload(&mut self, manifest: &Manifest, service: &ServiceName) -> Result<()> {
        self.world.act(|world| {
            let found = &manifest.services[service];
            let files = world.live[&(service.clone(), found.instance.clone())].clone();
            for replica in found.replicas.iter().filter(|r| world.running.contains(&r.unit)) {
                world.read.insert(replica.unit.clone(), files.clone());
            }
            Ok(())
        })
    }

    fn sweep_directories(&mut self, keep: Option<&Manifest>) -> Result<()> {
        self.world.act(|world| {
            world.directories.retain(|(name, instance)| {
                let kept = keep.and_then(|manifest| manifest.services.get(name));
                kept.is_some_and(|kept| kept.instance == *instance)
            });
            let directories = &world.directories;
            world.live.retain(|instance, _| directories.contains(instance));
            Ok(())
        })
    }

    fn link(&mut self, _: Side, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                world.linked.insert(unit.clone());
                Ok(())
            })?;
        }
        Ok(())
    }

    fn link_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        self.world.act(|world| {
            world.linked_plain.extend(differing(&here, &there));
            if side == Side::New {
                let retiring = there.units.iter().filter(|(name, _)| !here.units.contains_key(*name));
                world.linked_plain.extend(retiring.map(|(name, unit)| (name.clone(), unit.hash)));
            }
            Ok(())
        })
    }

    fn ensure_people(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.people.extend(here.users.keys().cloned());
            Ok(())
        })
    }

    fn set_kernel(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.kernel = here.sysctl;
            Ok(())
        })
    }

    fn place_etc(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, _] = sides(plan, side);
        self.world.act(|world| {
            world.etc = files_of(&here);
            Ok(())
        })
    }

    fn start_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        for (name, _) in differing(&here, &there).into_iter().filter(|(name, _)| here.units[name].start) {
            self.world.act(|world| {
                let emitted = system_of(world.manifest(world.current_generation));
                let emitted = emitted.units.get(&name).map(|unit| unit.hash);
                let text = world.linked_plain.get(&name).copied().or(emitted);
                world.plain.insert(name.clone(), text.expect("a text that systemd knows"));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn tell_system(&mut self, plan: &Plan, side: Side) -> Result<()> {
        let [here, there] = sides(plan, side);
        let (reload, _) = here.listeners(&there);
        self.world.act(|world| {
            if !reload.is_empty() {
                world.read_by_sshd = world.etc.clone();
            }
            Ok(())
        })
    }

    fn sweep_system(&mut self, keep: Option<&Manifest>) -> Result<()> {
        let kept = system_of(keep);
        self.world.act(|world| {
            world.plain.retain(|name, _| kept.units.contains_key(name));
            Ok(())
        })
    }

    fn sweep_people(&mut self, keep: Option<&Manifest>) -> Result<()> {
        let kept = system_of(keep);
        self.world.act(|world| {
            world.people.retain(|name| kept.users.contains_key(name));
            Ok(())
        })
    }

    fn unlink_all(&mut self) -> Result<()> {
        self.world.act(|world| {
            world.linked_plain.clear();
            world.linked.clear();
            Ok(())
        })
    }

    fn reload(&mut self) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn expect_loaded(&mut self, units: &[UnitName]) -> Result<()> {
        self.world.act(|world| {
            assert!(units.iter().all(|unit| world.linked.contains(unit)));
            Ok(())
        })
    }

    fn replace_adopted(&mut self) -> Result<()> {
        let (number, claims) = (self.record.number(), self.record.request.goal.adds_a_generation());
        self.world.act(|world| {
            let unit = &mut world.neighbour;
            if claims && unit.adopted && unit.from.is_none() {
                unit.from = Some(number);
            }
            if unit.is_replaced_by(Some(number)) && !unit.stopped {
                (unit.ran, unit.stopped) = (true, true);
            }
            Ok(())
        })
    }

    fn give_back_adopted(&mut self, side: Side) -> Result<()> {
        let (generation, last) = match side {
            Side::New => (Some(self.record.number()), None),
            Side::Old => (self.record.before.as_ref().map(|b| b.generation), Some(self.record.last_number)),
        };
        self.world.act(|world| {
            let unit = &mut world.neighbour;
            if !unit.is_replaced_by(generation) {
                unit.stopped &= !unit.ran;
                unit.ran = false;
                unit.from = unit.from.filter(|from| last.is_none_or(|last| *from <= last));
            }
            Ok(())
        })
    }

    fn start(&mut self, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                let emitted = world.manifest(world.current_generation);
                let known =
                    world.linked.contains(unit) || emitted.is_some_and(|manifest| manifest.all_units().contains(unit));
                assert!(known, "systemd does not know {unit}");
                if world.running.insert(unit.clone()) {
                    world.starts_reading(unit);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn stop(&mut self, units: &[UnitName]) -> Result<()> {
        for unit in units {
            self.world.act(|world| {
                world.running.remove(unit);
                world.milestones.remove(unit);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn mark(&mut self, milestones: &[UnitName]) -> Result<()> {
        self.world.act(|world| {
            let emitted = world.manifest(world.current_generation).unwrap();
            assert!(milestones.iter().all(|unit| emitted.all_units().contains(unit)), "systemd does not know them");
            world.milestones.extend(milestones.iter().cloned());
            Ok(())
        })
    }

    fn let_checks_through(&mut self, _: &Plan, _: bool) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn run(&mut self, service: &ServiceName, unit: &UnitName) -> Result<()> {
        self.world.act(|world| {
            let emitted = world.manifest(world.current_generation);
            let known =
                world.linked.contains(unit) || emitted.is_some_and(|manifest| manifest.all_units().contains(unit));
            assert!(known, "systemd does not know {unit}");
            // The task of the model needs its database.
            let served = service.as_str() != "migrate" || world.traffic.contains_key("db");
            assert!(served, "{service} runs before what it needs");
            Ok(())
        })
    }

    fn strays(&mut self, keep: Option<&Manifest>) -> Result<Vec<UnitName>> {
        self.world.act(|_| Ok(()))?;
        let kept = keep.map(Manifest::all_units).unwrap_or_default();
        let targets = self.world.milestones.iter().filter(|unit| unit.is_target_of_service());
        let up = self.world.running.iter().chain(targets);
        Ok(up.filter(|unit| !kept.contains(unit)).cloned().collect())
    }

    fn expect_healthy(&mut self, plan: &Plan, asks: &[Ask<'_>]) -> Result<()> {
        self.world.act(|world| {
            for ask in asks {
                let manifest = match ask.side {
                    Side::Old => plan.old.as_ref().unwrap(),
                    Side::New => &plan.new,
                };
                for replica in &manifest.services[ask.service].replicas {
                    if ask.units.is_none_or(|units| units.contains(&replica.unit)) {
                        assert!(world.running.contains(&replica.unit), "{}", replica.unit);
                    }
                }
            }
            Ok(())
        })
    }

    fn current(&self, service: &ServiceName) -> Option<InstanceId> {
        self.world.traffic.get(service).cloned()
    }

    fn set_current(&mut self, service: &ServiceName, instance: Option<&InstanceId>) -> Result<()> {
        self.world.act(|world| {
            match instance {
                Some(instance) => world.traffic.insert(service.clone(), instance.clone()),
                None => world.traffic.remove(service),
            };
            Ok(())
        })
    }

    fn drain(&mut self, _: &Plan, _: Side, _: &[UnitName]) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn await_confirmation(&mut self) -> Result<()> {
        self.world.act(|_| Ok(()))
    }

    fn commit(&mut self) -> Result<()> {
        let number = match self.record.request.goal {
            Goal::Switch => {
                let mut number = 0;
                let closure = self.record.request.closure.clone();
                self.world.act(|world| {
                    number = world.generations.keys().last().map_or(1, |last| last + 1);
                    let index = world.closures.iter().position(|(path, _)| *path == closure);
                    world.generations.insert(number, index.unwrap());
                    Ok(())
                })?;
                number
            }
            Goal::Rollback { to } => to,
        };
        self.world.act(|world| {
            world.current_generation = Some(number);
            Ok(())
        })
    }

    fn is_committed(&self) -> Result<bool> {
        Ok(is_committed(self.world, &self.record))
    }

    fn forget_uncommitted(&mut self) -> Result<()> {
        let last = self.record.last_number;
        self.world.act(|world| {
            world.forget_above(last);
            Ok(())
        })
    }
}
