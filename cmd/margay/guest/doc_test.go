// Package guest installs and boots real Linux guests under qemu's software
// emulation, against the daemon as an operator starts it, in a network of its
// own: Debian's installer, a small Linux that plays a whole install, and a
// root without a disk.
package guest
