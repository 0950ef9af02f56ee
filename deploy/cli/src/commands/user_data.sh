#!/bin/sh
# Makes a fresh Linux host with systemd run what is published for a host of a project: installs the
# agent, and a timer that has it pull what to run. For cloud-init's user data, or by hand as root; may run again. It holds no secret.
set -eu
umask 022

dir=/usr/local/lib/cairn
new=$dir/cairn-agent.new

fail() {
    echo "cairn: $*" >&2
    exit 1
}

get() {
    if command -v curl > /dev/null; then
        curl -fsS --retry 5 --connect-timeout 15 --max-time 600 -o "$new" "$1"
    elif command -v wget > /dev/null; then
        wget -q -T 30 -O "$new" "$1"
    else
        fail "neither curl nor wget is here: install one"
    fi
}

# The values of this host.
@VALUES@

is_agent() {
    echo "$sha256  $1" | sha256sum -c > /dev/null 2>&1
}

[ "$(id -u)" = 0 ] || fail "run this as root"
[ "$(uname -m)" = "$machine" ] || fail "this host is $(uname -m), and the definition of $host is for $machine"
[ -d /run/systemd/system ] || fail "systemd does not run this host"
mkdir -p "$dir" /etc/cairn

if ! is_agent "$dir/cairn-agent"; then
    fetch || fail "the agent cannot be fetched: publish $host with the deploy that printed this"
    is_agent "$new" || fail "what was fetched is not the agent (sha256 $sha256)"
    chmod 755 "$new"
    mv "$new" "$dir/cairn-agent"
fi

printf '%s\n' "$config" > /etc/cairn/pull.json

cat > /etc/systemd/system/cairn-pull.service << 'END'
[Unit]
Description=Cairn: pull what this host is to run
Wants=network-online.target
After=network-online.target
# Who starts it by hand, often, is not to be turned away.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/usr/local/lib/cairn/cairn-agent pull
EnvironmentFile=-/etc/cairn/pull.env
TimeoutStartSec=3h
END

cat > /etc/systemd/system/cairn-pull.timer << END
[Unit]
Description=Cairn: look whether this host is to run something else

[Timer]
OnBootSec=5s
OnUnitInactiveSec=${interval}s
RandomizedDelaySec=${spread}s

[Install]
WantedBy=timers.target
END

systemctl daemon-reload
systemctl enable --quiet cairn-pull.timer
systemctl start --no-block cairn-pull.service cairn-pull.timer
