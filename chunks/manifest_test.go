package chunks

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lockstep-sync/lockstep/internal/id"
)

var update = flag.Bool("update", false, "write the golden files anew")

// nodeStore collects nodes.
type nodeStore map[id.Digest][]byte

func (n nodeStore) put(b []byte) (id.Digest, error) {
	d := Sum(Node, b)
	n[d] = bytes.Clone(b)
	return d, nil
}

func build(t interface{ Fatal(...any) }, rows []NodeRow) (id.Digest, nodeStore) {
	n := nodeStore{}
	b := treeBuilder{put: n.put}
	for _, r := range rows {
		if err := b.add(r.ID, int(r.Len)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	return root, n
}

// fakeRows are n rows with random IDs; every cut is likelier than in life.
func fakeRows(seed, n int, constant bool) []NodeRow {
	rows := make([]NodeRow, n)
	b := noise(seed, 4*n+4)
	for i := range rows {
		rows[i].ID = id.Sum(b[4*i : 4*i+4])
		rows[i].Len = 1 + int64(b[4*i])
		if constant {
			rows[i] = rows[0]
		}
	}
	return rows
}

func walkNodes(t interface{ Fatal(...any) }, n nodeStore, d id.Digest, level int) (out []NodeRow) {
	b, ok := n[d]
	if !ok {
		t.Fatal("missing node")
	}
	x, err := DecodeNode(b)
	if err != nil {
		t.Fatal(err)
	}
	if level >= 0 && x.Level != level {
		t.Fatal("wrong level")
	}
	if x.Level == 0 {
		return x.Rows
	}
	for _, r := range x.Rows {
		sub := walkNodes(t, n, r.ID, x.Level-1)
		var total int64
		for _, s := range sub {
			total += s.Len
		}
		if total != r.Len {
			t.Fatal("wrong total")
		}
		out = append(out, sub...)
	}
	return out
}

func TestTreeHoldsItsRows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 3000), rapid.IntRange(1, 100000)).Draw(t, "n")
		rows := fakeRows(rapid.IntRange(0, 1<<30).Draw(t, "seed"), n, rapid.Bool().Draw(t, "constant"))
		root, nodes := build(t, rows)
		got := walkNodes(t, nodes, root, -1)
		if len(got) != len(rows) {
			t.Fatalf("%d rows, want %d", len(got), len(rows))
		}
		for i := range got {
			if got[i] != rows[i] {
				t.Fatalf("row %d differs", i)
			}
		}
		// One row inserted: a few nodes a level are new.
		at := rapid.IntRange(0, n).Draw(t, "at")
		more := append(append(append([]NodeRow{}, rows[:at]...), NodeRow{id.Digest{7}, 5}), rows[at:]...)
		_, after := build(t, more)
		fresh := 0
		for d := range after {
			if _, ok := nodes[d]; !ok {
				fresh++
			}
		}
		if fresh > 12 {
			t.Fatalf("one row of %d inserted at %d: %d new nodes of %d", n, at, fresh, len(after))
		}
	})
}

func TestRowsFetchesMissingNodes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, b := newRig(t), newRig(t)
	data := noise(3, 40<<20) // two levels
	f := a.ingest(data, Pack)
	var me *MissingError
	for _, err := range b.Rows(ctx, f, nil) {
		if !errors.As(err, &me) || me.ID != f.Manifest || me.Kind != Node {
			t.Fatalf("without the manifest: %v", err)
		}
	}
	calls, count := 0, 0
	fetch := func(ctx context.Context, ids []id.Digest) error {
		calls++
		for _, d := range ids {
			raw, z, err := a.Raw(ctx, d, Node)
			if err != nil {
				return err
			}
			n, err := Decode(Node, d, raw, z, 0, nil)
			if err != nil {
				return err
			}
			if err := b.Put(ctx, Node, d, n); err != nil {
				return err
			}
		}
		return nil
	}
	var off int64
	for p, err := range b.Assemble(ctx, f, fetch) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Offset != off || p.Local {
			t.Fatalf("%+v at %d", p, off)
		}
		off += int64(p.Len)
		count++
	}
	if off != f.Size || count != len(a.rows(f)) || calls > 2 {
		t.Errorf("%d bytes, %d chunks in %d calls", off, count, calls)
	}
	boom := errors.New("boom")
	c := newRig(t)
	for _, err := range c.Rows(ctx, f, func(context.Context, []id.Digest) error { return boom }) {
		if !errors.Is(err, boom) {
			t.Errorf("fetch failed: %v", err)
		}
	}
	for _, err := range c.Rows(ctx, f, func(context.Context, []id.Digest) error { return nil }) {
		if !errors.Is(err, ErrMissing) {
			t.Errorf("fetch brought nothing: %v", err)
		}
	}
	for range b.Rows(ctx, f, nil) {
		break // a consumer may leave
	}
}

