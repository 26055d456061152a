package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// An Offer is what a host has for guests of one system on one hardware
// version, by its own word.
type Offer struct {
	Version     string // vmx-19
	GuestName   string // Red Hat Enterprise Linux 8 (64-bit)
	Cards       []NICModel
	Recommended NICModel
	Buses       []Bus
}

// An Offerer says what hosts offer. Nil, without an error, is a host that does
// not say.
type Offerer interface {
	Offer(ctx context.Context, host, guestID, version string) (*Offer, error)
}

func (o *Offer) card(m NICModel) bool {
	if m == Flexible {
		m = PCNet32
	}
	return len(o.Cards) == 0 || slices.Contains(o.Cards, m)
}

func (o *Offer) bus(b Bus) bool { return len(o.Buses) == 0 || slices.Contains(o.Buses, b) }

// refuse is why a card or a controller is not to be had.
func refuse[T ~string](o *Offer, what T, list []T) error {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = string(x)
	}
	slices.Sort(names)
	return Errorf(ErrUnsupported, "the host has no %s for %s on hardware version %s; it has %s", what, o.GuestName, strings.TrimLeft(strings.TrimPrefix(o.Version, "vmx-"), "0"), strings.Join(names, ", "))
}

// check refuses cards and controllers that the host does not have for the
// guest.
func (o *Offer) check(nics []NIC, controllers []Controller) error {
	if o == nil {
		return nil
	}
	for _, n := range nics {
		if n.Model != "" && !o.card(n.Model) {
			return refuse(o, n.Model, o.Cards)
		}
	}
	for _, k := range controllers {
		if !o.bus(k.Bus) {
			return refuse(o, k.Bus, o.Buses)
		}
	}
	return nil
}

// stand gives cards whose model nobody named another where the host has no
// e1000 for the guest.
func (o *Offer) stand(g *Guest, s *Spec) (notes []string) {
	if o == nil || o.card(E1000) || g.NICModel != "" {
		return nil
	}
	other := o.Recommended
	if other == "" {
		other = o.Cards[0]
	}
	for i := range s.NICs {
		if named := i < len(g.Networks) && g.Networks[i].Model != ""; named || s.NICs[i].Model != E1000 {
			continue
		}
		s.NICs[i].Model = other
		notes = append(notes, fmt.Sprintf("%s: the host has no e1000 for %s, it gets %s", s.NICs[i].Network, o.GuestName, other))
	}
	return notes
}

// offer asks the host what it has, once for all guests of a kind.
func (st *site) offer(ctx context.Context, guestID, version string) (*Offer, error) {
	by, ok := as[Offerer](st.hv)
	if !ok {
		return nil, nil
	}
	key := guestID + "/" + version
	st.offering.Lock()
	defer st.offering.Unlock()
	if o, ok := st.offers[key]; ok {
		return o, nil
	}
	o, err := by.Offer(ctx, st.host.Name, guestID, version)
	if err != nil {
		return nil, err
	}
	if st.offers == nil {
		st.offers = map[string]*Offer{}
	}
	st.offers[key] = o
	return o, nil
}

// offered refuses hardware that the host does not have for a guest that is to
// be made.
func (st *site) offered(ctx context.Context, g *Guest, s *Spec) (notes []string, err error) {
	if len(s.NICs) == 0 && !slices.ContainsFunc(s.Controllers, func(k Controller) bool { return k.Bus != IDE }) {
		return nil, nil // every guest has those
	}
	o, err := st.offer(ctx, s.GuestID, s.Version)
	if err != nil {
		return nil, err
	}
	notes = o.stand(g, s)
	return notes, o.check(s.NICs, s.Controllers)
}

// offered refuses hardware that is to be added to a guest and that its host
// does not have for it.
func (ch *changer) offered(ctx context.Context, v VM, c *Change) error {
	by, ok := as[Offerer](ch.hv)
	if !ok || len(c.AddNICs)+len(c.AddControllers) == 0 || v.Spec == nil {
		return nil
	}
	o, err := by.Offer(ctx, v.Host, v.Spec.GuestID, v.Spec.Version)
	if err != nil {
		return err
	}
	return o.check(c.AddNICs, c.AddControllers)
}
