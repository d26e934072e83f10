package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/daemon/control"
	"github.com/lockstep-sync/lockstep/daemon/events"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/meta"
)

// clashing is a node whose folder docs has conflicts.
type clashing struct {
	*testing.T
	ctx  context.Context
	n    *Node
	c    *control.Client
	root string
	f    meta.Folder
}

func newClashing(t *testing.T) *clashing {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := filepath.Join(base, "home")
	x := &clashing{T: t, c: control.NewClient(h), root: filepath.Join(base, "docs")}
	x.must(os.Mkdir(x.root, 0o755))
	x.must(Init(InitOptions{Home: h, Name: "a", Listen: "127.0.0.1:0"}))
	cfg, err := home(h).load()
	x.must(err)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	x.ctx = ctx
	log := slog.New(slog.DiscardHandler)
	x.n = &Node{home: home(h), cfg: cfg, log: log, started: time.Now(), fatal: make(chan error, 1), events: events.New(keptEvents), changes: newChanges(), lags: newLags()}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- x.n.run(ctx, RunOptions{Home: h, Log: log, Ready: func(string) { close(ready) }}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("run: %v", err)
	}
	_, err = x.c.FolderAdd(ctx, control.FolderAddRequest{Path: control.RawPath(x.root), Name: "docs"})
	x.must(err)
	x.f, err = service{x.n}.byName("docs")
	x.must(err)
	return x
}

func (x *clashing) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *clashing) wait() {
	x.Helper()
	_, err := x.c.Wait(x.ctx, control.WaitRequest{Timeout: 30 * time.Second})
	x.must(err)
}

// clash has one version of a path on the disk and another, made without knowing it, lose.
func (x *clashing) clash(name, wins, loses string) {
	x.Helper()
	x.must(os.WriteFile(filepath.Join(x.root, name), []byte(wins), 0o644))
	x.wait()
	e := x.n.folders.engine(x.f.ID)
	f, err := e.Store(x.ctx, strings.NewReader(loses), int64(len(loses)))
	x.must(err)
	entry := meta.Entry{Kind: meta.File, Mode: 0o600, MTime: 1, Size: f.Size, Content: f.Content, Manifest: f.Manifest}
	out, err := e.Submit(x.ctx, meta.CommitCmd{Folder: x.f.ID, Origin: meta.OriginEdit, Changes: []meta.Change{{Op: meta.OpPut, Path: id.Path(name), Entry: entry, Mask: meta.FieldsAll}}})
	x.must(err)
	if len(out.Changes) != 1 || out.Changes[0].Kind != meta.Copied {
		x.Fatalf("%+v", out)
	}
	x.wait()
}

func (x *clashing) show(n uint64) control.ConflictDetail {
	x.Helper()
	d, err := x.c.ConflictShow(x.ctx, control.ConflictRequest{Folder: "docs", Number: n})
	x.must(err)
	return d
}

func (x *clashing) cat(s *control.ConflictSide) string {
	x.Helper()
	var buf bytes.Buffer
	x.must(x.c.Cat(x.ctx, control.CatRequest{Target: control.Target{Folder: "docs", Rel: control.RawPath(s.Path)},
		Rev: control.Rev{Kind: control.RevNumber, Number: s.Revision, Text: fmt.Sprint(s.Revision)}}, func(control.CatInfo) io.Writer { return &buf }))
	return buf.String()
}

func (x *clashing) resolve(n uint64, keep string, with *control.WithFile, r io.Reader) (control.ResolveResult, error) {
	return x.c.ConflictResolve(x.ctx, control.ResolveRequest{ConflictRequest: control.ConflictRequest{Folder: "docs", Number: n}, Keep: keep, With: with}, r)
}

// disk is what is in the folder's root.
func (x *clashing) disk() string {
	x.Helper()
	x.wait()
	list, err := os.ReadDir(x.root)
	x.must(err)
	var out []string
	for _, d := range list {
		if d.Name() != ".lockstep" {
			text, err := os.ReadFile(filepath.Join(x.root, d.Name()))
			x.must(err)
			out = append(out, d.Name()+"="+string(text))
		}
	}
	return strings.Join(out, " ")
}

