// Package e2e boots machines with real firmware, SeaBIOS and OVMF under qemu's
// software emulation, against the daemon as an operator starts it, in a
// network of its own.
//
// The medium that is installed carries boot loaders of the test's own
// (loader/), which behave as ESXi's do towards a server: they print what they
// were told, fetch what they are told to fetch and say size and hash of each
// file, call back as the kickstart would, and reset the machine.
package e2e
