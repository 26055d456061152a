# say ADDRESS [TEXT] tells the server how far this host is. The tools at hand
# differ from release to release, so each that there may be is tried.
say() {
  wget -q -O /dev/null --post-data "$2" "$1" 2>/dev/null && return 0
  wget -q -O /dev/null "$1" 2>/dev/null && return 0
  for python in python3 python; do
    $python -c 'import sys
try:
    from urllib.request import urlopen
except ImportError:
    from urllib2 import urlopen
urlopen(sys.argv[1], sys.argv[2].encode("ascii", "replace"))' "$1" "$2" 2>/dev/null && return 0
  done
  return 1
}
