package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/kv"
	"github.com/lockstep-sync/lockstep/meta"
)

// past is a service over a history that a test writes: nothing runs.
type past struct {
	service
	t       *testing.T
	index   uint64
	seq     id.Sequence
	folder  id.Folder
	session id.Session
	now     time.Time
}

func newPast(t *testing.T) *past {
	t.Helper()
	db, err := kv.Open("meta", kv.Options{InMemory: true, NoWAL: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	m, err := meta.NewMachine(oneDB{db}, nil)
	if err != nil {
		t.Fatal(err)
	}
	self := id.Node{0xa}
	rec := meta.NodeRecord{ID: self, Name: "a", Address: "a:1"}
	n := &Node{self: self, machine: m, members: &members{nodes: map[id.Node]meta.NodeRecord{self: rec}}, folders: &folders{}}
	p := &past{service: service{n}, t: t, folder: id.Folder{0xf0}, session: id.Session{1}, now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	p.apply(meta.Envelope{Node: self, Session: p.session}, meta.ClusterCmd{ID: id.Cluster{1}, First: rec})
	p.apply(meta.Envelope{Node: self, Session: p.session}, meta.Session{})
	p.apply(meta.Envelope{Node: self, Session: p.session, Sequence: 1}, meta.FolderCmd{Op: meta.FolderCreate, ID: p.folder, Name: "docs"})
	return p
}

func (p *past) apply(env meta.Envelope, c meta.Command) meta.Outcome {
	p.t.Helper()
	b, err := meta.EncodeCommand(c)
	if err != nil {
		p.t.Fatal(err)
	}
	entries, err := meta.LogEntries(env, b, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		p.index++
		if err := p.n.machine.Apply(p.index, e); err != nil {
			p.t.Fatal(err)
		}
	}
	o, _ := p.n.machine.Result(p.index)
	if o.Kind == meta.Refused {
		p.t.Fatalf("%T: %s", c, o.Reason)
	}
	return o
}

func (p *past) do(c meta.Command) meta.Outcome {
	p.t.Helper()
	p.seq++
	return p.apply(meta.Envelope{Node: p.n.self, Session: p.session, Lane: p.folder, Sequence: p.seq}, c)
}

// commit makes a revision, a minute after the last, of lines such as "put f one",
// "dir d", "del f", "mv d e".
func (p *past) commit(lines ...string) {
	p.t.Helper()
	p.now = p.now.Add(time.Minute)
	p.commitNow(lines...)
}

func (p *past) commitNow(lines ...string) {
	p.t.Helper()
	v := p.n.machine.View()
	head, err := v.Head(p.folder)
	v.Close()
	if err != nil {
		p.t.Fatal(err)
	}
	var base meta.Base
	if head.Revision > 0 {
		base = head.Base()
	}
	cmd := meta.CommitCmd{Folder: p.folder, Origin: meta.OriginEdit}
	for _, l := range lines {
		w := strings.Fields(l)
		ch := meta.Change{Path: id.Path(w[1]), Base: base}
		switch w[0] {
		case "put":
			ch.Op, ch.Mask = meta.OpPut, meta.FieldsAll
			ch.Entry = meta.Entry{Kind: meta.File, Mode: 0o644, Size: int64(len(w[2])), Content: id.Sum([]byte(w[2])), MTime: 1}
		case "dir":
			ch.Op, ch.Mask, ch.Entry = meta.OpPut, meta.FieldsAll, meta.Entry{Kind: meta.Dir, Mode: 0o755}
		case "del":
			ch.Op = meta.OpDelete
		case "mv":
			ch.Op, ch.From, ch.Path = meta.OpMove, id.Path(w[1]), id.Path(w[2])
		}
		cmd.Changes = append(cmd.Changes, ch)
	}
	p.do(cmd)
}

func number(r uint64) control.Rev {
	return control.Rev{Kind: control.RevNumber, Number: r, Text: fmt.Sprint(r)}
}

var headRev = control.Rev{Kind: control.RevHead, Text: "head"}

func docs(path string) control.Target {
	return control.Target{Folder: "docs", Rel: control.RawPath(path)}
}

func line(x control.PathChange) string {
	s := x.Action + " " + x.Path
	if x.From != "" {
		s += " <- " + x.From
	}
	if x.Edited {
		s += " edited"
	}
	if x.Carried {
		s += " carried"
	}
	return s
}

func (p *past) show(path string, r control.Rev, limit int) (control.ShowCommit, []string) {
	p.t.Helper()
	var c control.ShowCommit
	var got []string
	err := p.Show(context.Background(), control.ShowRequest{Target: docs(path), Rev: r, Limit: limit}, func(it control.ShowItem) error {
		if it.Commit != nil {
			c = *it.Commit
		} else {
			got = append(got, line(*it.Change))
		}
		return nil
	})
	if err != nil {
		p.t.Error(err)
	}
	return c, got
}

func (p *past) log(path string, r control.LogRequest) (got []string, err error) {
	p.t.Helper()
	v := p.n.machine.View()
	defer v.Close()
	f, _, err := v.Folder(p.folder)
	if err != nil {
		p.t.Fatal(err)
	}
	match, err := compilePatterns(r.Match)
	if err != nil {
		return nil, err
	}
	l := &logger{s: p.service, v: v, f: f, match: match, r: r, left: r.Limit, send: func(e control.LogEntry) error {
		x := e.Version
		s := fmt.Sprintf("%d %s %s", x.Revision, x.Action, x.Path)
		if x.From != "" {
			s += " <- " + x.From
		}
		if x.To != "" {
			s += " -> " + x.To
		}
		got = append(got, s)
		return nil
	}}
	k, err := kind(v, f.ID, id.Path(path))
	if err != nil {
		return nil, err
	}
	if k == meta.Dir {
		return got, enough(l.tree(id.Path(path)))
	}
	err = enough(l.path(id.Path(path)))
	return got, err
}

func sample(t *testing.T) *past {
	p := newPast(t)
	p.commit("dir d", "put d/a one", "put d/b two", "put f one") // 1
	p.commit("put d/a three", "del f")                           // 2
	p.commit("mv d e")                                           // 3
	p.commit("mv e/a top", "put e/c new")                        // 4
	p.commit("mv top last")                                      // 5
	p.commit("put last four")                                    // 6
	return p
}

func TestShow(t *testing.T) {
	t.Parallel()
	p := sample(t)
	p.do(meta.TagCmd{Folder: p.folder, Name: "v3", Revision: 3})
	for _, c := range []struct {
		path  string
		rev   control.Rev
		limit int
		want  []string
	}{
		{"", number(1), 0, []string{"create d", "create d/a", "create d/b", "create f"}},
		{"", number(2), 0, []string{"modify d/a", "delete f"}},
		{"", control.Rev{Kind: control.RevTag, Text: "v3"}, 0, []string{"rename e <- d", "rename e/a <- d/a carried", "rename e/b <- d/b carried"}},
		{"", number(4), 0, []string{"create e/c", "rename top <- e/a"}},
		{"", number(5), 0, []string{"rename last <- top"}},
		{"", headRev, 0, []string{"modify last"}},
		{"", number(1), 2, []string{"create d", "create d/a"}},
		{"d", number(2), 0, []string{"modify d/a"}},
		{"e", number(4), 0, []string{"rename top <- e/a", "create e/c"}}, // moved out of the scope
		{"f", number(1), 0, []string{"create f"}},
	} {
		head, got := p.show(c.path, c.rev, c.limit)
		if !slices.Equal(got, c.want) {
			t.Errorf("show %q@%s: %q, want %q", c.path, c.rev, got, c.want)
		}
		if head.Folder != "docs" || head.Node != "a" || head.Origin != "edit" || slices.Equal(head.Tags, []string{"v3"}) != (head.Revision == 3) {
			t.Errorf("%+v", head)
		}
	}
}

func TestLogOfPathsGoneMovedAndMatched(t *testing.T) {
	t.Parallel()
	p := sample(t)
	for _, c := range []struct {
		path string
		r    control.LogRequest
		want []string
	}{
		{"f", control.LogRequest{}, []string{"2 delete f", "1 create f"}},
		{"last", control.LogRequest{}, []string{"6 modify last", "5 rename last <- top", "4 rename top <- e/a", "3 rename e/a <- d/a", "2 modify d/a", "1 create d/a"}},
		{"d/a", control.LogRequest{}, []string{"3 rename d/a -> e/a", "2 modify d/a", "1 create d/a"}},
		{"e", control.LogRequest{}, []string{"4 rename e/a -> top", "4 create e/c", "3 rename e <- d", "2 modify d/a", "1 create d", "1 create d/a", "1 create d/b"}},
		{"d", control.LogRequest{}, []string{"3 rename d -> e", "2 modify d/a", "1 create d", "1 create d/a", "1 create d/b"}},
		{"", control.LogRequest{Match: []control.RawPath{"f", "la*"}}, []string{"6 modify last", "5 rename last <- top", "2 delete f", "1 create f"}},
		{"e", control.LogRequest{Match: []control.RawPath{"*"}, Limit: 2}, []string{"4 rename e/a -> top", "4 create e/c"}},
		{"e", control.LogRequest{Since: p.now.Add(-4 * time.Minute), Until: p.now.Add(-3 * time.Minute)}, []string{"3 rename e <- d", "2 modify d/a"}},
	} {
		got, err := p.log(c.path, c.r)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("log %q %+v: %q (%v), want %q", c.path, c.r, got, err, c.want)
		}
	}
}

func (p *past) diff(r control.DiffRequest) (info control.DiffInfo, got []string, err error) {
	err = p.Diff(context.Background(), r, func(it control.DiffItem) error {
		if it.Info != nil {
			info = *it.Info
		} else {
			got = append(got, line(*it.Change))
		}
		return nil
	})
	return info, got, err
}

func TestDiffService(t *testing.T) {
	t.Parallel()
	p := sample(t)
	for _, c := range []struct {
		old  string
		a    uint64
		is   string
		b    uint64
		file bool
		want []string
	}{
		{"", 1, "", 6, false, []string{"rename e <- d", "rename e/b <- d/b carried", "create e/c", "delete f", "rename last <- d/a edited"}},
		{"", 6, "", 1, false, []string{"rename d <- e", "rename d/b <- e/b carried", "delete e/c", "create f", "rename d/a <- last edited"}},
		{"last", 1, "last", 6, true, []string{"rename last <- d/a edited"}},
		{"d/a", 1, "d/a", 6, true, []string{"rename last <- d/a edited"}},
		{"f", 1, "f", 6, true, []string{"delete f"}},
		{"d", 1, "e", 3, false, []string{"modify e/a <- d/a"}},
		{"d", 2, "e", 4, false, []string{"delete d/a", "create e/c"}},
		{"f", 1, "last", 6, true, []string{"modify last <- f"}},
		{"", 6, "", 6, false, nil},
	} {
		info, got, err := p.diff(control.DiffRequest{Old: docs(c.old), OldRev: number(c.a), New: docs(c.is), NewRev: number(c.b)})
		if err != nil {
			t.Error(err)
			continue
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) || info.File != c.file {
			t.Errorf("diff %q@%d %q@%d: file %t, %q, want %q", c.old, c.a, c.is, c.b, info.File, got, c.want)
		}
	}
	for _, r := range []control.DiffRequest{
		{Old: docs("nothing"), OldRev: number(1), New: docs("nothing"), NewRev: headRev},
		{Old: docs("f"), OldRev: number(2), New: docs("f"), NewRev: number(3)},
		{Old: docs("f"), OldRev: number(1), New: docs("nothing"), NewRev: headRev},
	} {
		if _, _, err := p.diff(r); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
}

func TestAbsentSaysWhy(t *testing.T) {
	t.Parallel()
	p := sample(t)
	v := p.n.machine.View()
	defer v.Close()
	f := meta.Folder{ID: p.folder, Name: "docs"}
	for _, c := range []struct {
		path id.Path
		r    id.Revision
		want string
	}{
		{"f", 5, "docs:f does not exist at revision 5: it was deleted in revision 2 by a; what it was before that is docs:f@1"},
		{"d/a", 4, "docs:d/a does not exist at revision 4: it was renamed to docs:e/a in revision 3 by a"},
		{"last", 2, "docs:last does not exist at revision 2: its first is revision 5; then it was docs:d/a@2"},
		{"e/c", 2, "docs:e/c does not exist at revision 2: its first is revision 4; see `lockstep log docs:e/c`"},
		{"no", 2, `folder "docs" has no history of "no"; a path after the colon is relative to the folder's root: see ` + "`lockstep status` for where that is"},
	} {
		if err := p.absent(v, f, c.path, c.r); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

// A time that clocks make ambiguous is refused, with what it may mean.
func TestAmbiguousTime(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	start := p.now
	p.commit("put f 1")
	p.now = start.Add(time.Hour) // a clock that is ahead
	p.commitNow("put f 2")
	p.commitNow("put f 3")
	p.now = start.Add(2 * time.Minute)
	p.commitNow("put f 4")
	v := p.n.machine.View()
	defer v.Close()
	f := meta.Folder{ID: p.folder, Name: "docs"}
	at := func(m time.Duration) (meta.Commit, error) {
		return p.revision(v, f, control.Rev{Kind: control.RevTime, Time: start.Add(m * time.Minute), Text: "then"})
	}
	_, err := at(3)
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Code != control.CodeFailed {
		t.Fatalf("%v", err)
	}
	var got []string
	for _, x := range e.Paths {
		got = append(got, x.Path)
	}
	if want := []string{"docs@4", "docs@3", "docs@2", "docs@1"}; !slices.Equal(got, want) {
		t.Errorf("candidates %q, want %q", got, want)
	}
	if c, err := at(120); err != nil || c.Revision != 4 {
		t.Errorf("after all: revision %d, %v", c.Revision, err)
	}
	if c, err := at(1); err != nil || c.Revision != 1 {
		t.Errorf("before all that is wrong: revision %d, %v", c.Revision, err)
	}
	if _, err := at(0); err == nil {
		t.Error("a time before the first revision names one")
	}
}

// What a dry run lists is what the rollback then does.
func TestRollbackDryRunIsTheRollback(t *testing.T) {
	t.Parallel()
	for _, path := range []id.Path{"", "d", "d/a", "e", "last", "f"} {
		for target := uint64(1); target <= 6; target++ {
			p := sample(t)
			var listed []string
			res, err := p.Rollback(context.Background(), control.RollbackRequest{Target: docs(string(path)), Rev: number(target), DryRun: true},
				func(c control.RollbackChange) error { listed = append(listed, c.Path); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(listed) {
				t.Errorf("not in path order: %q", listed)
			}
			v := p.n.machine.View()
			c, _, err := v.Commit(p.folder, id.Revision(target))
			v.Close()
			if err != nil {
				t.Fatal(err)
			}
			out := p.do(meta.RollbackCmd{Folder: p.folder, Path: path, Target: c.Revision, TargetHash: c.Hash.Prefix()})
			var done []string
			if out.Revision != 0 {
				_, done = p.show("", number(uint64(out.Revision)), 0)
			}
			var n uint64
			for _, x := range res.Counts {
				n += x
			}
			if len(done) != len(listed) || n != res.Changes || int(n) != len(listed) {
				t.Errorf("rollback %q to %d: listed %q (%d, counts %v), did %q", path, target, listed, res.Changes, res.Counts, done)
			}
		}
	}
}

func TestTreeService(t *testing.T) {
	t.Parallel()
	p := sample(t)
	tree := func(path string, r uint64) (info control.TreeInfo, got []string, err error) {
		err = p.Tree(context.Background(), control.TreeRequest{Target: docs(path), Rev: number(r)}, func(it control.TreeItem) error {
			if it.Info != nil {
				info = *it.Info
			} else {
				got = append(got, it.Path)
			}
			return nil
		})
		return info, got, err
	}
	info, got, err := tree("d", 1)
	if err != nil || info.Kind != "directory" || info.Files != 2 || info.Bytes != 6 || !slices.Equal(got, []string{"d", "d/a", "d/b"}) {
		t.Errorf("%+v %q %v", info, got, err)
	}
	if info, got, err = tree("f", 1); err != nil || info.Kind != "file" || !slices.Equal(got, []string{"f"}) {
		t.Errorf("%+v %q %v", info, got, err)
	}
	if _, _, err := tree("f", 3); err == nil || !strings.Contains(err.Error(), "deleted in revision 2") {
		t.Errorf("%v", err)
	}
}
