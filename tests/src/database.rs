//! PostgreSQL and Redis of a machine, asked by the clients of their own images.

use crate::project::Machine;
use crate::run::Ran;

/// Shell functions for a script on the machine. Within the mounts of the running service, as its
/// own user: `psql` reads statements, `redis` reads commands. Each takes the place of its shell.
pub const CLIENTS: &str = r#"
main_pid() { systemctl show --property=MainPID --value "cairn-$1-*.service" | grep -v '^0$' | head -n 1; }
psql() {
    exec nsenter -t "$(main_pid postgres)" -m -S 10003 -G 10003 \
        /usr/lib/postgresql/15/bin/psql -h /run/cairn/self -U postgres -d spirit -qAt "$@"
}
redis() {
    export REDISCLI_AUTH="$(cat /run/cairn/secrets/redis-password.v*)"
    exec nsenter -t "$(main_pid redis)" -m -S 10004 -G 10004 /usr/bin/redis-cli -s /run/cairn/self/1.sock "$@"
}
"#;

/// Runs one statement as the superuser.
pub fn psql(machine: &Machine, statement: &str) -> Ran {
    machine.ssh(&format!("{CLIENTS} psql -c \"{statement}\""))
}

/// What a statement gives; it must end well.
#[track_caller]
pub fn sql(machine: &Machine, statement: &str) -> String {
    psql(machine, statement).ok().stdout.trim().to_owned()
}

/// What a command of Redis gives, errors as well.
#[track_caller]
pub fn redis(machine: &Machine, command: &str) -> String {
    machine.ssh(&format!("{CLIENTS} redis {command}")).ok().stdout.trim().to_owned()
}
