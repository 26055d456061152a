package command

import (
	"context"
	"errors"
	"strings"

	"margay/nodedb"
	"margay/provision"
)

var checkCmd = &Command{
	Name:  "check",
	Usage: "[noderange]",
	Short: "look for what is wrong in the table: doubled addresses, missing images, values that do not parse",
	Long: `Look at the whole table, or at some nodes, for what is wrong or hardly meant: MAC
and IP addresses that two have, addresses in a dynamic range, hypervisors,
images and groups that are not there, values that do not parse, networks that
contradict each other, images whose install tree or template is missing, nodes
that are set to install and were not made ready for it.

Errors make the exit status 1, warnings do not.`,
	Group: GroupMargay,
	Run:   check,
}

func check(_ context.Context, s *Session, args []string) error {
	snap := s.DB.Snapshot()
	nodes := snap.Nodes()
	if len(args) > 0 {
		var rest []string
		var err error
		if nodes, rest, err = s.Nodes(snap, args); err != nil {
			return err
		}
		if len(rest) > 0 {
			return Usagef("one noderange")
		}
	}
	var list []nodedb.Doubt
	if len(args) == 0 {
		list = append(snap.Check(), s.imageDoubts(snap)...)
		list = append(list, statementDoubts(snap)...)
	}
	list = append(list, snap.Doubts(names(nodes))...)
	list = append(list, attemptDoubts(snap, nodes)...)
	wrong := 0
	for _, d := range list {
		if !d.Wrong {
			s.NodeWarn(d.Node, "%s", d.Text)
			continue
		}
		wrong++
		s.NodeError(d.Node, errors.New(d.Text))
	}
	s.Line("%d nodes checked: %d errors, %d warnings", len(nodes), wrong, len(list)-wrong)
	return nil
}

// statementDoubts are about DHCP statements, and what the site says of DHCP, that
// would not be understood.
func statementDoubts(snap *nodedb.Snapshot) (list []nodedb.Doubt) {
	note := func(name string, err error) {
		if err != nil {
			list = append(list, nodedb.Doubt{Node: name, Text: strings.TrimPrefix(defError(err), "node "+name+": "), Wrong: true})
		}
	}
	for _, key := range provision.DHCPSiteKeys {
		if err := provision.DHCPSiteProblem(key, snap.Site(key)); err != nil {
			list = append(list, nodedb.Doubt{Node: "site", Text: key + ": " + err.Error(), Wrong: true})
		}
	}
	for _, nw := range snap.Networks() {
		note("network "+nw.Name, provision.StatementProblem(snap, nw, nil))
	}
	for _, n := range snap.Nodes() {
		note(n.Name, provision.StatementProblem(snap, nil, n))
	}
	return list
}

// imageDoubts are about images that cannot be installed.
func (s *Session) imageDoubts(snap *nodedb.Snapshot) (list []nodedb.Doubt) {
	if s.Service == nil {
		return nil
	}
	for _, img := range snap.Images() {
		if err := s.Service.ImageProblem(snap, img); err != nil {
			list = append(list, nodedb.Doubt{Node: "osimage " + img.Name, Text: defError(err), Wrong: true})
		}
	}
	return list
}

// attemptDoubts are about nodes that another program set to install.
func attemptDoubts(snap *nodedb.Snapshot, nodes []*nodedb.Node) (list []nodedb.Doubt) {
	for _, n := range nodes {
		if n.Mode.Loads() && !provision.HasAttempt(snap, n.Name) {
			list = append(list, nodedb.Doubt{Node: n.Name, Attr: "currstate", Wrong: true,
				Text: "currstate is \"" + n.CurrState + "\", and no nodeset of this server made it ready: run nodeset, or it will not boot"})
		}
	}
	return list
}
