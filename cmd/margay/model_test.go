package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A cluster is a plain model of the table: nodes with their groups and os, and
// the os of groups.
type cluster struct {
	nodes  map[string]machine
	groups map[string]string // defined groups
}

type machine struct{ groups, os string }

// none is an os that hides the groups'.
const none = "|^.*$||"

func (c cluster) clone() cluster { return cluster{maps.Clone(c.nodes), maps.Clone(c.groups)} }

func (c cluster) equal(o cluster) bool {
	return maps.Equal(c.nodes, o.nodes) && maps.Equal(c.groups, o.groups)
}

// effective is the os that holds for a node.
func (c cluster) effective(m machine) string {
	switch m.os {
	case none:
		return ""
	case "":
		for g := range strings.SplitSeq(m.groups, ",") {
			if os := c.groups[g]; os != "" {
				return os
			}
		}
	}
	return m.os
}

// list is the model as lsdef -c prints it.
func (c cluster) list() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		fmt.Fprintf(&b, "%s: groups=%s\n%s: os=%s\n", name, c.nodes[name].groups, name, c.effective(c.nodes[name]))
	}
	return b.String()
}

// step makes a random command, what becomes of the model, and whether the
// command is to succeed.
func (c cluster) step(rnd *rand.Rand) (words []string, after cluster, ok bool) {
	after = c.clone()
	name, other := fmt.Sprint("n", rnd.IntN(8)), fmt.Sprint("n", rnd.IntN(8))
	group, os := fmt.Sprint("g", rnd.IntN(3)), fmt.Sprint("os", rnd.IntN(3))
	m, there := c.nodes[name]
	items := strings.Split(m.groups, ",")
	switch rnd.IntN(9) {
	case 0:
		if !there {
			after.nodes[name] = machine{"all," + group, os}
		}
		return []string{"mkdef", name, "groups=all," + group, "os=" + os}, after, !there
	case 1, 2:
		if there {
			after.nodes[name] = machine{m.groups, os}
		}
		return []string{"chdef", name, "os=" + os}, after, there
	case 3:
		if there {
			after.nodes[name] = machine{m.groups, ""}
		}
		return []string{"chdef", "os=", "-o", name}, after, there
	case 4:
		if there && !slices.Contains(items, group) {
			after.nodes[name] = machine{m.groups + "," + group, m.os}
		}
		if !there {
			after.nodes[name] = machine{group, ""}
		}
		return []string{"chdef", "-p", name, "groups=" + group}, after, true
	case 5:
		i := slices.Index(items, group)
		if !there || i < 0 || len(items) == 1 {
			return []string{"lsdef", name}, after, there
		}
		after.nodes[name] = machine{strings.Join(slices.Delete(items, i, i+1), ","), m.os}
		return []string{"chdef", name, "-m", "groups=" + group}, after, true
	case 6:
		delete(after.nodes, name)
		return []string{[]string{"rmdef", "noderm", "nodepurge"}[rnd.IntN(3)], name}, after, there
	case 7:
		_, taken := c.nodes[other]
		if there && !taken {
			delete(after.nodes, name)
			after.nodes[other] = m
		}
		return []string{"chdef", name, "-n", other}, after, there && !taken
	}
	return c.tableStep(rnd, name, group, os, after)
}

// tableStep is step for table commands and groups.
func (c cluster) tableStep(rnd *rand.Rand, name, group, os string, after cluster) ([]string, cluster, bool) {
	m, there := c.nodes[name]
	switch rnd.IntN(4) {
	case 0:
		after.groups[group] = os
		return []string{"chdef", "-t", "group", "-o", group, "os=" + os}, after, true
	case 1:
		if !there {
			return []string{"nodels", name}, after, false
		}
		after.nodes[name] = machine{m.groups, os}
		return []string{"chtab", "node=" + name, "nodetype.os=" + os}, after, true
	case 2:
		if there {
			after.nodes[name] = machine{m.groups, none}
		}
		return []string{"nodech", name, "nodetype.os="}, after, there
	}
	if there {
		after.nodes[name] = machine{m.groups, ""}
	}
	return []string{"nodech", "-d", name, "nodetype"}, after, there
}

// TestCommandsAgreeWithModel types random commands and holds the table against
// a model of it after each, on both stores; now and then the last change is
// taken back in both.
func TestCommandsAgreeWithModel(t *testing.T) {
	t.Run("file", func(t *testing.T) { agree(t, startServer(t, t.TempDir())) })
	t.Run("etcd", func(t *testing.T) {
		agree(t, startServer(t, t.TempDir(), "--store", "etcd://"+startEtcd(t)+"/margay"))
	})
}

func agree(t *testing.T, s *server) {
	rnd := rand.New(rand.NewPCG(7, 11))
	now := cluster{map[string]machine{}, map[string]string{}}
	var past []cluster
	var log []string
	for range 300 {
		words, after, ok := now.step(rnd)
		if rnd.IntN(8) == 0 && len(past) > 0 {
			words, after, ok = []string{"margay", "undo"}[1:], past[len(past)-1], true
			past = past[:len(past)-1]
		} else if !now.equal(after) {
			past = append(past, now)
		}
		log = append(log, strings.Join(words, " "))
		if out, did := s.do(words...); did != ok {
			t.Fatalf("%s: success %v, want %v: %s", strings.Join(log, "\n"), did, ok, out)
		}
		now = after
		out := ""
		if len(now.nodes) > 0 {
			out = s.must("lsdef", "-t", "node", "-o", strings.Join(slices.Sorted(maps.Keys(now.nodes)), ","), "-c", "-i", "groups,os")
		}
		if names := strings.Fields(s.must("nodels")); out != now.list() || len(names) != len(now.nodes) {
			t.Fatalf("%s\nthe table is %v\n%s\nand the model\n%s", strings.Join(log, "\n"), names, out, now.list())
		}
	}
}
