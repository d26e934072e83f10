package local

import (
	"fmt"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"github.com/lockstep-sync/lockstep/internal/vfs"
	"github.com/lockstep-sync/lockstep/meta"
)

func benchIndexRow(n int) Row {
	return Row{
		Base:  meta.Base{Revision: 7, Hash: [8]byte{1}},
		Entry: meta.Entry{Kind: meta.File, Mode: 0o644, Size: int64(n), MTime: int64(n), Content: id.Sum(fmt.Append(nil, n))},
		Stat:  vfs.Stat{Kind: vfs.File, Mode: 0o644, Size: int64(n), MTime: int64(n), CTime: int64(n), Ino: uint64(n + 1)},
	}
}

func benchPath(n int) id.Path { return id.Path(fmt.Sprintf("dir-%03d/file-%06d.go", n/1000, n)) }

// benchIndex is an index of 100,000 files.
func benchIndex(b *testing.B) (*DB, id.Folder) {
	b.Helper()
	d, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	f := id.Folder{1}
	for n := 0; n < 100_000; {
		batch := d.NewBatch()
		for range 1000 {
			batch.Put(f, benchPath(n), benchIndexRow(n), nil)
			n++
		}
		if err := batch.Commit(false); err != nil {
			b.Fatal(err)
		}
	}
	return d, f
}

// BenchmarkIndexGet looks the rows of paths up, in the order of a scan and at random.
func BenchmarkIndexGet(b *testing.B) {
	d, f := benchIndex(b)
	for name, step := range map[string]int{"inorder": 1, "random": 61_803} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				if _, ok, err := d.Get(f, benchPath(n*step%100_000)); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkIndexPut records 1,000 paths in one batch that is not synced.
func BenchmarkIndexPut(b *testing.B) {
	d, f := benchIndex(b)
	b.ReportAllocs()
	for i := range b.N {
		batch := d.NewBatch()
		for k := range 1000 {
			n := (i*1000 + k) % 100_000
			batch.Put(f, benchPath(n), benchIndexRow(n), nil)
		}
		if err := batch.Commit(false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000, "rows/op")
}
