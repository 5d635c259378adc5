#!/bin/sh
# What the container tests need: as root on Debian it is installed, elsewhere it is there or not.
# The images are made from this machine's own programs; nothing is pulled.
set -eu
here=$(dirname "$0")
. /etc/os-release
if [ "$(id -u)" = 0 ] && [ "${ID:-}" = debian ]; then
    missing=""
    for pair in podman:podman runc:runc busybox:busybox-static redis-server:redis-server newuidmap:uidmap \
        slirp4netns:slirp4netns docker-registry:docker-registry htpasswd:apache2-utils; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -e /usr/lib/podman/netavark ] || missing="$missing netavark aardvark-dns"
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
    if [ -n "$missing" ]; then
        apt-get update -q
        # Databases are needed as programs, not as services.
        policy=/usr/sbin/policy-rc.d
        [ -e $policy ] && policy=$(mktemp)
        printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing
        rm -f "$policy"
    fi
    # Podman's defaults ask for more than a machine in a machine may give; whoever has a file keeps it.
    if [ ! -e /etc/containers/containers.conf ]; then
        mkdir -p /etc/containers
        cat > /etc/containers/containers.conf <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=16384:16384"]
[engine]
runtime = "runc"
[network]
network_backend = "netavark"
CONF
    fi
fi
# The registry of the tests speaks no TLS.
if [ "$(id -u)" = 0 ] && [ -d /etc/containers ]; then
    mkdir -p /etc/containers/registries.conf.d
    printf '[[registry]]\nlocation = "localhost:15055"\ninsecure = true\n' \
        > /etc/containers/registries.conf.d/trainyard-test.conf
fi

# A user for rootless Podman, which wants /dev/net/tun as every Debian has it.
if [ "$(id -u)" = 0 ] && [ "${ID:-}" = debian ]; then
    id trainyard-test >/dev/null 2>&1 || useradd --create-home --shell /bin/bash trainyard-test
    [ ! -c /dev/net/tun ] || chmod 0666 /dev/net/tun
fi

# A card that is none, for machines that describe no real one.
if [ "$(id -u)" = 0 ] && ! grep -rqs nvidia.com/gpu /etc/cdi /var/run/cdi; then
    mkdir -p /etc/cdi
    cat > /etc/cdi/trainyard-test.json <<CDI
{"cdiVersion": "0.3.0", "kind": "nvidia.com/gpu", "devices": [
  {"name": "all", "containerEdits": {"env": ["CARD=all of none"], "deviceNodes": [{"path": "/dev/card-all", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}]}},
  {"name": "1", "containerEdits": {"env": ["CARD=the second of none"]}}]}
CDI
fi
command -v podman >/dev/null || exit 0
command -v busybox >/dev/null || exit 0
python3 "$here/build.py" podman
# Podman of that user has images of its own.
if id trainyard-test >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    image=localhost/trainyard-test/busybox
    wanted=$(podman image inspect --format '{{.Id}}' $image)
    there=$(cd / && runuser -u trainyard-test -- env XDG_RUNTIME_DIR= podman image inspect --format '{{.Id}}' $image 2>/dev/null || true)
    if [ "$there" != "$wanted" ]; then
        podman save --quiet $image | (cd / && runuser -u trainyard-test -- podman load --quiet)
    fi
fi
