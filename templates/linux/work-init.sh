#!/bin/busybox sh
# Made by margay: the small system in which a machine works. It asks what it is
# to do, does it, and says so, step by step.
{{include "initrd-net.sh" .}}

fail() {
  echo "margay: $1"
  echo "margay: boots again in 60 seconds"
  sleep 60
  reboot -f
}

# field NAME is a value of the destiny that was read last. It is never run.
field() { sed -n "s/^$1=//p" /tmp/destiny; }

# tell WORD [TEXT] tells the server, until it has heard.
tell() {
  for try in 1 2 3 4 5 6 7 8 9 10; do
    wget -q -O /dev/null --post-data "$id
$2" "$say/$1" && return 0
    sleep 2
  done
  echo "margay: the server does not hear $1"
  return 1
}

# login starts an SSH server, if this system has one, for the server's keys.
login() {
  [ -x /bin/dropbear ] && [ ! -e /tmp/login ] || return 0
  touch /tmp/login
  mkdir -p /root/.ssh /etc/dropbear /dev/pts
  chmod 700 /root /root/.ssh
  mount -t devpts devpts /dev/pts
  field key >/root/.ssh/authorized_keys
  dropbear -R -s -E
}

# do_run fetches the step's script and runs it. What it says is on the console,
# and its end goes to the server.
do_run() {
  rm -f /tmp/work.sh
  wget -q -O /tmp/work.sh "$(field run)" || { tell undone "its script cannot be fetched"; return; }
  { sh /tmp/work.sh </dev/null 2>&1; echo $? >/tmp/code; } | tee /tmp/work.log
  code=$(cat /tmp/code)
  wget -q -O /dev/null --post-data "exit status $code: $(tail -c 1500 /tmp/work.log)" "$say/report"
  if [ "$code" = 0 ]; then tell next; else tell undone "exit status $code: $(tail -n 1 /tmp/work.log)"; fi
}

do_shell() {
  echo "margay: a shell; \"next\" goes on to what comes after it, \"reboot -f\" boots again"
  printf 'next() { touch /tmp/next; exit; }\n' >/tmp/profile
  ( cd /root && HOME=/root ENV=/tmp/profile TERM=linux setsid sh -c 'exec sh -i </dev/'"$console"' >/dev/'"$console"' 2>&1' )
  [ ! -e /tmp/next ] || { rm -f /tmp/next; tell next; }
}

echo "margay: the system for work, kernel {{.Kernel}}"
work=$(arg margay.work)
[ -n "$work" ] || fail "margay.work= is not on the kernel's command line"
network
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'root:*:1::::::' >/etc/shadow
echo 'root:x:0:' >/etc/group
echo /bin/sh >/etc/shells
# A shell with job control wants a terminal, which /dev/console is not.
console=$(sed 's/.* //' /sys/class/tty/console/active)
last=
while :; do
  if ! wget -q -O /tmp/destiny "$work/destiny"; then
    sleep 5
    continue
  fi
  id=$(field id) step=$(field step) say=$(field say)
  login
  if [ "$id" = "$last" ] && [ "$step" != shell ]; then
    sleep 5 # it failed, or stands by: until another word is given
    continue
  fi
  [ "$id" = "$last" ] || echo "margay: $step"
  last=$id
  case $step in
  leave) reboot -f ;;
  reboot) tell next && reboot -f ;;
  shutdown) tell next && poweroff -f ;;
  runcmd | runimage) tell working; do_run ;;
  shell) tell working; do_shell ;;
  standby) tell working ;;
  *) echo "margay: does not know $step"; sleep 5 ;;
  esac
done