// TestRowsRefusesLies: a manifest that does not fit the file, or itself.
func TestRowsRefusesLies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := newRig(t)
	var last id.Digest
	put := func(b []byte) (id.Digest, error) {
		ids, err := r.PutNodes(ctx, [][]byte{b})
		if err == nil {
			last = ids[0]
		}
		return last, err
	}
	b := treeBuilder{put: put}
	for _, x := range fakeRows(1, 3000, false) {
		if err := b.add(x.ID, int(x.Len)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := b.finish()
	if err != nil {
		t.Fatal(err)
	}
	wrongLevel := append([]byte{nodeVersion, 2}, make([]byte, innerRow)...)
	copy(wrongLevel[2:], root[:])
	wrongLevel[2+32] = 9 // bytes that the node below does not have
	lie, err := put(wrongLevel)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{
		{Size: 1, Manifest: root},
		{Size: 9, Manifest: lie},
		{Size: MaxChunk + 1, Content: id.Digest{1}},
		{Size: -1, Content: id.Digest{1}},
	} {
		var err error
		for _, err = range r.Rows(ctx, f, nil) {
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func FuzzDecodeNode(f *testing.F) {
	_, nodes := build(f, fakeRows(1, 2000, false))
	for _, b := range nodes {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := DecodeNode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		l := treeLevel{buf: []byte{nodeVersion, byte(n.Level)}}
		tb := treeBuilder{put: func([]byte) (id.Digest, error) { return id.Digest{}, nil }}
		for range n.Level {
			tb.levels = append(tb.levels, &treeLevel{})
		}
		tb.levels = append(tb.levels, &l)
		var total int64
		for _, r := range n.Rows {
			if r.Len < 1 {
				t.Fatalf("row of %d bytes", r.Len)
			}
			total += r.Len
			l.count = -1 << 30 // never cut
			if err := tb.push(n.Level, r); err != nil {
				t.Fatal(err)
			}
		}
		if total != n.Total || !bytes.Equal(l.buf, b) {
			t.Fatal("the decoded node does not encode to itself")
		}
	})
}

func FuzzDecode(f *testing.F) {
	z, _ := compress(nil, text(1, 1000))
	f.Add(z, 1000, true)
	f.Add([]byte("raw"), 3, false)
	f.Fuzz(func(t *testing.T, b []byte, n int, z bool) {
		for _, k := range []Kind{Chunk, Node, 7} {
			if out, err := Decode(k, id.Sum(b), b, z, n, nil); err == nil && Sum(k, out) != id.Sum(b) {
				t.Fatal("unverified")
			}
			if z && n > 0 && n <= k.MaxLen() {
				if out, err := decompress(nil, b, n); err == nil && len(out) > n {
					t.Fatalf("%d bytes out of a bound of %d", len(out), n)
				}
			}
		}
	})
}

func FuzzDecodeRows(f *testing.F) {
	f.Add(place{1, 2, 3, 4, 1}.encode(), []byte("k"))
	f.Add(fileValue(Row{Len: 5}), fileKey(1, 2))
	f.Add(lengthValue(9), locationKey(id.Digest{}, 1, 2))
	f.Fuzz(func(t *testing.T, v, k []byte) {
		if p, err := decodePlace(Chunk, v); err == nil && (p.raw > MaxChunk || p.stored > p.raw || !bytes.Equal(p.encode(), v)) {
			t.Fatalf("%+v", p)
		}
		if r, err := decodeFileRow(k, v); err == nil && (r.Len < 1 || r.Len > MaxChunk || r.Offset < 0) {
			t.Fatalf("%+v", r)
		}
		if _, r, err := decodeLocation(k, v); err == nil && (r.Len < 1 || r.Len > MaxChunk || r.Offset < 0) {
			t.Fatalf("%+v", r)
		}
	})
}

// TestGolden holds content IDs, manifests and the zero chunks: a change makes
// every version in every history unreadable.
func TestGolden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var out strings.Builder
	for _, n := range []int{256 << 10, 4 << 20} {
		fmt.Fprintf(&out, "zero chunk %d %s\n", n, zeroIDs()[n])
	}
	fmt.Fprintf(&out, "node of nothing %s\n", Sum(Node, nil))
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"hello", []byte("hello")},
		{"noise-1MiB", noise(1, 1<<20)},
		{"noise-24MiB", noise(2, 24<<20)},
		{"zeros-80MiB+1", make([]byte, 80<<20+1)},
	} {
		x := r.ingest(f.data, Pack)
		fmt.Fprintf(&out, "%s size %d content %s manifest %s chunks %d\n", f.name, x.Size, x.Content, x.Manifest, len(r.rows(x)))
	}
	_, nodes := build(t, fakeRows(1, 3, false))
	for d, b := range nodes {
		fmt.Fprintf(&out, "node %s %x\n", d, b)
	}
	name := filepath.Join("testdata", "manifests.golden")
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
		t.Errorf("formats changed:\n%s\nwant\n%s", out.String(), want)
	}
}
