package pack

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func maxLen(kind uint8) int {
	if kind == 1 || kind == 2 {
		return 1 << 20
	}
	return 0
}

func record(kind uint8, payload []byte) []byte {
	r := Record{Kind: kind, Raw: uint32(len(payload)), Stored: uint32(len(payload)), ID: id.Sum(payload), Sum: Checksum(payload)}
	b := make([]byte, RecordHeaderLen)
	r.Put(b)
	return append(b, payload...)
}

func scanAll(t interface{ Fatal(...any) }, b []byte, from int64) (Result, []Found) {
	var found []Found
	res, err := Scan(bytes.NewReader(b), from, int64(len(b)), maxLen, func(f Found) error {
		f.Payload = slices.Clone(f.Payload)
		found = append(found, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return res, found
}

func TestScanFindsAllRecords(t *testing.T) {
	t.Parallel()
	b := AppendHeader(nil, 7)
	if n, err := CheckHeader(b); n != 7 || err != nil {
		t.Fatalf("CheckHeader = %d, %v", n, err)
	}
	var want [][]byte
	for i := range 20 {
		p := bytes.Repeat([]byte{byte(i + 1)}, 1+i*i*100)
		want = append(want, p)
		b = append(b, record(1, p)...)
	}
	res, found := scanAll(t, b, HeaderLen)
	if res.End != int64(len(b)) || res.Damaged != 0 || len(found) != len(want) {
		t.Fatalf("%+v, %d records", res, len(found))
	}
	for i, f := range found {
		if !bytes.Equal(f.Payload, want[i]) || f.Resync {
			t.Errorf("record %d: %+v", i, f.Record)
		}
	}
}

// TestScanDamage flips bytes and cuts tails: every record that was not touched
// is found, none is invented, End never lies before a sound record's end.
func TestScanDamage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := AppendHeader(nil, 1)
		var ends []int64
		for i := range rapid.IntRange(1, 8).Draw(t, "records") {
			p := bytes.Repeat([]byte(fmt.Sprint("payload LsR1", i)), rapid.IntRange(1, 300).Draw(t, "n"))
			b = append(b, record(1+uint8(i%2), p)...)
			ends = append(ends, int64(len(b)))
		}
		bad := map[int]bool{}
		hit := func(at int64) {
			for i, e := range ends {
				if at < e {
					bad[i] = true
					return
				}
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "flips") {
			at := rapid.IntRange(HeaderLen, len(b)-1).Draw(t, "at")
			b[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "xor"))
			hit(int64(at))
		}
		cut := rapid.IntRange(HeaderLen, len(b)).Draw(t, "cut")
		for i, e := range ends {
			if e > int64(cut) {
				bad[i] = true
			}
		}
		res, found := scanAll(t, b[:cut], HeaderLen)
		at := map[int64]bool{}
		for _, f := range found {
			at[f.Offset+f.Len()] = true
			if id.Sum(f.Payload) != f.ID {
				t.Fatal("a record with a wrong payload")
			}
		}
		want := int64(HeaderLen)
		for i, e := range ends {
			if !bad[i] {
				want = e
				if !at[e] {
					t.Fatalf("sound record %d not found", i)
				}
			}
		}
		// A double flip may restore a byte; then more is sound than we think.
		if res.End < want || res.End > int64(cut) {
			t.Fatalf("End = %d, last sound record ends at %d", res.End, want)
		}
	})
}

func TestScanStopsWithTheCallback(t *testing.T) {
	t.Parallel()
	b := append(AppendHeader(nil, 1), record(1, []byte("x"))...)
	boom := errors.New("boom")
	_, err := Scan(bytes.NewReader(b), HeaderLen, int64(len(b)), maxLen, func(Found) error { return boom })
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, err := Scan(bytes.NewReader(b), HeaderLen, int64(len(b))+100, maxLen, func(Found) error { return nil }); err == nil {
		t.Fatal("a file shorter than said was scanned without error")
	}
}

func TestHeaderRefusals(t *testing.T) {
	t.Parallel()
	h := AppendHeader(nil, 3)
	for i := range h {
		g := slices.Clone(h)
		g[i] ^= 0x10
		if _, err := CheckHeader(g); err == nil {
			t.Errorf("byte %d flipped and not noticed", i)
		}
	}
	r := record(1, []byte("hello"))
	for i := range RecordHeaderLen {
		g := slices.Clone(r)
		g[i] ^= 0x10
		if _, err := ParseRecord(g, maxLen); !errors.Is(err, ErrRecord) {
			t.Errorf("byte %d flipped and not noticed: %v", i, err)
		}
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	z := Record{Kind: 2, Flags: FlagZstd, Raw: 100, Stored: 3, ID: id.Sum([]byte("z")), Sum: Checksum([]byte{1, 2, 3})}
	zb := make([]byte, RecordHeaderLen)
	z.Put(zb)
	var out strings.Builder
	fmt.Fprintf(&out, "header %s\n", hex.EncodeToString(AppendHeader(nil, 0x0102)))
	fmt.Fprintf(&out, "chunk %s\n", hex.EncodeToString(record(1, []byte("hello"))))
	fmt.Fprintf(&out, "zstd node %s\n", hex.EncodeToString(append(zb, 1, 2, 3)))
	name := filepath.Join("testdata", "records.golden")
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
		t.Errorf("format changed:\n%s\nwant\n%s", out.String(), want)
	}
}

func FuzzScan(f *testing.F) {
	b := AppendHeader(nil, 1)
	b = append(b, record(1, []byte("hello"))...)
	b = append(b, record(2, []byte("LsR1LsR1"))...)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = CheckHeader(b)
		res, found := scanAll(t, b, 0)
		if res.End < 0 || res.End > int64(len(b)) {
			t.Fatalf("End %d of %d", res.End, len(b))
		}
		for _, f := range found {
			if f.CheckPayload(f.Payload) != nil || int(f.Raw) > maxLen(f.Kind) {
				t.Fatalf("unsound record %+v", f.Record)
			}
			var h [RecordHeaderLen]byte
			f.Put(h[:])
			if !bytes.Equal(h[:], b[f.Offset:f.Offset+RecordHeaderLen]) {
				t.Fatal("encoding is not canonical")
			}
		}
	})
}
