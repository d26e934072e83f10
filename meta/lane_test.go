package meta

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

func (w *world) reason(o Outcome) string {
	if o.Kind != Refused {
		return "not refused"
	}
	return o.Reason
}

func TestLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := func(p id.Path) Body {
		b, err := EncodeCommand(CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: []Change{put(p, Base{}, file("one"))}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	env := func(s id.Sequence) Envelope {
		return Envelope{Node: nodeA, Session: w.session[nodeA], Lane: w.folder, Sequence: s}
	}
	if r := w.reason(w.body(env(2), body("f2"))); r != ReasonGap {
		t.Error(r)
	}
	first := w.body(env(1), body("f1"))
	if first.Kind != Accepted || first.Revision != 1 {
		t.Fatalf("%+v", first)
	}
	// The leader died before it answered: sent again, applied once.
	if again := w.body(env(1), body("f1")); again.Revision != 1 || w.head().Revision != 1 {
		t.Errorf("%+v, head %s", again, w.head().Revision)
	}
	if r := w.reason(w.body(env(1), body("other"))); r != ReasonReused {
		t.Error(r)
	}
	// A new session fences the old one; sequences count on, the resent bytes count.
	old := w.session[nodeA]
	w.start(nodeA, 77)
	e := env(2)
	e.Session = old
	if r := w.reason(w.body(e, body("f2"))); r != ReasonFenced {
		t.Error(r)
	}
	if o := w.body(env(1), body("f1")); o.Revision != 1 {
		t.Errorf("%+v", o)
	}
	if o := w.body(env(2), body("f2")); o.Revision != 2 {
		t.Errorf("%+v", o)
	}
	e = env(1)
	e.Node = id.Node{99}
	if r := w.reason(w.body(e, body("x"))); r != ReasonNotMember {
		t.Error(r)
	}
	v := w.m.View()
	defer v.Close()
	if l, err := v.Lane(nodeA, w.folder); err != nil || l.Last != 2 || l.Session != w.session[nodeA] {
		t.Errorf("%+v %v", l, err)
	}
	if o, ok, err := v.Outcome(nodeA, id.Folder{}, 0); err != nil || !ok || id.Session(o.Detail) != w.session[nodeA] {
		t.Errorf("%+v %v %v", o, ok, err)
	}
}

func TestOutcomesAreTrimmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		w.must(w.do(nodeA, CommitCmd{Folder: w.folder, Origin: OriginEdit, Acked: id.Sequence(max(i-1, 0)), Changes: []Change{put(id.Path(fmt.Sprint(i)), Base{}, dir())}}))
	}
	v := w.m.View()
	defer v.Close()
	for s := id.Sequence(1); s <= 5; s++ {
		_, ok, err := v.Outcome(nodeA, w.folder, s)
		if err != nil || ok != (s > 3) {
			t.Errorf("sequence %s: stored %v, %v", s, ok, err)
		}
	}
	b, _ := EncodeCommand(CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: []Change{put("0", Base{}, dir())}})
	if r := w.reason(w.body(Envelope{nodeA, w.session[nodeA], w.folder, 1}, b)); r != ReasonForgotten {
		t.Error(r)
	}
}

// bigCommit does not compress below one part.
func bigCommit(f id.Folder, n int) CommitCmd {
	c := CommitCmd{Folder: f, Origin: OriginEdit}
	for i := range n {
		e := file("x")
		e.Content, e.Manifest = sha256.Sum256(fmt.Append(nil, i)), sha256.Sum256(fmt.Append(nil, "m", i))
		c.Changes = append(c.Changes, put(id.Path(fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, "p", i)))), Base{}, e))
	}
	return c
}

func TestParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, err := EncodeCommand(bigCommit(w.folder, 8000))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Parts) < 3 {
		t.Fatalf("%d parts", len(b.Parts))
	}
	env := w.next(nodeA, w.folder)
	es, err := LogEntries(env, b, w.now)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(i int) {
		t.Helper()
		if len(es[i]) > MaxEntry {
			t.Fatalf("entry of %d bytes", len(es[i]))
		}
		w.index++
		if err := w.m.Apply(w.index, es[i]); err != nil {
			t.Fatal(err)
		}
	}
	// A leader dies after two parts, the next one starts anew; two at once.
	apply(0)
	apply(1)
	apply(0)
	apply(0)
	apply(1)
	for i := 2; i < len(es)-1; i++ {
		apply(i)
		apply(i)
	}
	if w.head().Revision != 0 {
		t.Fatal("applied before its last part")
	}
	apply(len(es) - 1)
	apply(0)
	if h := w.head(); h.Revision != 1 {
		t.Fatalf("head %s", h.Revision)
	}
	v := w.m.View()
	defer v.Close()
	if tot, err := v.Totals(w.folder); err != nil || tot.Files != 8000 {
		t.Fatalf("%+v %v", tot, err)
	}
	n := 0
	if err := (reads{w.db}).prefix([]byte{keyPart}, func(_, _ []byte) error { n++; return nil }); err != nil || n != 0 {
		t.Errorf("%d parts left, %v", n, err)
	}
	w.checkInvariants()
}

// Parts of an abandoned proposal do not get into the next one.
func TestPartsAbandoned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, err := EncodeCommand(bigCommit(w.folder, 8000))
	if err != nil {
		t.Fatal(err)
	}
	es, err := LogEntries(Envelope{nodeA, w.session[nodeA], w.folder, 1}, b, w.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es[:2] {
		w.index++
		if err := w.m.Apply(w.index, e); err != nil {
			t.Fatal(err)
		}
	}
	w.start(nodeA, 50)
	o := w.commit(nodeA, put("f", Base{}, file("one")))
	if o.Kind != Accepted {
		t.Fatalf("%+v", o)
	}
	w.wantTree("f: one")
}

