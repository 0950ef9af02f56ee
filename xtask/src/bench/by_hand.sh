# On a machine that runs the stack: starts the same API by hand, one Gunicorn for each replica, all
# on TCP port $1. Root file system, user, environment and secrets are what the replicas' own unit
# says; its hardening, its limits and the proxy are left out.
set -eu
port=$1

replicas=$(systemctl list-units --plain --no-legend --state=active 'cairn-api-*.service' | cut -d' ' -f1)
for replica in $replicas; do
    unit=by-hand-${replica##*-}
    {
        echo '[Service]'
        systemctl cat "$replica" | grep -E '^(User|Group|SupplementaryGroups|RootDirectory|WorkingDirectory|MountAPIVFS|BindReadOnlyPaths|LoadCredential|Environment|ExecStart)='
        echo 'UnsetEnvironment=CAIRN_SOCKET'
        echo "Environment=BIND=0.0.0.0:$port GUNICORN_CMD_ARGS=--reuse-port"
    } >"/run/systemd/system/$unit"
done
systemctl daemon-reload
for replica in $replicas; do
    systemctl start "by-hand-${replica##*-}"
done
