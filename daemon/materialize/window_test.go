package materialize

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/failpoint"
	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

// one is a folder with the file f, to be replaced.
func one(t *testing.T) (*world, *Staged) {
	w := newWorld(t, vfs.MemOptions{})
	was := w.file("old bytes", 0o644, 1)
	w.make("f", was)
	w.must(w.user.SyncAll())
	items := w.diff(map[id.Path]meta.Entry{"f": was}, map[id.Path]meta.Entry{"f": w.file("new bytes", 0o644, 2)}, nil)
	s, err := w.x.Stage(context.Background(), items)
	w.must(err)
	return w, s
}

// userWrites replaces path by a new file.
func (w *world) userWrites(p id.Path, text string) {
	w.t.Helper()
	h, err := w.user.Create("usertmp", 0o644)
	w.must(err)
	_, err = h.WriteAt([]byte(text), 0)
	w.must(errors.Join(err, h.Close(), w.user.Rename("usertmp", p, vfs.Replace)))
}

// onRename calls f at the nth rename from or to f, before or, with after, when the next operation comes.
func (w *world) onRename(fs map[int]func()) {
	n := 0
	w.mem.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpRename && (c.Path == "f" || c.To == "f") {
			n++
			if f := fs[n]; f != nil {
				f()
			}
		}
		return nil
	})
}

// TestWriterWaitsForLease: who opens the file while it is exchanged gets it back
// at its path, and it is not replaced.
func TestWriterWaitsForLease(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	ino := w.stat("f").Ino
	w.onRename(map[int]func(){1: func() {
		wr, err := w.mem.OpenWriter("f")
		w.must(err)
		wr.WriteAt([]byte(userBytes), 0)
		wr.Close()
	}})
	res := w.commit(s)
	if res["f"].State != Busy || w.stat("f").Ino != ino || content(t, w.user, "f") != userBytes {
		t.Errorf("%v %v, f is %q", res["f"].State, res["f"].Err, content(t, w.user, "f"))
	}
	w.mem.Hook(nil)
	w.clean()
}

// TestReplacedAtOnce: a file that the user puts over the new one the moment it is
// there was not made from it.
func TestReplacedAtOnce(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	done := false
	w.mem.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpLstat && c.Path.Within(keptDir) && !done {
			done = true
			w.userWrites("f", userBytes)
		}
		return nil
	})
	if res := w.commit(s); res["f"].State != Raced || content(t, w.user, "f") != userBytes {
		t.Errorf("%v, f is %q", res["f"].State, content(t, w.user, "f"))
	}
	w.mem.Hook(nil)
	w.clean()
	if len(w.returned) > 0 {
		t.Errorf("returned %q", w.returned)
	}
}

// TestThirdVersion: replaced before the exchange, and again before it is undone:
// the newest stays, the one before is given back.
func TestThirdVersion(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	w.onRename(map[int]func(){
		1: func() { w.userWrites("f", "user one") },
		2: func() { w.userWrites("f", "user two") },
	})
	res := w.commit(s)
	w.mem.Hook(nil)
	if res["f"].State != Raced || content(t, w.user, "f") != "user two" {
		t.Errorf("%v, f is %q", res["f"].State, content(t, w.user, "f"))
	}
	w.clean()
	if want := []string{"f=user one"}; !reflect.DeepEqual(w.returned, want) {
		t.Errorf("returned %q, want %q", w.returned, want)
	}
}

// TestKeptIsWatched: a displaced file that is written to in kept is given back,
// once nobody has it open, however its size and mtime look.
func TestKeptIsWatched(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	kept := w.commit(s)["f"].Kept
	wr, err := w.mem.OpenWriter(kept)
	w.must(err)
	sweep := func(want Swept) {
		t.Helper()
		w.advance(time.Minute)
		got, err := w.x.Sweep(context.Background())
		w.must(err)
		if got.Next = (time.Time{}); got != want {
			t.Fatalf("swept %+v, want %+v", got, want)
		}
	}
	sweep(Swept{Waiting: 1})
	wr.WriteAt([]byte("odd bytes"), 0)
	w.must(w.user.SetMTime(kept, 1))
	sweep(Swept{Waiting: 1})
	wr.Close()
	sweep(Swept{Returned: 1})
	if n := len(w.returned); n == 0 || w.returned[n-1] != "f=odd bytes" {
		t.Errorf("returned %q", w.returned)
	}
	w.clean()
}

// TestWrittenWhileRescued: a write after the comparison and before the unlink.
func TestWrittenWhileRescued(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	w.commit(s)
	w.onRescue = func(k Kept) {
		wr, err := w.mem.OpenWriter(k.File)
		w.must(err)
		wr.WriteAt([]byte(userBytes), 0)
		wr.Close()
	}
	for range 2 {
		w.advance(time.Minute)
		_, err := w.x.Sweep(context.Background())
		w.must(err)
	}
	if want := []string{"f=" + userBytes}; !reflect.DeepEqual(w.returned, want) {
		t.Errorf("returned %q, want %q", w.returned, want)
	}
	w.clean()
}

