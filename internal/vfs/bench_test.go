package vfs

import "testing"

func benchFS(b *testing.B) FS {
	b.Helper()
	f, err := OpenReal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	for _, d := range []string{"a", "a/b", "a/b/c"} {
		if err := f.Mkdir(idPath(d), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	for _, n := range []string{"f", "a/b/c/f"} {
		h, err := f.Create(idPath(n), 0o644)
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
	return f
}

func BenchmarkLstat(b *testing.B) {
	f := benchFS(b)
	for _, p := range []string{"f", "a/b/c/f"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s, err := f.Lstat(idPath(p)); err != nil || s.Kind != File {
					b.Fatal(s, err)
				}
			}
		})
	}
}

func BenchmarkOpenLeaseClose(b *testing.B) {
	f := benchFS(b)
	b.ReportAllocs()
	for b.Loop() {
		h, err := f.Open("a/b/c/f")
		if err != nil {
			b.Fatal(err)
		}
		if l, err := h.Lease(); err == nil {
			l.Release()
		}
		h.Close()
	}
}

func BenchmarkRename(b *testing.B) {
	f := benchFS(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Rename("a/b/c/f", "f", Exchange); err != nil {
			b.Fatal(err)
		}
	}
}
