#!/bin/sh
# Makes a guest fit to be an image: takes away what belongs to this one guest
# and must be new in each that is made of it, and turns it off. Run it as root,
# as the last thing: margay image seal --script | ssh root@guest sh
# ROOT names another root than /; then the guest is not turned off.
set -eu
root=${ROOT:-}
at() { printf '%s%s' "$root" "$1"; }
wipe() { for f in "$@"; do rm -rf "$f"; done; }

# Network cards are known by addresses that the clones do not have.
wipe "$(at /etc/udev/rules.d/70-persistent-net.rules)" "$(at /etc/udev/rules.d/75-persistent-net-generator.rules)" "$(at /lib/udev/write_net_rules)"
for f in "$(at /etc/sysconfig/network-scripts)"/ifcfg-* "$(at /etc/sysconfig/network)"/ifcfg-*; do
	[ -f "$f" ] || continue
	sed -i -e '/^HWADDR=/d' -e '/^MACADDR=/d' -e '/^UUID=/d' -e '/^LLADDR=/d' "$f"
done
for f in "$(at /etc/NetworkManager/system-connections)"/*.nmconnection; do
	[ -f "$f" ] || continue
	sed -i -e '/^mac-address=/d' -e '/^uuid=/d' "$f"
done
wipe "$(at /var/lib/dhclient)"/*.lease* "$(at /var/lib/dhcp)"/*.lease* "$(at /var/lib/NetworkManager)"/*.lease "$(at /var/lib/NetworkManager/secret_key)"

# Identity: an empty machine-id is made anew at the next boot.
[ ! -e "$(at /etc/machine-id)" ] || : >"$(at /etc/machine-id)"
wipe "$(at /var/lib/dbus/machine-id)" "$(at /var/lib/systemd/random-seed)" "$(at /var/lib/random-seed)"
[ ! -d "$(at /var/lib/dbus)" ] || ln -s /etc/machine-id "$(at /var/lib/dbus/machine-id)"

# Keys of the ssh server; the first boot makes others.
wipe "$(at /etc/ssh)"/ssh_host_*_key "$(at /etc/ssh)"/ssh_host_*_key.pub
if [ -d "$(at /etc/systemd/system)" ]; then
	cat >"$(at /etc/systemd/system/ssh-host-keys.service)" <<-'UNIT'
		[Unit]
		Description=Host keys of the ssh server
		Before=ssh.service sshd.service
		ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

		[Service]
		Type=oneshot
		ExecStart=/usr/bin/ssh-keygen -A

		[Install]
		WantedBy=multi-user.target
	UNIT
	mkdir -p "$(at /etc/systemd/system/multi-user.target.wants)"
	ln -sf ../ssh-host-keys.service "$(at /etc/systemd/system/multi-user.target.wants/ssh-host-keys.service)"
fi

# cloud-init runs anew in each clone; the seed's disc tells it what to do.
wipe "$(at /var/lib/cloud/instances)" "$(at /var/lib/cloud/instance)" "$(at /var/lib/cloud/data)" "$(at /var/lib/cloud/sem)" "$(at /etc/cloud/cloud-init.disabled)"

# What was done here is nobody's business there.
find "$(at /var/log)" -type f -exec sh -c ': >"$1"' _ {} \; 2>/dev/null || true
wipe "$(at /var/log/journal)"/* "$(at /tmp)"/* "$(at /var/tmp)"/* "$(at /root)"/.*_history "$(at /home)"/*/.*_history "$(at /root/.ssh/known_hosts)"
wipe "$(at /var/cache/apt/archives)"/*.deb "$(at /var/cache/dnf)"/* "$(at /var/cache/yum)"/* "$(at /var/lib/apt/lists)"/*_*

[ -z "$root" ] || exit 0
HISTFILE=
fstrim -a 2>/dev/null || true
sync
poweroff