// TestKeeperRefuses: what the Keeper cannot take stays, over a restart too.
func TestKeeperRefuses(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	w.commit(s)
	w.keepErr = errors.New("not now")
	for range 2 {
		w.advance(2 * time.Minute)
		if out, err := w.x.Sweep(context.Background()); err != nil || out.Waiting != 1 || out.Dropped != 0 {
			t.Fatalf("swept %+v, %v", out, err)
		}
		w.restart()
		w.must(w.x.Recover(context.Background()))
	}
	w.keepErr = nil
	w.clean()
	if len(w.returned) > 0 || len(w.rescued) == 0 {
		t.Errorf("returned %q, rescued %q", w.returned, w.rescued)
	}
}

// TestKilledAfterWrongExchange: the crash comes before what was exchanged was
// looked at. Recover puts the user's file back at its path.
func TestKilledAfterWrongExchange(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	var after *vfs.Mem
	w.mem.Hook(func(c vfs.Call) error {
		switch {
		case c.Op == vfs.OpRename && c.To == "f" && after == nil:
			w.userWrites("f", userBytes)
		case c.Op == vfs.OpLstat && c.Path.Within(tmpDir) && after == nil:
			after = w.mem.Crash(vfs.Kill, 0)
		}
		return nil
	})
	w.commit(s)
	n := &world{t: t, mem: after, fs: after, user: after.Plain(), store: newStore()}
	n.restart()
	n.must(n.x.Recover(context.Background()))
	if got := content(t, n.user, "f"); got != userBytes {
		t.Errorf("f is %q", got)
	}
	n.clean()
}

// TestRecordFails: what record refuses can be recovered.
func TestRecordFails(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	no := errors.New("no")
	if _, err := w.x.Commit(context.Background(), s, nil, func([]Result) error { return no }); !errors.Is(err, no) {
		t.Fatalf("got %v", err)
	}
	w.restart()
	w.must(w.x.Recover(context.Background()))
	if got := content(t, w.user, "f"); got != "new bytes" {
		t.Errorf("f is %q", got)
	}
	w.clean()
}

// write writes into the file that is at path.
func write(t testing.TB, m *vfs.Mem, p id.Path, text string) {
	t.Helper()
	w, err := m.OpenWriter(p)
	if err != nil {
		t.Fatal(err)
	}
	w.WriteAt([]byte(text), 0)
	w.Close()
}

// TestWritesBeforeAndAfterTheExchange: the user writes into the old file in the race,
// and into the new one before the exchange is undone, at once or while the daemon is
// down after a crash. Both are kept.
func TestWritesBeforeAndAfterTheExchange(t *testing.T) {
	for _, crash := range []bool{false, true} {
		w := newWorld(t, vfs.MemOptions{NoLeases: true})
		was := w.file("old bytes", 0o644, 1)
		w.make("f", was)
		w.must(w.user.SyncAll())
		items := w.diff(map[id.Path]meta.Entry{"f": was}, map[id.Path]meta.Entry{"f": w.file("new bytes", 0o644, 2)}, nil)
		s, err := w.x.Stage(context.Background(), items)
		w.must(err)
		var dead *vfs.Mem
		failpoint.Set("materialize/before-exchange", func() error { write(t, w.mem, "f", "FIRST"); return nil })
		failpoint.Set("materialize/exchanged", func() error {
			if dead = w.mem.Crash(vfs.Kill, 0); !crash {
				write(t, w.mem, "f", "SECOND")
			}
			return nil
		})
		_, err = w.x.Commit(context.Background(), s, nil, nil)
		failpoint.Reset()
		w.must(err)
		if crash {
			w = &world{t: t, mem: dead, fs: dead, user: dead.Plain(), store: w.store}
			write(t, dead, "f", "SECOND")
			w.restart()
			w.must(w.x.Recover(context.Background()))
		}
		w.advance(200 * time.Second)
		_, err = w.x.Sweep(context.Background())
		w.must(err)
		all := fmt.Sprint(w.returned, tree(t, w.user))
		for _, text := range []string{"FIRST", "SECOND"} {
			if !strings.Contains(all, text) {
				t.Errorf("crash %v: the user's %s is nowhere: %s", crash, text, all)
			}
		}
	}
}

// TestNothingIsSettledHalfWay: a Recover that is stopped leaves the rest for the next.
func TestNothingIsSettledHalfWay(t *testing.T) {
	w, s := one(t)
	failpoint.Set("materialize/before-record", func() error { return errors.New("killed") })
	_, err := w.x.Commit(context.Background(), s, nil, nil)
	failpoint.Reset()
	if err == nil {
		t.Fatal("not killed")
	}
	w.x.opts.Settle = func([]Kept) error { t.Error("settled, with intents left"); return nil }
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.x.Recover(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

// TestNoRoomForIntents: on a full disk an item fails, and the folder goes on.
func TestNoRoomForIntents(t *testing.T) {
	t.Parallel()
	w, s := one(t)
	w.mem.Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpWrite && strings.Contains(string(c.Path), intentsPrefix) {
			return syscall.ENOSPC
		}
		return nil
	})
	res, err := w.x.Commit(context.Background(), s, nil, nil)
	w.must(err)
	if res[0].State != Failed || !errors.Is(res[0].Err, syscall.ENOSPC) {
		t.Errorf("%+v", res[0])
	}
}
