package meta

import (
	"strings"
	"testing"
)

// TestForgetIsADeletion: a commit that forgets is judged like one that deletes, and
// its header says which it was; origins beyond it are refused.
func TestForgetIsADeletion(t *testing.T) {
	w := newWorld(t)
	w.commit(nodeA, put("d", Base{}, dir()), put("d/f", Base{}, file("1")), put("d/g", Base{}, file("1")))
	seen := w.head()
	w.commit(nodeB, edit("d/g", seen, file("2")))
	out := w.must(w.do(nodeA, CommitCmd{Folder: w.folder, Origin: OriginForget, Seen: seen, Changes: []Change{del("d", seen)}}))
	if got := w.tree(); strings.Contains(got, "d/f") || !strings.Contains(got, "d/g") {
		t.Errorf("want only what a had not seen:\n%s", got)
	}
	v := w.m.View()
	defer v.Close()
	c, ok, err := v.Commit(w.folder, out.Revision)
	if err != nil || !ok || c.Origin != OriginForget || c.Origin.String() != "forget" {
		t.Errorf("the commit is %+v (%v, %v)", c, ok, err)
	}
	if out := w.do(nodeA, CommitCmd{Folder: w.folder, Origin: OriginForget + 1, Changes: []Change{del("d", Base{})}}); out.Kind != Refused {
		t.Errorf("an unknown origin is %+v", out)
	}
}