// Parts are dead with their session: the next one sends them all.
func TestPartsOfAnEndedSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, err := EncodeCommand(bigCommit(w.folder, 8000))
	if err != nil {
		t.Fatal(err)
	}
	send := func(parts func(all [][]byte) [][]byte) {
		t.Helper()
		es, err := LogEntries(Envelope{nodeA, w.session[nodeA], w.folder, 1}, b, w.now)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range parts(es) {
			w.index++
			if err := w.m.Apply(w.index, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(func(all [][]byte) [][]byte { return all[:2] })
	w.start(nodeA, 50)
	send(func(all [][]byte) [][]byte { return all[2:] })
	if h := w.head(); h.Revision != 0 {
		t.Fatalf("applied with the parts of two sessions: head %s", h.Revision)
	}
	send(func(all [][]byte) [][]byte { return all })
	if h := w.head(); h.Revision != 1 {
		t.Fatalf("head %s", h.Revision)
	}
	if err := (reads{w.db}).prefix([]byte{keyPart}, func(k, _ []byte) error { return fmt.Errorf("part %x is left", k) }); err != nil {
		t.Error(err)
	}
}

func TestInvites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := id.Digest{42}
	admit := func(n id.Node, name string) Outcome {
		return w.do(nodeA, NodeCmd{Op: NodeAdmit, Invite: h, Record: NodeRecord{ID: n, Name: name, Address: "x:1"}})
	}
	if r := w.reason(admit(id.Node{1}, "x")); r != ReasonUnknownInvite {
		t.Error(r)
	}
	w.must(w.do(nodeB, InviteCmd{Op: InviteAdd, Hash: h, Role: RoleLearner, Expires: w.now.Add(time.Minute)}))
	if o := admit(id.Node{1}, "a"); o.Kind != Accepted || string(o.Detail) != "a-2" {
		t.Errorf("%+v", o)
	}
	if o := admit(id.Node{1}, "a"); o.Kind != Unchanged || string(o.Detail) != "a-2" {
		t.Errorf("%+v", o)
	}
	if r := w.reason(admit(id.Node{2}, "y")); r != ReasonUsedInvite {
		t.Error(r)
	}
	h = id.Digest{43}
	w.must(w.do(nodeB, InviteCmd{Op: InviteAdd, Hash: h, Expires: w.now.Add(time.Minute)}))
	w.now = w.now.Add(time.Hour)
	if r := w.reason(admit(id.Node{2}, "y")); r != ReasonExpiredInvite {
		t.Error(r)
	}
	h = id.Digest{44}
	w.must(w.do(nodeB, InviteCmd{Op: InviteAdd, Hash: h}))
	w.must(w.do(nodeB, InviteCmd{Op: InviteRevoke, Hash: h}))
	if r := w.reason(admit(id.Node{2}, "y")); r != ReasonUnknownInvite {
		t.Error(r)
	}
	w.must(w.do(nodeA, NodeCmd{Op: NodeUpdate, Record: NodeRecord{ID: id.Node{1}, Address: "y:2", Name: "b"}}))
	v := w.m.View()
	n, ok, err := v.Node(id.Node{1})
	if err != nil || !ok || n.Address != "y:2" || n.Name != "b-2" || n.Role != RoleLearner {
		t.Errorf("%+v %v", n, err)
	}
	_ = v.Close()
	// What the removed node invited is void, as far as nobody came of it.
	theirs, ours := id.Digest{45}, id.Digest{46}
	w.must(w.do(nodeC, InviteCmd{Op: InviteAdd, Hash: theirs}))
	w.must(w.do(nodeA, InviteCmd{Op: InviteAdd, Hash: ours}))
	w.must(w.do(nodeA, NodeCmd{Op: NodeRemove, Record: NodeRecord{ID: nodeC}}))
	h = theirs
	if r := w.reason(admit(id.Node{3}, "z")); r != ReasonUnknownInvite {
		t.Error(r)
	}
	h = ours
	w.must(admit(id.Node{3}, "z"))
	if r := w.reason(w.do(nodeC, CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: []Change{put("f", Base{}, dir())}})); r != ReasonNotMember {
		t.Error(r)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if o := w.do(nodeA, FolderCmd{Op: FolderCreate, ID: id.Folder{1}, Name: "docs"}); o.Kind != Refused {
		t.Errorf("%+v", o)
	}
	if o := w.do(nodeA, FolderCmd{Op: FolderCreate, ID: id.Folder{1}, Name: "No"}); o.Kind != Refused {
		t.Errorf("%+v", o)
	}
	w.must(w.do(nodeA, FolderCmd{Op: FolderSet, ID: w.folder, Options: map[string]string{"merge": "text", "owners": "yes"}}))
	w.must(w.do(nodeA, FolderCmd{Op: FolderSet, ID: w.folder, Name: "papers", Options: map[string]string{"owners": ""}}))
	v := w.m.View()
	f, ok, err := v.FolderByName("papers")
	if err != nil || !ok || f.ID != w.folder || len(f.Options) != 1 || f.Options["merge"] != "text" {
		t.Errorf("%+v %v %v", f, ok, err)
	}
	_ = v.Close()
	w.must(w.do(nodeA, FolderCmd{Op: FolderRemove, ID: w.folder}))
	if o := w.do(nodeA, CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: []Change{put("f", Base{}, dir())}}); o.Kind != Refused {
		t.Errorf("%+v", o)
	}
	w.must(w.do(nodeA, FolderCmd{Op: FolderCreate, ID: id.Folder{1}, Name: "papers"}))
	for _, c := range []Command{RetentionCmd{Folder: w.folder}, PruneCmd{Folder: w.folder}} {
		if r := w.reason(w.do(nodeA, c)); r != ReasonUnsupported {
			t.Error(r)
		}
	}
}

func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	long := file("x")
	long.Size = -1
	for name, c := range map[string]Change{
		"reserved":     put(".Lockstep/x", Base{}, file("one")),
		"dots":         put("a/../b", Base{}, file("one")),
		"empty":        put("", Base{}, file("one")),
		"no kind":      {Op: OpPut, Path: "a", Mask: FieldsAll},
		"no mask":      {Op: OpPut, Path: "a", Entry: file("one")},
		"size":         put("a", Base{}, long),
		"no operation": {Path: "a"},
		"from":         mv("/a", "b", Base{}),
		"link":         put("a", Base{}, link("")),
	} {
		w := newWorld(t)
		o := w.do(nodeA, CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: []Change{put("ok", Base{}, dir()), c}})
		if o.Kind != Refused || w.head().Revision != 0 {
			t.Errorf("%s: %+v", name, o)
		}
		// The lane goes on.
		if o := w.commit(nodeA, put("ok", Base{}, dir())); o.Kind != Accepted {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
