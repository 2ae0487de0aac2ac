#!/bin/bash
# Run a command as the image does: another user, no home, no capabilities, every file system read-only but two folders.
#
# Usage: restricted.sh CHECKOUT PREFIX BASE_PREFIX HOME_FOLDER RAW_FOLDER NAME=VALUE… -- COMMAND…
#
#   CHECKOUT, PREFIX, BASE_PREFIX   the checkout, and sys.prefix and sys.base_prefix of its Python
#   HOME_FOLDER                     becomes /srv/recsys/home; belongs to user 10001
#   RAW_FOLDER                      becomes /srv/recsys/raw, read-only
#
# Needs root for a mount namespace of its own; outside of it nothing changes.
set -euo pipefail
# The other user has to pass through the folders made here.
umask 022
if [ "${1:-}" != inside ]; then
    scratch=$(mktemp -d)
    # What is mounted there is seen inside only, so these are empty folders.
    trap 'find "$scratch" -depth -type d -exec rmdir {} +' EXIT
    unshare --mount --propagation private -- "$0" inside "$scratch" "$@"
    exit
fi
root=$2/root stage=$2/stage
mkdir "$root" "$stage"
shift 2
checkout=$1 prefix=$2 base=$3 home=$4 raw=$5
shift 5

mount --rbind / "$root"
bind() { # SOURCE NAME
    mkdir "$stage/$2"
    mount --bind "$1" "$stage/$2"
}
bind "$checkout" checkout
bind "$prefix" prefix
bind "$base" base
bind "$home" home
bind "$raw" raw

# What is read stays at its path, where /root and /tmp would hide it from the other user.
for hidden in /root /tmp /opt /srv; do
    mount -t tmpfs -o mode=755 tmpfs "$root$hidden"
done
show() { # SOURCE TARGET
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
}
for path in "$checkout" "$prefix" "$base"; do
    case $path in
    /root/* | /tmp/* | /opt/* | /srv/*)
        case $path in
        "$checkout") show "$stage/checkout" "$path" ;;
        "$prefix") [ "${prefix#"$checkout"/}" != "$prefix" ] || show "$stage/prefix" "$path" ;;
        *) show "$stage/base" "$path" ;;
        esac
        ;;
    esac
done
for name in configs schedules airflow_dags deploy; do
    show "$stage/checkout/$name" "/opt/recsys/$name"
done
show "$stage/prefix" /opt/recsys/.venv
show "$stage/raw" /srv/recsys/raw
mkdir -p "$root/srv/recsys/home" "$root/srv/recsys/figures"
mount --bind "$stage/home" "$root/srv/recsys/home"

# All of it read-only, then the two folders that the image may write to.
findmnt --raw --noheadings --output TARGET --submounts "$root" | while read -r target; do
    case $(printf '%b' "$target") in
    "$root"/srv/recsys/home) ;;
    *) mount -o remount,bind,ro "$(printf '%b' "$target")" 2> /dev/null || true ;;
    esac
done
mkdir "$stage/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$stage/tmp"
# A folder of /tmp that is needed to read must stay: /tmp itself is writable by its mode, its folders are mounts.
if [ -z "$(ls -A "$root/tmp")" ]; then
    mount --move "$stage/tmp" "$root/tmp"
else
    mount -o remount,rw,mode=1777 "$root/tmp"
fi

variables=()
while [ "$1" != -- ]; do
    variables+=("$1")
    shift
done
shift
# The capabilities go last: chroot needs one.
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all --ambient-caps=-all \
    --bounding-set=-all -- env -i --chdir=/opt/recsys "${variables[@]}" PYTHONPATH="$checkout" "$@"
