package kv

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// benchRows is how many rows a store has in the benchmarks: a local index of some
// 100,000 files.
const benchRows = 200_000

func benchKey(n int) []byte {
	return fmt.Appendf(nil, "f0123456789abcdef-dir-%03d/file-%06d", n%1000, n)
}

func benchDB(b *testing.B, o Options) *DB {
	b.Helper()
	d, err := Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	value := make([]byte, 150)
	for n := 0; n < benchRows; {
		batch := d.NewBatch()
		for range 1000 {
			h := uint64(n) * 0x9e3779b97f4a7c15
			for i := 0; i+8 <= len(value); i += 8 { // as hashes, they hardly shrink
				binary.LittleEndian.PutUint64(value[i:], h*uint64(i+1))
			}
			batch.Set(benchKey(n), value)
			n++
		}
		if err := batch.Commit(false); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

// BenchmarkGet reads rows by key: of the whole store, of 4,000 paths that lie
// together, and keys that are not there.
func BenchmarkGet(b *testing.B) {
	d := benchDB(b, Options{})
	for _, c := range []struct {
		name string
		key  func(n int) []byte
	}{
		{"all", func(n int) []byte { return benchKey(n * 7919 % benchRows) }},
		{"near", func(n int) []byte { return benchKey(n%200*1000 + n/200%20) }},
		{"missing", func(n int) []byte { return append(benchKey(n*7919%benchRows), 'x') }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				_, ok, err := d.Get(c.key(n))
				if err != nil || ok == (c.name == "missing") {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkIter reads the rows of one directory.
func BenchmarkIter(b *testing.B) {
	d := benchDB(b, Options{})
	b.ReportAllocs()
	for n := range b.N {
		prefix := fmt.Appendf(nil, "f0123456789abcdef-dir-%03d/", n%1000)
		it, err := d.Iter(prefix, PrefixEnd(prefix))
		if err != nil {
			b.Fatal(err)
		}
		rows := 0
		for it.Next() {
			rows++
		}
		if err := it.Close(); err != nil || rows != benchRows/1000 {
			b.Fatal(rows, err)
		}
	}
}

// BenchmarkCommit writes batches of one row and of 100, durably or not.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		rows int
		sync bool
	}{{1, false}, {1, true}, {100, false}, {100, true}} {
		b.Run(fmt.Sprintf("rows=%d/sync=%v", c.rows, c.sync), func(b *testing.B) {
			d := benchDB(b, Options{})
			value := make([]byte, 150)
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				batch := d.NewBatch()
				for k := range c.rows {
					batch.Set(benchKey((n*c.rows+k)*7919%benchRows), value)
				}
				if err := batch.Commit(c.sync); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
