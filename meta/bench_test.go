package meta

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockstep-sync/lockstep/internal/id"
)

// BenchmarkApply1 applies commits of one new file each.
func BenchmarkApply1(b *testing.B) {
	w := newWorld(b)
	w.commit(nodeA, put("d", Base{}, dir()))
	entries := make([]IndexedEntry, b.N)
	for i := range entries {
		c := CommitCmd{Folder: w.folder, Origin: OriginEdit, Acked: id.Sequence(i), Changes: []Change{put(id.Path(fmt.Sprint("d/f", i)), Base{}, file(fmt.Sprint(i)))}}
		entries[i] = w.encode(w.next(nodeA, w.folder), c)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, e := range entries {
		if err := w.m.Apply(e.Index, e.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply10000 applies commits of 10,000 new files each, and BenchmarkEdit10000
// of an edit of each.
func BenchmarkApply10000(b *testing.B) { benchMany(b, false) }

func BenchmarkEdit10000(b *testing.B) { benchMany(b, true) }

func benchMany(b *testing.B, edits bool) {
	w := newWorld(b)
	batch := func(i int, base Base) []IndexedEntry {
		ch := []Change{put(id.Path(fmt.Sprintf("d%d", i)), base, dir())}
		for k := range 10000 {
			if k%100 == 0 {
				ch = append(ch, put(id.Path(fmt.Sprintf("d%d/e%d", i, k/100)), base, dir()))
			}
			ch = append(ch, put(id.Path(fmt.Sprintf("d%d/e%d/file-%d", i, k/100, k)), base, file(fmt.Sprint(i, k, base.Revision))))
		}
		body, err := EncodeCommand(CommitCmd{Folder: w.folder, Origin: OriginEdit, Changes: ch})
		if err != nil {
			b.Fatal(err)
		}
		if i == 0 && !edits {
			b.ReportMetric(float64(body.Size())/10000, "B/change")
		}
		data, err := LogEntries(w.next(nodeA, w.folder), body, w.now)
		if err != nil {
			b.Fatal(err)
		}
		var out []IndexedEntry
		for _, d := range data {
			w.index++
			out = append(out, IndexedEntry{w.index, d})
		}
		return out
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		if edits {
			if err := w.m.ApplyBatch(batch(i, Base{})); err != nil {
				b.Fatal(err)
			}
		}
		es := batch(i, w.head())
		b.StartTimer()
		if err := w.m.ApplyBatch(es); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode1000 encodes a commit of 1,000 new files, and BenchmarkLogEntries1000
// checks it, as its leader does.
func BenchmarkEncode1000(b *testing.B) {
	c := benchCommit()
	b.ReportAllocs()
	for b.Loop() {
		body, err := EncodeCommand(c)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(body.Size()))
	}
}

func BenchmarkLogEntries1000(b *testing.B) {
	body, err := EncodeCommand(benchCommit())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(body.Size()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LogEntries(Envelope{}, body, time.Unix(1, 0)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchCommit() CommitCmd {
	c := CommitCmd{Folder: id.Folder{1}, Origin: OriginEdit}
	for k := range 1000 {
		c.Changes = append(c.Changes, put(id.Path(fmt.Sprintf("dir/file-%d", k)), Base{}, file(fmt.Sprint(k))))
	}
	return c
}

// BenchmarkRollback10000 rolls 10,000 edits back, one entry each time.
func BenchmarkRollback10000(b *testing.B) {
	w := newWorld(b)
	var ch []Change
	for k := range 10000 {
		ch = append(ch, put(id.Path(fmt.Sprintf("file-%d", k)), Base{}, file("x")))
	}
	first := w.commit(nodeA, ch...)
	for k := range ch {
		ch[k].Entry, ch[k].Base = file("y"), w.at(first.Revision)
	}
	w.commit(nodeA, ch...)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		target := w.at(id.Revision(1 + i%2))
		e := w.encode(w.next(nodeA, w.folder), RollbackCmd{Folder: w.folder, Target: target.Revision, TargetHash: target.Hash})
		if err := w.m.Apply(e.Index, e.Data); err != nil {
			b.Fatal(err)
		}
	}
}

// encode makes the one log entry of a small command.
func (w *world) encode(env Envelope, c Command) IndexedEntry {
	w.t.Helper()
	body, err := EncodeCommand(c)
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := LogEntries(env, body, w.now)
	if err != nil || len(data) != 1 {
		w.t.Fatal(len(data), err)
	}
	w.index++
	return IndexedEntry{w.index, data[0]}
}
