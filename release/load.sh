#!/bin/sh
# Brings the images and the chart of this bundle to where a cluster without internet finds them.
set -eu
cd "$(dirname "$0")"
version=$(cat VERSION)

usage() {
    cat <<TEXT
usage: ./load REGISTRY        push the images into a registry, such as registry.example/team
       ./load --node          import the images into the containerd of this machine, which is a node

Then install the chart of this folder. Both ways print the command at their end.
TEXT
}

fail() {
    echo "load: $*" >&2
    exit 1
}

check() {
    sha256sum --quiet --check SHA256SUMS || fail "files of the bundle are damaged; copy it again"
}

push() { # $1: registry
    check
    for image in unigpu unigpu-probe; do
        echo "$image → $1/$image:$version"
        if command -v skopeo >/dev/null; then
            # shellcheck disable=SC2086 # more than one option
            skopeo copy --quiet --all ${SKOPEO_OPTIONS:-} "oci-archive:$image.oci.tar" "docker://$1/$image:$version"
        elif command -v crane >/dev/null; then
            folder=$(mktemp -d)
            tar xf "$image.oci.tar" -C "$folder"
            crane push --index "$folder" "$1/$image:$version"
            rm -r "$folder"
        else
            fail "no program that can push images; install skopeo or crane"
        fi
    done
    hint "$1"
}

import() {
    check
    ctr="ctr"
    command -v ctr >/dev/null || { command -v k3s >/dev/null && ctr="k3s ctr"; } ||
        fail "no ctr and no k3s on this machine; run this on a node, or push into a registry"
    for image in unigpu unigpu-probe; do
        echo "$image → localhost/$image:$version"
        $ctr ${CONTAINERD_ADDRESS:+--address "$CONTAINERD_ADDRESS"} --namespace k8s.io \
            images import --local --base-name "localhost/$image" "$image.oci.tar" >/dev/null
    done
    echo "Repeat this on each node."
    hint localhost
}

hint() { # $1: registry
    cat <<TEXT

Install:
  helm install unigpu unigpu-$version.tgz --namespace unigpu-system --create-namespace --wait \\
    --set image.registry=$1 --set scheduler.image.registry=<registry that has kube-scheduler>
TEXT
}

case "${1:-}" in
    --node) import ;;
    "" | -h | --help) usage ;;
    -*) fail "$1: not an option; see ./load --help" ;;
    *) push "${1%/}" ;;
esac
