#!/bin/sh
# What every guest's init starts with; the test's own script follows.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mkdir -p /dev/virtio-ports

# The kernel panics when init ends, and what the serial port has not sent by then is lost. Settings of a terminal are
# changed when all that was written to it is out.
trap 'stty onlcr' EXIT

# Loads the modules of the image, each after those it depends on.
load_modules() {
    while read -r module; do
        insmod "/modules/$module.ko" || echo "init: insmod $module failed"
    done </modules/order
}

# Makes /dev/virtio-ports/NAME (as udev would), waiting for the kernel to find the port.
link_port() {
    waited=0
    while [ $waited -lt 200 ]; do
        for port in /sys/class/virtio-ports/*; do
            if [ "$(cat "$port/name" 2>/dev/null)" = "$1" ]; then
                ln -sf "../${port##*/}" "/dev/virtio-ports/$1"
                return 0
            fi
        done
        waited=$((waited + 1))
        sleep 0.05
    done
    echo "init: there is no port $1"
    return 1
}

# Sends one JSON line to the test.
say() { printf '%s\n' "$1" >/dev/virtio-ports/org.tidelock.results.0; }

power_off() {
    sync
    poweroff -f
}

link_port org.tidelock.results.0
