# say ADDRESS [TEXT] tells the server how far this node is. The tools at hand
# differ from system to system, so each that there may be is tried.
say() {
  curl -fsS -m 30 -o /dev/null --data-binary "$2" "$1" 2>/dev/null && return 0
  wget -q -O /dev/null --post-data "$2" "$1" 2>/dev/null && return 0
  wget -q -O /dev/null "$1" 2>/dev/null && return 0
  bash -c 'a=${1#http://}; h=${a%%/*}; p=80
    case $h in *:*) p=${h##*:}; h=${h%:*} ;; esac
    exec 3<>"/dev/tcp/$h/$p" || exit 1
    printf "POST /%s HTTP/1.0\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s" "${a#*/}" "$h" "${#2}" "$2" >&3
    read -r -t 30 version code rest <&3
    case $code in 2*) exit 0 ;; esac
    exit 1' say "$1" "$2" 2>/dev/null
}

# fetch ADDRESS FILE gets a file, over and over for a while.
fetch() {
  for try in 1 2 3 4 5 6 7 8 9 10; do
    curl -fsS -m 300 -o "$2" "$1" 2>/dev/null && return 0
    wget -q -O "$2" "$1" 2>/dev/null && return 0
    sleep 3
  done
  return 1
}

# insist ADDRESS says it until the server has heard.
insist() {
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    say "$1" && return 0
    sleep 3
  done
  return 1
}
