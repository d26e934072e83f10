package cdc

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noise is n reproducible random bytes.
func noise(seed, n int) []byte {
	h := blake3.NewDeriveKey("lockstep test noise")
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], uint64(seed))
	_, _ = h.Write(s[:])
	b := make([]byte, n)
	_, _ = h.Digest().Read(b)
	return b
}

func cutAll(c Class, b []byte) (lens []int) {
	for len(b) > 0 {
		n := c.Cut(b)
		lens = append(lens, n)
		b = b[n:]
	}
	return lens
}

// reference is FastCDC as the paper's one-byte form says it, from cut to cut.
func reference(c Class, b []byte) int {
	if len(b) <= c.Min {
		return len(b)
	}
	var h uint64
	for i := c.Min - window; i < len(b) && i < c.Max; i++ {
		h = h<<1 + gear[b[i]]
		mask := c.strict
		if i >= c.Avg {
			mask = c.loose
		}
		if i >= c.Min && h&mask == 0 {
			return i + 1
		}
	}
	return min(len(b), c.Max)
}

// tiny has the proportions of the real classes and cuts often.
var tiny = newClass(9)

func TestCutAgreesWithReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := noise(rapid.IntRange(0, 1<<30).Draw(t, "seed"), rapid.IntRange(0, 20000).Draw(t, "n"))
		if rapid.Bool().Draw(t, "zeros") && len(b) > 0 {
			i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			clear(b[i:min(len(b), i+rapid.IntRange(0, 8000).Draw(t, "len"))])
		}
		total := 0
		for rest := b; len(rest) > 0; {
			n, want := tiny.Cut(rest), reference(tiny, rest)
			if n != want {
				t.Fatalf("cut at %d+%d, reference +%d", total, n, want)
			}
			if n > tiny.Max || n < tiny.Min && n != len(rest) {
				t.Fatalf("chunk of %d bytes", n)
			}
			total += n
			rest = rest[n:]
		}
		if total != len(b) {
			t.Fatalf("chunks hold %d bytes of %d", total, len(b))
		}
	})
}

func TestCutDoesNotSeePastMax(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := noise(rapid.IntRange(0, 1<<30).Draw(t, "seed"), 3*tiny.Max)
		if got, want := tiny.Cut(b[:tiny.Max]), tiny.Cut(b); got != want {
			t.Fatalf("cut %d with Max bytes in sight, %d with more", got, want)
		}
	})
}

// TestResync inserts bytes: all but a few chunks must be the same ones.
func TestResync(t *testing.T) {
	t.Parallel()
	base := noise(1, 16<<20)
	set := map[string]bool{}
	for rest := base; len(rest) > 0; {
		n := For(0).Cut(rest)
		set[string(rest[:n])] = true
		rest = rest[n:]
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, ins := range []int{1, 2, 7, 1000, 100001} {
		at := r.IntN(len(base))
		if ins == 1 {
			at = 0
		}
		b := slices.Concat(base[:at], noise(2, ins), base[at:])
		fresh := 0
		for rest := b; len(rest) > 0; {
			n := For(0).Cut(rest)
			if !set[string(rest[:n])] {
				fresh += n
			}
			rest = rest[n:]
		}
		if fresh > ins+1<<20 {
			t.Errorf("%d bytes inserted at %d: %d bytes of new chunks", ins, at, fresh)
		}
	}
}

func TestConstantRunsNeverCutEarly(t *testing.T) {
	t.Parallel()
	for _, c := range []Class{small, large} {
		if got := reference(c, make([]byte, c.Max)); got != c.Max {
			t.Errorf("zeros cut at %d of %d: the fast path would be wrong", got, c.Max)
		}
		if got := c.Cut(make([]byte, c.Max+5)); got != c.Max {
			t.Errorf("zeros cut at %d of %d", got, c.Max)
		}
	}
}

func TestAverage(t *testing.T) {
	t.Parallel()
	b := noise(3, 64<<20)
	lens := cutAll(For(1), b)
	avg := len(b) / len(lens)
	if avg < 56<<10 || avg > 80<<10 {
		t.Errorf("average %d bytes", avg)
	}
	t.Logf("average %d, %d chunks", avg, len(lens))
}

func TestFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size          int64
		min, avg, max int
	}{
		{0, 16 << 10, 64 << 10, 256 << 10},
		{16 << 30, 16 << 10, 64 << 10, 256 << 10},
		{16<<30 + 1, 256 << 10, 1 << 20, 4 << 20},
		{1 << 50, 256 << 10, 1 << 20, 4 << 20},
	} {
		if c := For(tt.size); c.Min != tt.min || c.Avg != tt.avg || c.Max != tt.max {
			t.Errorf("For(%d) = %d %d %d", tt.size, c.Min, c.Avg, c.Max)
		}
	}
	if large.Max != MaxChunk {
		t.Errorf("MaxChunk is %d, the largest class's %d", MaxChunk, large.Max)
	}
}

func TestZeros(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := make([]byte, rapid.IntRange(0, 300000).Draw(t, "n"))
		if !Zeros(b) {
			t.Fatal("zeros not seen")
		}
		if len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = 1
			if Zeros(b) {
				t.Fatal("a one taken for zeros")
			}
		}
	})
}

// TestGolden holds the cut points: whoever changes them makes every chunk of
// every file a new one.
func TestGolden(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	fmt.Fprintf(&out, "gear %016x %016x %016x %016x\n", gear[0], gear[1], gear[127], gear[255])
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog\n"), 30000)
	for _, f := range []struct {
		name string
		c    Class
		b    []byte
	}{
		{"noise-3MiB", small, noise(7, 3<<20)},
		{"text", small, text},
		{"zeros", small, make([]byte, 1<<20+17)},
		{"mixed", small, slices.Concat(noise(8, 100000), make([]byte, 600000), noise(9, 100001))},
		{"min", small, noise(10, 16<<10)},
		{"min+1", small, noise(10, 16<<10+1)},
		{"large-noise", large, noise(11, 12<<20)},
	} {
		fmt.Fprintf(&out, "%s %d\n", f.name, cutAll(f.c, f.b))
	}
	name := filepath.Join("testdata", "cuts.golden")
	if *update {
		if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("cuts changed:\n%s\nwant\n%s", out.String(), want)
	}
}

func BenchmarkCut(b *testing.B) {
	data := noise(1, 64<<20)
	for _, d := range []struct {
		name string
		data []byte
	}{{"noise", data}, {"zeros", make([]byte, 64<<20)}} {
		b.Run(d.name, func(b *testing.B) {
			b.SetBytes(int64(len(d.data)))
			b.ReportAllocs()
			for b.Loop() {
				for rest := d.data; len(rest) > 0; {
					rest = rest[small.Cut(rest):]
				}
			}
		})
	}
}