func TestResolveWithAFile(t *testing.T) {
	x := newClashing(t)
	x.clash("f", "two", "three")
	if got := x.disk(); got != "f=two f (conflict a r2)=three" {
		t.Fatal(got)
	}
	for _, bad := range []struct {
		keep string
		with *control.WithFile
		body string
		code control.Code
	}{
		{"mine", nil, "", control.CodeUsage},
		{"with", nil, "", control.CodeUsage},
		{"other", &control.WithFile{Size: 1}, "x", control.CodeUsage},
		{"with", &control.WithFile{Size: -1}, "", control.CodeUsage},
	} {
		if _, err := x.resolve(1, bad.keep, bad.with, strings.NewReader(bad.body)); control.CodeOf(err) != bad.code {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	// A body that ends early is no file.
	if _, err := (service{x.n}).ConflictResolve(x.ctx, control.ResolveRequest{ConflictRequest: control.ConflictRequest{Folder: "docs", Number: 1}, Keep: "with",
		With: &control.WithFile{Size: 10}}, strings.NewReader("short")); err == nil || !strings.Contains(err.Error(), "5 bytes came, 10 were announced") {
		t.Errorf("%v", err)
	}
	if _, err := x.resolve(2, "both", nil, nil); err == nil || !strings.Contains(err.Error(), "there is no conflict docs#2") {
		t.Errorf("%v", err)
	}
	res, err := x.resolve(1, "with", &control.WithFile{Size: 6, Mode: 0o666, MTime: 5e9}, strings.NewReader("merged"))
	x.must(err)
	if res.State != "resolved" || res.Resolution != "with" || res.ResolvedBy != "a" || res.Revision != 3 {
		t.Errorf("%+v", res)
	}
	if got := x.disk(); got != "f=merged" {
		t.Error(got)
	}
	st, err := os.Stat(filepath.Join(x.root, "f"))
	if err != nil || st.Mode().Perm() != 0o644 || st.ModTime().UnixNano() != 5e9 {
		t.Errorf("%v %v %v", st.Mode(), st.ModTime(), err)
	}
	d := x.show(1)
	if x.cat(d.Current) != "two" || x.cat(d.Other) != "three" || d.Base != nil || d.Resolved != 3 {
		t.Errorf("%+v", d)
	}
	if _, err := x.resolve(1, "other", nil, nil); err == nil || !strings.Contains(err.Error(), "resolved already, by a at revision 3: with") {
		t.Errorf("%v", err)
	}
	left, err := filepath.Glob(filepath.Join(string(x.n.home), ".given*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the home: %q %v", left, err)
	}
}

// With conflicts=history the loser is on no disk, and all that knows its address reads it.
func TestConflictsInHistory(t *testing.T) {
	x := newClashing(t)
	out, err := x.n.propose.Do(x.ctx, meta.FolderCmd{Op: meta.FolderSet, ID: x.f.ID, Options: map[string]string{"conflicts": "history"}})
	if err != nil || out.Kind == meta.Refused {
		t.Fatalf("%+v %v", out, err)
	}
	for _, p := range []string{"f", "g", "h"} {
		x.clash(p, "two", "three")
	}
	const two = "f=two g=two h=two"
	if got := x.disk(); got != two {
		t.Fatal(got)
	}
	d := x.show(1)
	if d.CopyPath != "" || d.Other == nil || d.Other.Path != "f (conflict a r2)" || x.cat(d.Other) != "three" || x.cat(d.Current) != "two" || d.Other.Mode != "0600" {
		t.Fatalf("%+v %+v", d, d.Other)
	}
	for i, keep := range []string{"other", "both", "current"} {
		if _, err := x.resolve(uint64(i+1), keep, nil, nil); err != nil {
			t.Errorf("keep %s: %v", keep, err)
		}
		if d := x.show(uint64(i + 1)); x.cat(d.Other) != "three" || x.cat(d.Current) != "two" {
			t.Errorf("keep %s: %+v", keep, d)
		}
	}
	if got := x.disk(); got != "f=three g=two g (conflict a r4)=three h=two" {
		t.Error(got)
	}
}
