package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/lockstep-sync/lockstep/daemon/control"
)

// changeTable prints changed paths for people. What only moved along with a
// directory is counted and not listed.
type changeTable struct {
	t       *table
	carried uint64
	counts  map[string]uint64
}

// actions are what can become of a path, in the order in which they are counted.
var actions = []struct{ action, done string }{
	{"create", "created"}, {"modify", "modified"}, {"attributes", "with other attributes"}, {"rename", "renamed"}, {"delete", "deleted"},
}

func newChangeTable() *changeTable {
	t := newTable("ACTION", "KIND", "SIZE", "PATH")
	t.right = map[int]bool{2: true}
	return &changeTable{t: t, counts: map[string]uint64{}}
}

func (c *changeTable) add(w io.Writer, x control.PathChange) error {
	if x.Carried {
		c.carried++
		return nil
	}
	c.counts[x.Action]++
	return c.t.addTo(w, x.Action, changeKind(x), changeSize(x), changePath(x))
}

// summary is "2 created, 1 renamed (312 more moved along)".
func (c *changeTable) summary() string { return summary(c.counts, c.carried) }

func summary(counts map[string]uint64, carried uint64) string {
	var parts []string
	for _, x := range actions {
		if n := counts[x.action]; n > 0 {
			parts = append(parts, count(n)+" "+x.done)
		}
	}
	s := strings.Join(parts, ", ")
	if carried > 0 {
		s += fmt.Sprintf(" (%s more moved along)", count(carried))
	}
	return s
}

func changeKind(x control.PathChange) string {
	switch {
	case x.New == nil && x.Old == nil:
		return ""
	case x.New == nil:
		return x.Old.Kind
	case x.Old != nil && x.Old.Kind != x.New.Kind && x.Action != "create":
		return x.Old.Kind + " -> " + x.New.Kind
	}
	return x.New.Kind
}

// changeSize is a file's size and, where it changed, the one before; for attributes
// the modes.
func changeSize(x control.PathChange) string {
	file := func(s *control.PathState) bool { return s != nil && s.Kind == "file" }
	switch {
	case x.Action == "attributes" && x.Old != nil && x.New != nil && x.Old.Mode != x.New.Mode:
		return x.Old.Mode + " -> " + x.New.Mode
	case x.Action == "attributes" && file(x.New):
		return "mtime"
	case file(x.Old) && file(x.New) && x.Old.Size != x.New.Size:
		return size(x.Old.Size) + " -> " + size(x.New.Size)
	case file(x.New):
		return size(x.New.Size)
	case file(x.Old) && x.New == nil:
		return size(x.Old.Size)
	}
	return ""
}

func changePath(x control.PathChange) string {
	s := printable(x.Path)
	switch {
	case x.From == "":
	case x.Action == "rename" && x.Edited:
		s += " <- " + printable(x.From) + " (edited)"
	case x.Action == "rename":
		s += " <- " + printable(x.From)
	case x.Action == "create":
		s += " (copy of " + printable(x.From) + ")"
	default:
		s += " (against " + printable(x.From) + ")"
	}
	return s
}

// jsonDoc prints one document with a long list at its end, as the list comes.
type jsonDoc struct {
	w     io.Writer
	items jsonArray
}

// newJSONDoc prints head's fields; the list follows under the key "list".
func newJSONDoc(w io.Writer, head any) (*jsonDoc, error) {
	raw, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(w, "%s,\"list\":", raw[:len(raw)-1])
	return &jsonDoc{w: w, items: jsonArray{w: w}}, err
}

func (d *jsonDoc) close() error {
	end := "\n]}\n"
	if d.items.n == 0 {
		end = "[]}\n"
	}
	_, err := io.WriteString(d.w, end)
	return err
}
