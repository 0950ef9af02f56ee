# On a machine that runs the stack: starts the same API and the same nginx by hand. One Gunicorn for
# each replica, all on TCP port $1; nginx with its own defaults and the host's certificate in front of
# them, on port $2. Root file system, user, environment and secrets are what the services' own units
# say; hardening, limits and what the proxy's configuration adds are left out.
set -eu
port=$1
tls=$2

# Those lines of a unit that say what a process sees and is.
process() {
    systemctl cat "$1" | grep -E '^(User|Group|SupplementaryGroups|RootDirectory|WorkingDirectory|MountAPIVFS|BindReadOnlyPaths|LoadCredential|Environment|ExecStart)='
}

replicas=$(systemctl list-units --plain --no-legend --state=active 'cairn-api-*.service' | cut -d' ' -f1)
started=
for replica in $replicas; do
    unit=by-hand-${replica##*-}
    {
        echo '[Service]'
        process "$replica"
        echo 'UnsetEnvironment=CAIRN_SOCKET'
        echo "Environment=BIND=0.0.0.0:$port GUNICORN_CMD_ARGS=--reuse-port"
    } >"/run/systemd/system/$unit"
    started="$started $unit"
done

proxy=$(systemctl list-units --plain --no-legend --state=active 'cairn-proxy-*.service' | cut -d' ' -f1)
mkdir -p /run/by-hand
cat >/run/by-hand/nginx.conf <<END
daemon off;
worker_processes auto;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log /tmp/access.log;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    upstream api { server 127.0.0.1:$port; }
    server {
        listen $tls ssl;
        ssl_certificate $(echo /var/lib/cairn/state/proxy/certificates/live/*/fullchain.pem);
        ssl_certificate_key $(echo /var/lib/cairn/state/proxy/certificates/live/*/privkey.pem);
        location / {
            proxy_pass http://api;
            proxy_set_header Host \$host;
            proxy_set_header X-Forwarded-For \$remote_addr;
            proxy_set_header X-Forwarded-Proto \$scheme;
        }
    }
}
END
{
    echo '[Service]'
    process "$proxy" | grep -E '^(RootDirectory|MountAPIVFS)='
    echo 'BindReadOnlyPaths=/run/by-hand /var/lib/cairn/state/proxy/certificates'
    echo 'PrivateTmp=yes'
    echo 'ExecStart=/usr/sbin/nginx -c /run/by-hand/nginx.conf'
} >/run/systemd/system/by-hand-nginx.service

systemctl daemon-reload
for unit in $started by-hand-nginx.service; do
    systemctl start "$unit"
done
