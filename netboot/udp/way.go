package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Address is a socket address as the kernel takes it, of either family. It
// may be copied and compared.
type Address struct{ sa unix.RawSockaddrInet6 }

// NewAddress is an address for a socket of IPv6, or of IPv4.
func NewAddress(a netip.AddrPort, v6 bool) *Address {
	to := &Address{}
	port := (*[2]byte)(unsafe.Pointer(&to.sa.Port))
	binary.BigEndian.PutUint16(port[:], a.Port())
	if v6 {
		to.sa.Family = unix.AF_INET6
		to.sa.Addr = a.Addr().As16()
		to.sa.Scope_id = scope(a.Addr().Zone())
		return to
	}
	sa := to.v4()
	sa.Family = unix.AF_INET
	sa.Addr = a.Addr().Unmap().As4()
	return to
}

func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if ifc, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifc.Index)
	}
	n, _ := strconv.Atoi(zone)
	return uint32(n)
}

func (a *Address) v4() *unix.RawSockaddrInet4 { return (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.sa)) }

// AddrPort is the address as others know it. IPv4 is spelt as such, whichever
// kind of socket heard it; a zone is the number of an interface.
func (a *Address) AddrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.sa.Port))[:])
	if a.sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4(a.v4().Addr), port)
	}
	addr := netip.AddrFrom16(a.sa.Addr).Unmap()
	if a.sa.Scope_id != 0 && addr.Is6() {
		addr = addr.WithZone(strconv.Itoa(int(a.sa.Scope_id)))
	}
	return netip.AddrPortFrom(addr, port)
}

func (a *Address) size() uint32 {
	if a.sa.Family == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// A Way is where a datagram goes, and by the control message from which of our
// addresses and by which interface: what Source or Inbox.Back made, or nothing,
// where the kernel is to choose.
type Way struct {
	To      *Address
	Control []byte
}

// Clone is the same way, for longer than what it is from stays as it is.
func (w Way) Clone() Way {
	to := *w.To
	return Way{&to, slices.Clone(w.Control)}
}

// same says whether two ways are one.
func (w *Way) same(o *Way) bool { return *w.To == *o.To && string(w.Control) == string(o.Control) }

// mix is odd and without a pattern: the upper bits of a product with it depend
// on all bits of what it is multiplied with.
const mix = 0x9e3779b97f4a7c15

// hash is the same for the same ways, and in its upper bits another one for most
// others.
func (w *Way) hash() uint64 {
	sa := &w.To.sa
	h := uint64(sa.Port)<<32 | uint64(sa.Flowinfo) // which for IPv4 is its address
	h ^= binary.NativeEndian.Uint64(sa.Addr[8:])
	if c := w.Control; len(c) >= 32 {
		h = h*mix ^ binary.NativeEndian.Uint64(c[16:]) ^ binary.NativeEndian.Uint64(c[24:])
	}
	return h * mix
}

// address has a message of one iovec go this way.
func (w *Way) address(h *unix.Msghdr, iov *unix.Iovec) {
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(w.To)), w.To.size()
	h.Iov = iov
	h.SetIovlen(1)
	h.Control = unsafe.SliceData(w.Control)
	h.SetControllen(len(w.Control))
}

// WantOrigin has the kernel tell of each datagram where it came in, so that the
// answer leaves from there: on a socket for all our addresses it has to.
func WantOrigin(fd int, v6 bool) error {
	if v6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// Source is the control message by which a datagram of a socket of IPv6, or of
// IPv4, leaves from one of our addresses and by an interface; 0: by that which
// the routing table says. Nothing, where the address is none.
func Source(local netip.Addr, index int, v6 bool) []byte {
	switch local = local.Unmap(); {
	case !local.IsValid() || local.IsUnspecified() && index == 0:
	case v6:
		a := local.As16()
		return control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, binary.NativeEndian.AppendUint32(a[:], uint32(index)))
	case local.Is4():
		a := local.As4()
		data := make([]byte, unix.SizeofInet4Pktinfo)
		binary.NativeEndian.PutUint32(data, uint32(index))
		copy(data[4:], a[:])
		return control(unix.IPPROTO_IP, unix.IP_PKTINFO, data)
	}
	return nil
}

func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	putControl(b, level, kind, data)
	return b
}

// putControl writes a control message and returns its size.
func putControl(b []byte, level, kind int32, data []byte) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return unix.CmsgSpace(len(data))
}
