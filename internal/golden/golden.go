// Package golden compares what an encoder writes with a file that is kept in the
// package's testdata, so that a format cannot change unnoticed. For tests only:
// the files are written anew with the flag -update, which is right only for a
// format that was never released.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: only for a format that was never released")

// Bytes compares got with testdata/name and returns what is stored there.
func Bytes(t testing.TB, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("%s: the format has changed at byte %d: %d bytes, want %d\ngot  %.600q\nwant %.600q", path, at, len(got), len(want), got[at:], want[at:])
	}
	return want
}

// Text is Bytes for text.
func Text(t testing.TB, name, got string) string {
	t.Helper()
	return string(Bytes(t, name, []byte(got)))
}

// Lines is Text for lines.
func Lines(t testing.TB, name string, lines []string) []string {
	t.Helper()
	stored := Text(t, name, strings.Join(lines, "\n")+"\n")
	return strings.Split(strings.TrimSuffix(stored, "\n"), "\n")
}

// Stored returns testdata/name without comparing: for what an encoder may write
// in several ways and a decoder must read for ever. With -update, fresh is stored.
func Stored(t testing.TB, name string, fresh []byte) []byte {
	t.Helper()
	if !*update {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return Bytes(t, name, fresh)
}
