package meta

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
)

type oneDB struct{ db *kv.DB }

func (o oneDB) Acquire() (*kv.DB, func()) { return o.db, func() {} }

func memDB(t testing.TB) *kv.DB {
	t.Helper()
	db, err := kv.Open("meta", kv.Options{InMemory: true, NoWAL: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// world is one machine with a few nodes that propose to it.
type world struct {
	t       testing.TB
	db      *kv.DB
	m       *Machine
	index   uint64
	log     []IndexedEntry
	seqs    map[id.Node]map[id.Folder]id.Sequence
	session map[id.Node]id.Session
	now     time.Time
	folder  id.Folder
	story   strings.Builder // what the authors did, for failures
}

var (
	nodeA = id.Node{0xa}
	nodeB = id.Node{0xb}
	nodeC = id.Node{0xc}
)

// newWorld has the nodes a, b and c and one folder.
func newWorld(t testing.TB) *world {
	t.Helper()
	db := memDB(t)
	m, err := NewMachine(oneDB{db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, m: m, seqs: make(map[id.Node]map[id.Folder]id.Sequence), session: make(map[id.Node]id.Session),
		now: time.Unix(1_800_000_000, 0).UTC(), folder: id.Folder{0xf0}}
	w.raw(Envelope{Node: nodeA, Session: id.Session{1}}, ClusterCmd{ID: id.Cluster{0xcc}, First: NodeRecord{ID: nodeA, Name: "a", Address: "a:1"}})
	w.start(nodeA, 1)
	for i, n := range []id.Node{nodeB, nodeC} {
		h := id.Digest{byte(i + 1)}
		w.must(w.do(nodeA, InviteCmd{Op: InviteAdd, Hash: h, Expires: w.now.Add(time.Hour)}))
		w.must(w.do(nodeA, NodeCmd{Op: NodeAdmit, Invite: h, Record: NodeRecord{ID: n, Name: string('b' + rune(i))}}))
		w.start(n, byte(i+2))
	}
	w.must(w.do(nodeA, FolderCmd{Op: FolderCreate, ID: w.folder, Name: "docs"}))
	return w
}

func (w *world) start(n id.Node, s byte) {
	w.t.Helper()
	w.session[n] = id.Session{s}
	w.must(w.raw(Envelope{Node: n, Session: w.session[n]}, Session{}))
}

// raw appends a proposal to the log and applies it.
func (w *world) raw(env Envelope, c Command) Outcome {
	w.t.Helper()
	b, err := EncodeCommand(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.body(env, b)
}

func (w *world) body(env Envelope, b Body) Outcome {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	entries, err := LogEntries(env, b, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		w.index++
		w.log = append(w.log, IndexedEntry{w.index, e})
		if err := w.m.Apply(w.index, e); err != nil {
			w.t.Fatal(err)
		}
	}
	o, ok := w.m.Result(w.index)
	if !ok {
		w.t.Fatalf("no result at index %d", w.index)
	}
	return o
}

// next is the envelope of a node's next proposal.
func (w *world) next(n id.Node, lane id.Folder) Envelope {
	if w.seqs[n] == nil {
		w.seqs[n] = make(map[id.Folder]id.Sequence)
	}
	w.seqs[n][lane]++
	return Envelope{Node: n, Session: w.session[n], Lane: lane, Sequence: w.seqs[n][lane]}
}

func (w *world) do(n id.Node, c Command) Outcome {
	w.t.Helper()
	var lane id.Folder
	switch c := c.(type) {
	case CommitCmd:
		lane = c.Folder
	case RollbackCmd:
		lane = c.Folder
	case ResolveCmd:
		lane = c.Folder
	case TagCmd:
		lane = c.Folder
	case RetentionCmd:
		lane = c.Folder
	case PruneCmd:
		lane = c.Folder
	}
	return w.raw(w.next(n, lane), c)
}

func (w *world) must(o Outcome) Outcome {
	w.t.Helper()
	if o.Kind == Refused {
		w.t.Fatalf("refused: %s", o.Reason)
	}
	return o
}

// commit proposes changes as n.
func (w *world) commit(n id.Node, changes ...Change) Outcome {
	w.t.Helper()
	return w.must(w.do(n, CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: changes}))
}

// from proposes changes that n made when its disk held all of seen.
func (w *world) from(n id.Node, seen Base, changes ...Change) Outcome {
	w.t.Helper()
	return w.must(w.do(n, CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: changes, Seen: seen}))
}

// head is the base of the newest revision.
func (w *world) head() Base {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	c, err := v.Head(w.folder)
	if err != nil {
		w.t.Fatal(err)
	}
	if c.Revision == 0 {
		return Base{}
	}
	return c.Base()
}

// at is the base of a revision.
func (w *world) at(r id.Revision) Base {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	c, ok, err := v.Commit(w.folder, r)
	if err != nil || !ok {
		w.t.Fatalf("commit %d: %v %v", r, ok, err)
	}
	return c.Base()
}

func own(s id.Sequence) Base { return Base{Own: s} }

// file is a file of that content.
func file(content string) Entry {
	return Entry{Kind: File, Mode: 0o644, MTime: 1, Size: int64(len(content)), Content: id.Sum([]byte(content))}
}

func dir() Entry { return Entry{Kind: Dir, Mode: 0o755} }

func link(to string) Entry { return Entry{Kind: Symlink, Target: to} }

func put(p id.Path, b Base, e Entry) Change {
	return Change{Op: OpPut, Path: p, Base: b, Entry: e, Mask: FieldsAll}
}

// edit is a put that changed content and mtime.
func edit(p id.Path, b Base, e Entry) Change {
	return Change{Op: OpPut, Path: p, Base: b, Entry: e, Mask: FieldContent | FieldMTime}
}

func chmod(p id.Path, b Base, e Entry, mode uint32) Change {
	e.Mode = mode
	return Change{Op: OpPut, Path: p, Base: b, Entry: e, Mask: FieldMode}
}

func del(p id.Path, b Base) Change { return Change{Op: OpDelete, Path: p, Base: b} }

func mv(from, to id.Path, b Base) Change { return Change{Op: OpMove, Path: to, From: from, Base: b} }

// texts names contents in tests.
var texts = func() map[id.Digest]string {
	m := make(map[id.Digest]string)
	for _, s := range strings.Fields("one two three four five six seven x y z v1 v2 v3 v4 v5 mine theirs") {
		m[id.Sum([]byte(s))] = s
	}
	for i := range 200 {
		s := fmt.Sprint("c", i)
		m[id.Sum([]byte(s))] = s
	}
	return m
}()

func show(e Entry) string {
	switch e.Kind {
	case File:
		s := texts[e.Content]
		if e.Mode != 0o644 {
			s += fmt.Sprintf(" %o", e.Mode)
		}
		return s
	case Dir:
		if e.Mode != 0o755 {
			return fmt.Sprintf("/ %o", e.Mode)
		}
		return "/"
	case Symlink:
		return "-> " + e.Target
	}
	return "absent"
}

// tree is the head as "path: entry" lines.
func (w *world) tree() string { return w.treeAt(^id.Revision(0)) }

func (w *world) treeAt(r id.Revision) string {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	var out []string
	err := v.Tree(w.folder, "", r, func(x Version) error {
		out = append(out, string(x.Path)+": "+show(x.Entry))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func (w *world) wantTree(lines ...string) {
	w.t.Helper()
	if got, want := w.tree(), strings.Join(lines, "\n"); got != want {
		w.t.Errorf("tree:\n%s\nwant:\n%s", got, want)
	}
}

// records are the conflicts as "kind state path copy" lines.
func (w *world) wantConflicts(lines ...string) {
	w.t.Helper()
	v := w.m.View()
	defer v.Close()
	var got []string
	err := v.Conflicts(w.folder, func(c Conflict) error {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", c.Kind, c.State, c.Path, c.CopyPath)))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if g, n := strings.Join(got, "\n"), strings.Join(lines, "\n"); g != n {
		w.t.Errorf("conflicts:\n%s\nwant:\n%s", g, n)
	}
}
