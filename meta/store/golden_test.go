package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockstep-sync/lockstep/internal/golden"
)

// TestGoldenCurrent holds CURRENT and the names of generations, which CURRENT
// spells out.
func TestGoldenCurrent(t *testing.T) {
	t.Parallel()
	numbers := []uint64{1, 2, 3, 1000, 9_999_999_999_999_999}
	var all []byte
	for _, n := range numbers {
		all = append(all, formatCurrent(n)...)
	}
	lines := strings.SplitAfter(string(golden.Bytes(t, "current.golden", all)), "\n")
	for i, n := range numbers {
		b := []byte(lines[i])
		if got, err := parseCurrent(b); err != nil || got != n {
			t.Errorf("%q: got %d, %v; want %d", b, got, err, n)
		}
		name := strings.Fields(lines[i])[2]
		if got, ok := parseGeneration(name); !ok || got != n {
			t.Errorf("%q: got %d, %v; want %d", name, got, ok, n)
		}
		for at := range b {
			if _, err := parseCurrent(b[:at]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%q: %v", b[:at], err)
			}
			for bit := range 8 {
				bad := bytes.Clone(b)
				bad[at] ^= 1 << bit
				if _, err := parseCurrent(bad); !errors.Is(err, ErrDamaged) {
					t.Errorf("%q: %v", bad, err)
				}
			}
		}
	}
	for _, name := range []string{"gen-1", "gen-0000000000000000", "gen-00000000000000001", "gen-000000000000000x", "Gen-0000000000000001", ""} {
		if n, ok := parseGeneration(name); ok {
			t.Errorf("%q is taken for generation %d", name, n)
		}
	}
}

// TestGoldenNames: what a new store writes has the names of the golden file, and
// is found again.
func TestGoldenNames(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s := open(t, "meta", Options{FS: fs})
	set(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := readSmall(fs, "meta/CURRENT")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "current.golden"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(want), "\n")
	if string(b) != first+"\n" {
		t.Errorf("a new store's CURRENT is %q, want %q", b, first)
	}
	if _, err := fs.Stat("meta/gen-0000000000000001"); err != nil {
		t.Error(err)
	}
	s = open(t, "meta", Options{FS: fs})
	defer s.Close()
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("k = %q, want v", got)
	}
}
